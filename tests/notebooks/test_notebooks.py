"""The notebooks run from top to bottom, and the committed ones hold their figures."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
spec = importlib.util.spec_from_file_location("build_notebooks", FOLDER / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


@pytest.mark.parametrize("name", list(build.NOTEBOOKS))
def test_the_committed_notebook_is_the_one_that_is_built_and_has_figures(name):
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    fresh = build.build(name, execute=False)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in fresh.cells]
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("name", list(build.NOTEBOOKS))
def test_notebooks_run(name):
    notebook = build.build(name)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
