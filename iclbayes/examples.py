"""Small example curves that ship with the package, so that everything can be tried without a model and offline.

`unsafe_answers`: *simulated* counts. Of 1,000 answers after 0 to 256 examples, how many show a behaviour that an instruct model
was tuned to avoid; two sizes of model, each as base and instruct. Drawn from the scoring law; the truth is in
`unsafe_answers.json`.

`lm_eval`: *simulated* accuracies on two tasks, which `write_examples` lays out as lm-evaluation-harness lays out its results.
Drawn from the exact heterogeneous law; the truth is in `lm_eval.json`.

`synthetic`: curves *measured* by `experiments/synthetic.py`, of GPT-2s pretrained in a small synthetic world and of the exact
Bayesian learners of that world, on the same prompts.

No language model made the simulated ones, and their tasks do not exist. `experiments/make_examples.py` made them all.
"""

import json
import math
import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .curves import Curves
from .errors import InputError
from .files import write_text
from .reading import read_curves

GROUPS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "unsafe_answers": (("model", "variant"), None),
    "lm_eval": (("model", "task"), None),
    "synthetic": (("learner", "layers", "k"), "source"),
}
"""Name → columns that make the groups, column of the source."""


def example_curves(name: str = "unsafe_answers") -> Curves:
    """Example curves by name, grouped as their table in this module's docstring says.

    >>> example_curves()
    Curves(4 groups by model, variant; 4 curves, 56 points)

    Args:
      name: `unsafe_answers` (a group per model and variant), `lm_eval` (model and task) or `synthetic` (learner, layers and
        example length k; a curve per source).

    Returns:
      `Curves`.

    Raises:
      InputError: an unknown name.
    """
    group_by, source = GROUPS[_known(name)]
    with resources.as_file(_data(f"{name}.csv")) as path:
        return read_curves(path, group_by=group_by, source=source)


def example_truth(name: str = "unsafe_answers") -> dict[str, Any]:
    """What simulated example curves were drawn from: the law's name, and the parameters of each group.

    Raises:
      InputError: an unknown name, or curves that were measured, not simulated.
    """
    if not _data(f"{_known(name)}.json").is_file():
        raise InputError(
            f"the example curves {name!r} were measured, not simulated: nobody knows their parameters"
        )
    return json.loads(_data(f"{name}.json").read_text(encoding="utf-8"))


def write_examples(folder: str | os.PathLike, force: bool = True) -> list[Path]:
    """Writes the example files into a folder, which is made if absent; returns their paths.

    `unsafe_answers.csv` and `synthetic.csv`, the truth behind the simulated ones (`unsafe_answers.json`), and the folder
    `lm_eval` of results as lm-evaluation-harness lays them out, one run per number of shots.

    Raises:
      InputError: the folder cannot be made or written; or without `force`, a file is there already and differs.
    """
    folder = Path(folder)
    texts = {
        name: _data(name).read_text(encoding="utf-8")
        for name in ("unsafe_answers.csv", "unsafe_answers.json", "synthetic.csv")
    }
    texts |= _harness_runs(example_curves("lm_eval"))
    if not force:
        for path in (folder / name for name in texts):
            if (
                os.path.isfile(path)
                and path.read_bytes() != texts[path.relative_to(folder).as_posix()].encode()
            ):
                raise InputError(
                    f"{path}: is there already and is another file; choose another folder, or add --force"
                )
    written = []
    for name, text in texts.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path.parent}: cannot be made: {error.strerror}; choose another folder"
            ) from None
        write_text(text, path)
        written.append(path)
    return written


def _known(name: str) -> str:
    if name not in GROUPS:
        raise InputError(f"unknown example curves {name!r}: choose one of {', '.join(GROUPS)}")
    return name


def _data(name: str):
    return resources.files("iclbayes") / "data" / name


def _harness_runs(curves: Curves) -> dict[str, str]:
    """File name → text of one run of the harness per number of shots: the fields of its results that say what was measured."""
    frame = curves.to_frame()
    runs = {}
    for shots in np.unique(curves.shots):
        part = frame[frame["shots"] == shots]
        results, sizes = {}, {}
        for row in part.to_dict("records"):
            p, n = row["n_correct"] / row["n_test"], int(row["n_test"])
            results[row["task"]] = {
                "alias": row["task"],
                "acc,none": p,
                "acc_stderr,none": math.sqrt(p * (1 - p) / (n - 1)),
            }
            sizes[row["task"]] = {"original": n, "effective": n}
        run = {
            "results": results,
            "n-shot": dict.fromkeys(results, int(shots)),
            "n-samples": sizes,
            "config": {"model": "hf", "model_args": f"pretrained={part['model'].iloc[0]}"},
            "model_name": part["model"].iloc[0],
            "date": float(shots),
        }
        runs[f"lm_eval/{int(shots):03d}_shots/results.json"] = json.dumps(run, indent=1) + "\n"
    return runs
