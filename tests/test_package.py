"""`import iclbayes`: what it lists, and that every name is there."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import iclbayes


def listed() -> set[str]:
    """Names of the stub, which is the table of contents."""
    tree = ast.parse(Path(iclbayes.__file__).with_suffix(".pyi").read_text())
    return {a.asname or a.name for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}


def test_every_listed_name_is_there():
    promised = {
        *("Curves", "read_curves", "curves_from_frame", "fit", "Fits", "fit_curve", "fit_group", "fit_mixed"),
        *("compare", "FitResult", "Status", "InputError", "laws", "posterior", "llm", "example_curves"),
    }
    assert promised <= listed()
    assert listed() <= set(dir(iclbayes))
    for name in listed():
        assert getattr(iclbayes, name) is not None
    assert callable(iclbayes.fit) and callable(iclbayes.compare)


def test_unknown_names_are_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        iclbayes.nothing  # noqa: B018


def test_version_is_that_of_the_project_file():
    root = Path(iclbayes.__file__).parent.parent
    assert 'version = {attr = "iclbayes.__version__"}' in (root / "pyproject.toml").read_text()
    assert iclbayes.__version__.count(".") == 2


def test_types_are_shipped():
    assert (Path(iclbayes.__file__).parent / "py.typed").exists()


def test_layers_in_the_architecture_are_those_that_are_checked():
    root = Path(iclbayes.__file__).parent.parent
    contract = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    checked = [set(layer.split(" | ")) for layer in contract["layers"] if layer != "__main__"]
    table = (root / "ARCHITECTURE.md").read_text().split("## Where do I change X?")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == checked
