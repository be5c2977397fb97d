"""README and the quick starts: every command line and code line runs as printed, from the shipped example data."""

import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

import iclbayes
from iclbayes.reading import STDERRS, VALUE_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *(f"docs/quickstart/{name}.md" for name in ("safety", "paper", "lm_eval"))]
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
WRITES = ("--out", "--plot", "--forecast")
NOT_OURS = ("pip", "pytest", "lm_eval", "mkdocs")


class Block(NamedTuple):
    language: str
    code: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, without the indentation of a list that holds them."""
    found = []
    for indent, language, code in FENCE.findall((ROOT / page).read_text()):
        found.append(Block(language, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)))
    return found


def commands(page: str) -> list[list[str]]:
    """The command lines of a page, continued ones joined, as words."""
    text = "".join(block.code for block in blocks(page) if block.language == "sh").replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def cell(value: float) -> str:
    """A number as the tables of the pages show it."""
    return "inf" if value == float("inf") else f"{value:.0f}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """An environment in which `iclbayes` and `python` are those of this process."""
    folder = tmp_path_factory.mktemp("bin")
    for name, words in (("iclbayes", '-m iclbayes "$@"'), ("python", '"$@"')):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n')
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    cache = {
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
    }
    return {**os.environ, **cache, "PATH": path, "PYTHONPATH": python_path, "MPLBACKEND": "agg"}


def run(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Runs a command; what it prints. It must succeed, and not show a warning of some library."""
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    told = f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert not re.search(r"(?<!Posterior)Warning:", done.stderr), told
    return done.stdout


def flags(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("page", PAGES)
def test_every_line_runs_as_printed(page, tmp_path, environment):
    for words in commands(page):
        if words[0] == "iclbayes" and words[1] != "collect":
            run(words, tmp_path, environment)
            for flag, path in itertools.pairwise(words):
                assert flag not in WRITES or (tmp_path / path).stat().st_size > 100, (words, path)
        elif words[0] in ("iclbayes", "python"):  # needs a model, or long: the options are there
            call = [words[0], words[1] if words[0] == "iclbayes" else str(ROOT / words[1])]
            told = run([*call, "--help"], tmp_path, environment)
            assert all(flag in told for flag in flags(words)), (words, told)
        else:
            assert words[0] in NOT_OURS, words
            extras = re.findall(r"\.\[(.+)\]", " ".join(words))
            known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert {name for listed in extras for name in listed.split(",")} <= set(known), words
    code = "\n".join(block.code for block in blocks(page) if block.language == "python")
    assert code
    # What the commands have compiled serves the lines too, as it does in a notebook that begins so.
    (tmp_path / "printed.py").write_text(f"import iclbayes\n\niclbayes.use_cache()\n{code}")
    run(["python", "printed.py"], tmp_path, environment)
    check_tables(page, tmp_path)


def check_tables(page: str, folder: Path) -> None:
    """Tables of shots to a level are those that the page's commands write: other draws of JAX may move them a little."""
    text = (ROOT / page).read_text()
    if "p_never |" not in text or "shots_to_reach.csv" not in text:
        return
    rows = re.findall(
        r"^\| (large|small) \| (base|instruct) \| ([\w.]+) \| ([\w.]+) \| ([\w.]+) \| ([\d.]+) \|",
        text,
        re.MULTILINE,
    )
    assert len(rows) == 4
    fresh = pd.read_csv(folder / "shots_to_reach.csv").set_index(["model", "variant"])
    for model, variant, *quantiles, never in rows:
        row = fresh.loc[(model, variant)]
        assert float(never) == pytest.approx(row["p_never"], abs=0.06)
        for shown, name in zip(quantiles, ("q05", "q50", "q95"), strict=True):
            share = {"q05": 0.95, "q50": 0.5, "q95": 0.05}[name]
            if abs(row["p_never"] - share) > 0.06:  # else `inf` or not is a matter of few draws
                assert float(shown) == pytest.approx(row[name], rel=0.3)


def test_readme_names_the_laws_the_columns_and_the_scripts_that_there_are():
    text = (ROOT / "README.md").read_text()
    laws = text[text.index("Laws: ") : text.index("Formulas")]
    also_log, others = (set(re.findall(r"`([a-z]\w+)`", part)) for part in laws.split("each also"))
    assert also_log | {f"{name}_log" for name in also_log} | others == set(iclbayes.laws.LAWS)

    table = text[text.index("## Curve files") : text.index("## Commands")]
    columns = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))
    assert columns == {
        "shots",
        *VALUE_COLUMNS,
        "n_test",
        "stderr",
        *STDERRS.values(),
        "weight",
        "window",
        "source",
    }

    scripts = {path.name for path in (ROOT / "experiments").glob("*.py") if "__main__" in path.read_text()}
    assert set(re.findall(r"experiments/(\w+\.py)", text)) == scripts


def test_the_numbers_of_readmes_results_stand_in_the_files_that_it_links():
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Results") : text.index("## The library")]
    rows = re.findall(r"^\| [^|]*\? \| ([^|]+) \| \[.*?\]\((.+?)\) \|$", table, re.MULTILINE)
    assert len(rows) >= 6
    for told, path in rows:
        measured = (ROOT / path).read_text()
        for number in re.findall(r"\d[\d.,]*\d|\d", told):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", measured), (number, path)


def test_readme_names_the_versions_of_python_that_the_package_asks_for():
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    named = re.findall(r"3\.\d\d", (ROOT / "README.md").read_text())
    assert f">={named[0]}" == lowest.partition(",")[0]


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
def test_links_and_pictures_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        if not target.startswith(("http:", "https:")):
            assert ((ROOT / page).parent / target).exists(), target
    for path in re.findall(r"`((?:experiments|iclbayes|tests|docs|notebooks)/[\w./]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path
