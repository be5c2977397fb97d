"""Curves from logs of inspect_ai: a sweep over a task argument, or over metadata, that says how many shots there were.

Logs are read through inspect_ai's own interface (`pip install 'iclbayes[inspect]'`), so that every format and version that it
reads is read here.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .imports.equal_runs import counting
from .imports.frame import accuracies, labelled
from .imports.lenient import number, plain, seconds, whole
from .imports.notes import Notes
from .imports.points import Point
from .imports.settings import text, varying

SHOTS = (
    "num_fewshot",
    "fewshot",
    "few_shot",
    "num_shots",
    "n_shots",
    "nshots",
    "shots",
    "k_shot",
    "n_fewshot",
    "num_few_shot",
)
# Settings of the run that do not make its numbers differ; the mock model's answers are no setting.
HARMLESS = frozenset(
    [
        *(
            "max_connections",
            "adaptive_connections",
            "max_retries",
            "timeout",
            "attempt_timeout",
            "stream_idle_timeout",
        ),
        *(
            "cache",
            "cache_prompt",
            "batch",
            "seed",
            "extra_headers",
            "device",
            "device_map",
            "batch_size",
            "custom_outputs",
        ),
        *("api_key", "base_url", "tensor_parallel_size", "gpu_memory_utilization", "port", "host"),
    ]
)
OF_TASKS = ("task_version",)
NO_SHARE = ("stderr", "std", "var", "bootstrap_stderr", "count", "total")


def read_inspect(
    logs: str | os.PathLike | Iterable[str | os.PathLike],
    shots_from: str | None = None,
    *,
    metric: str | None = None,
    scorer: str | None = None,
) -> tuple[pd.DataFrame, dict]:
    """One curve for every model, task, and way of running it: accuracy against the number of shots.

    Args:
      logs: files (`.eval`, `.json`) or folders of them, at any depth.
      shots_from: what says how many shots there were: an argument of the task or solver, a key of the run's metadata, or
        of its samples' (whose scores are then averaged for every number of shots). By default the first of
        `num_fewshot`, `fewshot`, `num_shots`, … that a run has.
      metric: a metric of the scorer; by default `accuracy`, else `mean`, else the first that is a share.
      scorer: the scorer; by default each task's first.

    Returns:
      A frame with columns `model, task`, the settings that vary between runs (task version, arguments of task, solver and
      model, generation settings, metadata), `metric` (scorer/metric), `shots`, seeds that vary, `n_correct, n_test,
      accuracy, stderr`. Scores that are no counts (partial credit, means over epochs) are called `prob`. Of runs equal in
      all this, the one with more samples counts, then the newer.
      What was read: `runs`, `curves_by`, and what was `skipped` with the reasons.

    Raises:
      InputError: inspect_ai is not installed, there is no finished log, or none says how many shots it had.
    """
    try:
        from inspect_ai.log import read_eval_log  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "reading logs of inspect_ai needs the package inspect_ai; pip install 'iclbayes[inspect]'"
        ) from None
    paths = [Path(p) for p in ([logs] if isinstance(logs, (str, os.PathLike)) else logs)]
    for path in paths:
        if not os.path.exists(path):
            raise InputError(f"{path}: no such file or folder; give the one that inspect's --log-dir named")
    notes, arguments, runs = Notes(), set(), 0
    points: list[Point] = []
    for path in _files(paths):
        try:
            if path.suffix == ".json":
                json.loads(
                    path.read_bytes()
                )  # lists in lists without end would fill the memory of inspect_ai
            log = read_eval_log(str(path), header_only=True)
        except Exception as error:  # whatever inspect_ai and its parsers raise
            reason = f"{path}: cannot be read as a log of inspect_ai ({plain(error)[:80]})"
            notes.add("files that inspect_ai does not read", reason)
            continue
        if log.status != "success" or log.results is None:
            reason = f"{path}: the run ended with status {log.status} and has no results"
            notes.add("runs that did not finish", reason)
            continue
        runs += 1
        told = _arguments(log)
        arguments |= set(told)
        name = shots_from or next((name for name in SHOTS if whole(told.get(name)) is not None), "")
        if name in told or not name:
            scores = {whole(told.get(name)): _score(log, metric, scorer)}
        else:
            scores = _by_metadata(read_eval_log(str(path)), name, scorer)
        for shots, score in scores.items():
            if shots is None:
                said = f"{name} is {plain(told[name])[:40]}" if name in told else "nothing tells them"
                notes.add(
                    "runs that do not say their shots", f"{path}: does not say how many shots it had; {said}"
                )
            elif isinstance(score, str):
                notes.add("runs without a share", f"{path}: {score}")
            else:
                points.append(_point(log, path, told, name, shots, score))
    if not points:
        raise InputError(_why_none(paths, runs, arguments, shots_from, notes))
    settings = varying(points, OF_TASKS)
    kept = counting(points, settings, notes)
    points, settings = [points[i] for i in kept], [settings[i] for i in kept]
    frame, curves_by = labelled(points, settings, accuracies(points, notes))
    about = {"logs": [plain(path.name) for path in paths], "runs": runs, "curves_by": curves_by}
    return frame, about | {"skipped": notes.lines()}


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if os.path.isdir(path):
            yield from sorted(p for p in path.rglob("*") if p.suffix in (".eval", ".json") and p.is_file())
        else:
            yield path


def _why_none(paths: list[Path], runs: int, arguments: set[str], shots_from: str | None, notes: Notes) -> str:
    where, reasons = ", ".join(map(str, paths[:3])), notes.lines()
    if not runs:
        return f"{where}: holds no finished log of inspect_ai" + (f"; {reasons[0]}" if reasons else "")
    has = f"; the runs have {', '.join(sorted(arguments))}" if arguments else ""
    if shots_from is not None and shots_from not in arguments:
        return f"{where}: no run has an argument or metadata {shots_from} with a number of shots{has}"
    if all("shots" in reason for reason in reasons):
        return f"{where}: no run says how many shots it had; name the argument or metadata that does (--shots-from){has}"
    return f"{where}: no run can be read; {reasons[0]}"


def _arguments(log: Any) -> dict[str, Any]:
    """Arguments of task and solver, and the run's metadata: what can say how many shots there were."""
    told: dict[str, Any] = {}
    for prefix, given in (
        ("", log.eval.task_args),
        ("solver_", log.eval.solver_args),
        ("metadata_", log.eval.metadata),
    ):
        for key, value in (given or {}).items():
            told[f"{prefix}{key}" if key in told else str(key)] = value
    return told


def _settings(log: Any, told: dict[str, Any], shots_from: str) -> dict[str, str]:
    """What makes the numbers of runs differ, the shots apart."""
    spec = log.eval
    found = {"task_version": text(spec.task_version), "solver": text(spec.solver)}
    found |= {key: text(value) for key, value in told.items() if key != shots_from and "seed" not in key}
    generation = spec.model_generate_config.model_dump(exclude_none=True)
    generation |= log.plan.config.model_dump(exclude_none=True)
    for prefix, given in (("generate_", generation), ("model_", spec.model_args or {})):
        for key, value in given.items():
            if key not in HARMLESS:
                found[f"{prefix}{key}" if key in found else str(key)] = text(value)
    return found


def _seeds(log: Any, told: dict[str, Any]) -> dict[str, int]:
    given = {key: value for key, value in told.items() if "seed" in key}
    seed = log.plan.config.seed if log.plan.config.seed is not None else log.eval.model_generate_config.seed
    return {key: -1 if (n := whole(value)) is None else n for key, value in ({"seed": seed} | given).items()}


def _point(log: Any, path: Path, told: dict[str, Any], shots_from: str, shots: int, score: tuple) -> Point:
    metric, value, stderr, n_test = score
    return Point(
        model=plain(log.eval.model),
        task=plain(log.eval.task),
        metric=plain(metric),
        shots=shots,
        value=value,
        stderr=stderr,
        n_test=n_test,
        counted=_counted(value, stderr, n_test),
        limited=log.eval.config.limit is not None,
        identity=_settings(log, told, shots_from),
        besides={},
        seeds=_seeds(log, told),
        written=seconds(log.eval.created),
        path=path,
    )


def _counted(value: float, stderr: float, n_test: float) -> bool:
    """Whether the value can be the mean of so many zeros and ones: the standard error is then √(p(1−p)/(n−1))."""
    binomial = math.sqrt(value * (1 - value) / max(n_test - 1, 1))
    return math.isnan(stderr) or math.isclose(stderr, binomial, rel_tol=1e-3, abs_tol=1e-9)


def _scorer(log: Any, scorer: str | None) -> Any:
    """The score asked for, or the first; text that says why there is none."""
    names = [score.name for score in log.results.scores]
    if not names:
        return "its samples were not scored"
    if scorer is not None and scorer not in names:
        return f"has no scorer {scorer}; it has {', '.join(names)}"
    return log.results.scores[names.index(scorer) if scorer else 0]


def _score(log: Any, metric: str | None, scorer: str | None) -> tuple[str, float, float, float] | str:
    """(metric, value, standard error, samples) from the results of a run, or why there is none."""
    score = _scorer(log, scorer)
    if isinstance(score, str):
        return score
    values = {name: number(m.value) for name, m in score.metrics.items() if not getattr(m, "group", None)}
    shares = [name for name, v in values.items() if v is not None and 0 <= v <= 1 and name not in NO_SHARE]
    wanted = [metric] if metric else ["accuracy", "mean", *shares]
    name = next((name for name in wanted if name in shares), None)
    if name is None:
        has = ", ".join(f"{n} {v:g}" if v is not None else n for n, v in values.items())
        return f"{score.name} has no {metric or 'metric'} that is a share between 0 and 1 ({has or 'it has none'})"
    value, n = (
        values[name],
        whole(getattr(score, "scored_samples", None)) or whole(log.results.completed_samples),
    )
    stderr = values.get("stderr") if name in ("accuracy", "mean") else None
    reducer = f" ({score.reducer})" if score.reducer not in (None, "mean") else ""
    assert value is not None
    return (
        f"{score.name}/{name}{reducer}",
        value,
        math.nan if stderr is None else stderr,
        float(n) if n else math.nan,
    )


def _by_metadata(log: Any, key: str, scorer: str | None) -> dict[int | None, tuple | str]:
    """Scores averaged over the samples whose metadata say the same number of shots, under None where they say none."""
    from inspect_ai.scorer import value_to_float  # pyright: ignore[reportMissingImports]

    score = _scorer(log, scorer)
    told: dict[int | None, dict[Any, list[float]]] = {}
    for sample in log.samples or []:
        if key not in sample.metadata:
            continue
        if isinstance(score, str):
            return {0: score}
        found = (sample.scores or {}).get(score.name)
        if found is not None and isinstance(found.value, (str, int, float, bool)):
            value = float(value_to_float()(found.value))
            told.setdefault(whole(sample.metadata[key]), {}).setdefault(sample.id, []).append(value)
    scores: dict[int | None, tuple | str] = {} if told else {None: "no sample says its shots"}
    for shots, values in told.items():
        means = np.array([np.mean(v) for v in values.values()])
        if not ((means >= 0) & (means <= 1)).all():
            scores[shots] = f"{score.name} of its samples is not between 0 and 1"
            continue
        stderr = means.std(ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan
        scores[shots] = (f"{score.name}/accuracy", float(means.mean()), stderr, float(len(means)))
    return scores
