"""Curves from the results of lm-evaluation-harness: a folder of runs, each at one number of shots.

The harness writes `results_<time>.json` and, with `--log_samples`, `samples_<task>_<time>.jsonl` beside it.
The layouts of versions 0.4.x and the one file a run of 0.3.0 are read. A group of tasks (`mmlu`) is left out,
its tasks are not.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError

STAMP = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.json$")


@dataclasses.dataclass(frozen=True)
class Point:
    """One task of one run: a point of a curve. `stderr` and `n_test` are NaN where the run does not say."""

    model: str
    task: str
    metric: str
    shots: int
    value: float
    stderr: float
    n_test: float
    samples: Path | None
    order: tuple


def read_results(
    folder: Path, metric: str | None = None, value: str = "accuracy"
) -> tuple[pd.DataFrame, dict]:
    """One curve for every model and task: the metric against the number of shots.

    Args:
      folder: what the harness wrote (`--output_path`), any number of runs at any depth.
      metric: `acc`, `acc_norm`, `exact_match,strict-match`, …; by default the first of each task.
      value: `accuracy`, or `prob` for the mean probability of the right choice (`choice_probabilities`);
        tasks without samples are then skipped.

    Returns:
      A frame with columns `model, task, metric, shots, n_correct, n_test, accuracy, stderr`, and with
      `value="prob"` also `prob`, whose standard error `stderr` then is. There are no counts where a run does
      not say how many examples it had; a metric that is no count (F1) is called `prob`.
      What was read, with the reasons for what was `skipped`. The newest of equal runs counts.

    Raises:
      InputError: no results there, none with that metric, or samples are missing.
    """
    folder = Path(folder)
    if value not in ("accuracy", "prob"):
        raise InputError(f"value is {value!r}; known are accuracy and prob")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that lm_eval's --output_path named")
    skipped: list[str] = []
    versions, files = set(), 0
    newest: dict[tuple, Point] = {}
    metrics: set[str] = set()
    for path, run in _runs(folder, skipped):
        files += 1
        versions.add(str(run.get("lm_eval_version", "unknown")))
        for point in _points(path, run, metric, skipped, metrics):
            key = (point.model, point.task, point.metric, point.shots)
            old = newest.get(key)
            if old is not None:
                skipped.append(f"an older run of {point.task} after {point.shots} shots ({point.model})")
            if old is None or old.order < point.order:
                newest[key] = point
    if not files:
        raise InputError(
            f"{folder}: holds no results of lm-evaluation-harness (a JSON file with results); give the folder"
            " that --output_path named" + (f"; unreadable: {skipped[0]}" if skipped else "")
        )
    if not newest:
        known = f"; known are {', '.join(sorted(metrics))}" if metrics else ""
        raise InputError(f"{folder}: no task has the metric {metric or 'of a number'}{known}")
    points = sorted(newest.values(), key=lambda p: (p.model, p.task, p.metric, p.shots))
    if value == "prob":
        bare = [
            f"{p.task} after {p.shots} shots ({p.model}): no samples beside its results"
            for p in points
            if not p.samples
        ]
        points, skipped = [p for p in points if p.samples], skipped + bare
        if not points:
            raise InputError(
                f"{folder}: no samples files beside the results; run lm_eval with --log_samples, or import"
                " accuracies (--value accuracy)"
            )
    frame = _frame(points, folder) if value == "accuracy" else _prob_frame(points)
    return frame, {"harness": sorted(versions), "folder": folder.name, "runs": files, "skipped": skipped}


def _runs(folder: Path, skipped: list[str]) -> Iterator[tuple[Path, dict]]:
    for path in sorted(folder.rglob("*.json")):
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            skipped.append(f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:80]})")
            continue
        if isinstance(run, dict) and isinstance(run.get("results"), dict):
            yield path, run


def _points(
    path: Path, run: dict, metric: str | None, skipped: list[str], metrics: set[str]
) -> Iterator[Point]:
    groups = set(run.get("groups") or {}) | {
        k for k, tasks in (run.get("group_subtasks") or {}).items() if tasks
    }
    stamp = STAMP.search(path.name)
    order = (float(run.get("date") or 0.0), stamp.group(1) if stamp else "", str(path))
    for task, found in run["results"].items():
        if task in groups or not isinstance(found, dict):
            continue
        numbers = _metrics(found)
        metrics |= set(numbers)
        name = _chosen(numbers, metric)
        shots = _shots(run, task)
        if name is None:
            wanted = f"no metric {metric}" if metric else "no metric that is a number"
            skipped.append(f"{path}: task {task} has {wanted}")
            continue
        if shots is None:
            skipped.append(f"{path}: task {task} does not say how many shots it had")
            continue
        base, _, kind = name.partition(",")
        error = found.get(f"{base}_stderr,{kind}" if kind else f"{base}_stderr")
        samples = path.parent / f"samples_{task}_{stamp.group(1)}.jsonl" if stamp else None
        samples = samples if samples is not None and samples.is_file() else None
        yield Point(
            _model(run),
            task,
            name,
            shots,
            float(numbers[name]),
            float(error) if _is_number(error) else math.nan,
            _count(run, task, found, samples, kind),
            samples,
            order,
        )


def _metrics(found: dict) -> dict[str, float]:
    """The metrics of a task: `name,filter` in 0.4; in 0.3.0, where no name has a filter, every number."""
    numbers = {k: v for k, v in found.items() if _is_number(v) and "_stderr" not in k}
    filtered = {k: v for k, v in numbers.items() if "," in k}
    return filtered or {k: v for k, v in numbers.items() if k not in ("sample_len", "alias", "name")}


def _chosen(numbers: dict[str, float], metric: str | None) -> str | None:
    if metric is None or metric in numbers:
        return metric or next(iter(numbers), None)
    return next((name for name in numbers if name.partition(",")[0] == metric), None)


def _shots(run: dict, task: str) -> int | None:
    listed = (run.get("n-shot") or {}).get(task)
    config = ((run.get("configs") or {}).get(task) or {}).get("num_fewshot")
    whole = (run.get("config") or {}).get("num_fewshot")  # 0.3.0
    found = next((x for x in (listed, config, whole) if _is_number(x)), None)
    return None if found is None else int(found)


def _model(run: dict) -> str:
    config = run.get("config") or {}
    if run.get("model_name"):
        return str(run["model_name"])
    given = config.get("model_args") or ""
    if isinstance(given, str):
        given = dict(part.split("=", 1) for part in given.split(",") if "=" in part)
    return str(given.get("pretrained") or given.get("model") or config.get("model") or "model")


def _count(run: dict, task: str, found: dict, samples: Path | None, kind: str) -> float:
    counted = (run.get("n-samples") or {}).get(task) or {}
    for number in (counted.get("effective"), found.get("sample_len")):
        if _is_number(number):
            return float(number)
    return float(len(read_samples(samples, kind))) if samples else math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _frame(points: list[Point], folder: Path) -> pd.DataFrame:
    value = np.array([p.value for p in points])
    n_test = np.array([p.n_test for p in points])
    bad = np.flatnonzero((value < 0) | (value > 1))
    if len(bad):
        p = points[bad[0]]
        raise InputError(
            f"{folder}: {p.metric} of {p.task} is {p.value:g}, and a curve needs values between 0 and 1;"
            " choose another metric (--metric acc)"
        )
    frame = _labels(points)
    counts = np.round(value * n_test)
    if not np.isnan(n_test).any() and np.allclose(counts, value * n_test, rtol=0, atol=1e-6):
        frame["n_correct"], frame["n_test"] = counts.astype(np.int64), n_test.astype(np.int64)
        frame["accuracy"] = value
    else:
        frame["prob"] = value
    return frame.assign(stderr=[p.stderr for p in points])


def _prob_frame(points: list[Point]) -> pd.DataFrame:
    rows = []
    for point in points:
        kind = point.metric.partition(",")[2]
        samples = read_samples(point.samples, kind)
        prob = choice_probabilities(samples, point.samples)
        right = [sample.get(point.metric.partition(",")[0]) for sample in samples]
        counted = all(_is_number(x) and x in (0, 1) for x in right)
        stderr = prob.std(ddof=1) / math.sqrt(len(prob)) if len(prob) > 1 else math.nan
        rows.append((sum(right) if counted else math.nan, len(prob), point.value, prob.mean(), stderr))
    numbers = pd.DataFrame(rows, columns=["n_correct", "n_test", "accuracy", "prob", "stderr"])
    if numbers["n_correct"].isna().any():
        numbers = numbers.drop(columns="n_correct")
    else:
        numbers["n_correct"] = numbers["n_correct"].astype(np.int64)
    return pd.concat([_labels(points), numbers], axis=1)


def _labels(points: list[Point]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: [getattr(p, name) for p in points] for name in ("model", "task", "metric", "shots")}
    )


def read_samples(path: Path, kind: str = "") -> list[dict]:
    """The lines of a samples file, of one filter where they name theirs.

    Raises:
      InputError: a line is not JSON, or there is none.
    """
    samples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
        except ValueError:
            raise InputError(f"{path}: line {number} is not whole JSON; run that evaluation again") from None
        if not kind or sample.get("filter", kind) == kind:
            samples.append(sample)
    if not samples:
        raise InputError(f"{path}: holds no samples; run that evaluation again")
    return samples


def choice_probabilities(samples: list[dict], path: Path) -> np.ndarray:
    """Probability of the right choice of every sample, float64 [samples].

    With log likelihoods l_c (nats) of the choices, p = exp(l_right) / Σ_c exp(l_c); of one choice, exp(l).

    Raises:
      InputError: a sample has no log likelihoods, or its target is none of its choices.
    """
    found = np.empty(len(samples))
    for i, sample in enumerate(samples):
        try:
            loglik = np.array([float(answer[0]) for answer in sample["filtered_resps"]])
            right = 0 if len(loglik) == 1 else _target(sample, len(loglik))
            found[i] = np.exp(loglik[right] - (np.logaddexp.reduce(loglik) if len(loglik) > 1 else 0.0))
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError(
                f"{path}: sample {i} has no log likelihood of each choice and place of the right one; import"
                " accuracies (--value accuracy)"
            ) from None
    return found


def _target(sample: dict, choices: int) -> int:
    """Place of the right choice: the target itself, or where its text stands among the continuations."""
    target = sample["target"]
    try:
        place = int(target)
    except ValueError:
        given = [sample["arguments"][f"gen_args_{c}"]["arg_1"].strip() for c in range(choices)]
        place = given.index(str(target).strip())
    if not 0 <= place < choices:
        raise ValueError(f"target {place}")
    return place
