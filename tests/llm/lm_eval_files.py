"""Files as lm-evaluation-harness writes them, for the tests of their import."""

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

SHARED = Path(__file__).parents[3] / "shared" / "cases"


def shared(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the folder of shared cases has no {name} here")
    return folder


def run(shots=2, n=100, value=0.5, date=1.0, task="quiz", **changes):
    """A results file of version 0.4.13 with one task; `changes` are to its config, or as `top`, `found`, `own` elsewhere."""
    top, found, own = (changes.pop(name, {}) for name in ("top", "found", "own"))
    return {
        "results": {task: found or {"alias": task, "acc,none": value, "acc_stderr,none": 0.05}},
        "configs": {task: {"num_fewshot": shots} | own},
        "versions": {task: 1.0},
        "n-shot": {task: shots},
        "n-samples": {task: {"original": 1000, "effective": n}},
        "config": {"model": "hf", "model_args": {"pretrained": "lab/tiny"}} | changes,
        "date": date,
        "model_name": "lab/tiny",
    } | top


def folder_of(path, *runs):
    for i, content in enumerate(runs):
        (path / f"results_2026-01-01T00-00-{i:02d}.000001.json").write_text(json.dumps(content))
    return path


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
