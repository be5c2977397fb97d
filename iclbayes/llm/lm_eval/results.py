"""Curves from a folder of results of lm-evaluation-harness, whose runs have one number of shots each.

The harness writes `results_<time>.json` and, with `--log_samples`, `samples_<task>_<time>.jsonl` beside it. The layouts of
versions 0.4.x, the one file a run of 0.3.0, and leaderboards' (`harness|arc:challenge|25`) are read. A group of tasks
(`mmlu`) is left out, its tasks are not.
"""

import os
from pathlib import Path

import pandas as pd

from ...errors import InputError
from ..imports.equal_runs import counting
from ..imports.frame import accuracies, labelled
from ..imports.lenient import plain
from ..imports.notes import Notes
from ..imports.settings import varying
from .discover import Run, find_runs
from .identity import OF_TASKS, TOLD
from .probabilities import probabilities
from .values import Found, choose, tasks_of


def read_results(
    folder: str | os.PathLike, metric: str | None = None, value: str = "accuracy"
) -> tuple[pd.DataFrame, dict]:
    """One curve for every model, task, and way of running it: the metric against the number of shots.

    Args:
      folder: what the harness wrote (`--output_path`), any number of runs at any depth; or one results file.
      metric: `acc`, `acc_norm`, `exact_match,strict-match`, …; by default the first of each task that is a share.
      value: `accuracy`, or `prob` for the mean probability of the right choice (`choice_probabilities`);
        tasks without samples are then skipped.

    Returns:
      A frame with columns `model, task, metric, shots, n_correct, n_test, accuracy, stderr`, and with `value="prob"` also
      `prob`, whose standard error `stderr` then is. There are no counts where a run does not say how many examples it
      had; a metric that is no count (F1) is called `prob`. Settings that make runs differ (`revision`, `peft`, `dtype`,
      `chat_template`, …: see `identity`) are columns behind `task` where they vary; runs that differ in seeds alone are
      rows of their own, told apart by columns with the seeds. Of runs that differ in nothing, the one with more samples
      counts, then the newer.
      What was read: `runs`, versions (`harness`), the columns that tell curves apart (`curves_by`), and what was
      `skipped`, with the reasons.

    Raises:
      InputError: no results there, or no task with that metric, shots or samples.
    """
    folder = Path(folder)
    if value not in ("accuracy", "prob"):
        raise InputError(f"value is {value!r}; known are accuracy and prob")
    if not os.path.exists(folder):
        raise InputError(f"{folder}: no such folder; give the one that lm_eval's --output_path named")
    notes = Notes()
    runs = list(find_runs(folder, notes))
    if not runs:
        unread = notes.lines()
        raise InputError(
            f"{folder}: holds no results of lm-evaluation-harness (a JSON file with results); give the folder"
            " that --output_path named" + (f"; unreadable: {unread[0]}" if unread else "")
        )
    found = [task for run in runs for task in _tasks(run, notes)]
    points = list(choose(found, metric, notes))
    if not points:
        raise InputError(_why_none(folder, found, metric, notes))
    settings = varying(points, OF_TASKS, TOLD)
    kept = counting(points, settings, notes)
    points, settings = [points[i] for i in kept], [settings[i] for i in kept]
    if value == "accuracy":
        numbers = accuracies(points, notes)
    else:
        chosen, numbers = probabilities(points, folder, notes)
        points, settings = [points[i] for i in chosen], [settings[i] for i in chosen]
    frame, curves_by = labelled(points, settings, numbers)
    about = {
        "harness": sorted({plain(run.content.get("lm_eval_version", "unknown"))[:40] for run in runs}),
        "folder": plain(folder.name),
        "runs": len(runs),
        "curves_by": curves_by,
        "skipped": notes.lines(),
    }
    return frame, about


def _tasks(run: Run, notes: Notes) -> list[Found]:
    """The tasks of a run; a note where it has none."""
    tasks = list(tasks_of(run))
    if not tasks:
        results = run.content["results"]
        has = ", ".join(map(plain, results)) if isinstance(results, dict) else f"a list of {len(results)}"
        notes.add(
            "files without tasks",
            f"{run.path}: its results hold no task with metrics, groups apart (they hold {has[:60] or 'nothing'})",
        )
    return tasks


def _why_none(folder: Path, found: list[Found], metric: str | None, notes: Notes) -> str:
    known = sorted({name for task in found for name in task.numbers})
    reasons = notes.lines()
    if metric is not None and not any(metric in (name, name.partition(",")[0]) for name in known):
        names = f"; known are {', '.join(known)}" if known else ""
        return f"{folder}: no task has the metric {metric}{names}"
    if found and all(task.shots is None for task in found) and any(task.numbers for task in found):
        return f"{folder}: no task says how many shots it had (n-shot, num_fewshot, or the end of its name, task|5)"
    if reasons:
        return f"{folder}: no task can be read; {reasons[0]}"
    return f"{folder}: no task has a metric that is a number"
