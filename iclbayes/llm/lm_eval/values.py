"""The numbers of one run: for every task, its metric, shots, and number of examples, whatever the layout."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..imports.lenient import number, plain, section, whole
from ..imports.notes import Notes
from ..imports.points import Point
from ..imports.settings import text
from .discover import Run
from .identity import besides, identity, model_name, seeds
from .samples import of_filter, read_samples, samples_beside

# Parts of the names of numbers that can lie between 0 and 1 and are no shares all the same.
NO_SHARE = frozenset(
    [
        *("perplexity", "ppl", "bits", "bpb", "brier", "mcc", "matthews", "pearson", "spearman", "corr"),
        *("correlation", "likelihood", "loglikelihood", "nll", "loss", "ece", "bypass", "bleu", "chrf"),
        *("ter", "wer", "cer", "distance", "diff", "length", "time", "seconds", "count", "mse", "rmse"),
        *("mae", "error", "rouge", "rougel", "rougelsum", "bert", "bertscore", "bleurt", "meteor", "comet"),
    ]
)
# Metrics of tasks whose numbers are percentages: one below 1 is no share (squadv2, EQ-bench).
PERCENT = frozenset(["HasAns_exact", "percent_parseable"])
# Metrics that are shares, so that one above 1 shows that its task's numbers are percentages (SQuAD's exact match and F1).
SHARES = frozenset(["acc", "acc_norm", "em", "exact", "exact_match", "f1", "macro_f1", "micro_f1"])
NO_METRIC = ("name", "alias", "sample_len", "samples", "sample_count")
UNNAMED = "unnamed"


@dataclasses.dataclass(frozen=True)
class TaskPoint(Point):
    """A point with its samples, in a file or in the results themselves, and what stands between context and choice in it."""

    samples: Path | None
    embedded: list | None
    delimiter: str

    def read_samples(self) -> list[dict]:
        """Its samples, of its filter. Raises InputError if there are none, or they cannot be read."""
        kind = self.metric.partition(",")[2]
        if self.embedded is not None:
            return of_filter(self.embedded, kind, self.path)
        if self.samples is None:
            raise InputError(f"{self.path}: has no samples of {self.task} beside it")
        return read_samples(self.samples, kind)

    @property
    def samples_name(self) -> str:
        """What messages call its samples."""
        return str(self.samples or f"{self.path}, samples of {self.task}")


@dataclasses.dataclass(frozen=True)
class Found:
    """A task of a run: its name there and here, its shots (None if nothing says), what was found, and settings of its own."""

    run: Run
    key: str
    task: str
    shots: int | None
    values: dict
    setting: dict[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def numbers(self) -> dict[str, float]:
        """The metrics by name."""
        return _metrics(self.values)


def tasks_of(run: Run) -> Iterator[Found]:
    """The tasks of a run, without its groups and averages."""
    content, results = run.content, run.content["results"]
    if isinstance(results, list):  # BigScience's harness: an entry for each task, prompt and metric
        prompts: dict[tuple[str, str], dict] = {}
        for entry in results:
            if isinstance(entry, dict) and "task_name" in entry:
                key = str(entry["task_name"]), plain(entry.get("prompt_name", ""))
                prompts.setdefault(key, {}).update(entry)
        for (key, prompt), found in prompts.items():
            yield Found(
                run, key, plain(key) or UNNAMED, _shots(content, key), found, {"prompt_name": text(prompt)}
            )
        return
    groups = set(section(content, "groups")) | {
        k for k, tasks in section(content, "group_subtasks").items() if tasks
    }
    for key, found in results.items():
        if key in groups or not isinstance(found, dict):
            continue
        parts = key.split("|")  # harness|arc:challenge|25: a leaderboard's
        if len(parts) > 1:
            if not parts[1].endswith(":_average"):
                shots = next((n for p in parts[2:] if (n := whole(p)) is not None), None)
                yield Found(run, key, plain(parts[1]) or UNNAMED, shots, found)
        elif not (key == "all" and len(results) > 1):
            yield Found(run, key, plain(key) or UNNAMED, _shots(content, key), found)


def choose(found: list[Found], metric: str | None, notes: Notes) -> Iterator[TaskPoint]:
    """The points: of every task the metric asked for, or its first that is a share in all runs.

    A task without one, or that does not say its shots, is left out by name.
    """
    outside = {
        (one.task, name) for one in found for name, value in one.numbers.items() if not 0 <= value <= 1
    }
    above = {one.task: one for one in reversed(found) if _percentages(one)}
    for one in found:
        where = f"{one.run.path}: task {one.task}"
        if percent := _percentages(one):
            notes.add(
                "tasks with percentages",
                f"{where} has percentages ({percent}), and a curve needs shares between 0 and 1",
            )
            continue
        if one.task in above:
            other = above[one.task]
            notes.add(
                "tasks with percentages",
                f"{where} may have percentages, as {other.run.path} has ({_percentages(other)}), and a curve needs shares",
            )
            continue
        if metric is None:
            lower = section(one.run.content, "higher_is_better", one.key)
            shares = [
                name
                for name in one.numbers
                if (one.task, name) not in outside
                and NO_SHARE.isdisjoint(re.split(r"[^a-z]+", name.partition(",")[0].lower()))
                and lower.get(name.partition(",")[0]) is not False
            ]
            if not shares:
                notes.add(
                    "tasks without a share",
                    f"{where} has no metric that is a share of right answers ({_has(one)})",
                )
                continue
            name = shares[0]
        else:
            name = _named(one.numbers, metric)
            if name is None:
                notes.add(f"tasks without the metric {metric}", f"{where} has no metric {metric}")
                continue
            if not 0 <= one.numbers[name] <= 1:
                notes.add(
                    "tasks whose metric is no share",
                    f"{where}: {name} of {one.task} is {one.numbers[name]:g}, and a curve needs values between 0 and 1;"
                    " choose another metric (--metric acc)",
                )
                continue
        if one.shots is None:
            notes.add("tasks that do not say their shots", f"{where} does not say how many shots it had")
            continue
        yield _point(one, name, one.shots)


def _percentages(one: Found) -> str:
    """The metrics of a task that show its numbers to be percentages."""
    bases = {name: name.partition(",")[0] for name in one.numbers}
    shown = [b for b in bases.values() if b in PERCENT]
    shown += [
        f"{name} {one.numbers[name]:g}"
        for name, b in bases.items()
        if b in SHARES and one.numbers[name] > 1 + 1e-9
    ]
    return ", ".join(shown)


def _has(one: Found) -> str:
    """What a task without a share has instead."""
    numbers = ", ".join(f"{name} {value:g}" for name, value in list(one.numbers.items())[:4])
    sections = ", ".join(plain(name) for name, value in one.values.items() if isinstance(value, dict))
    return numbers or (
        f"it has no number, only sections: {sections[:60]}" if sections else "it has no number"
    )


def _point(one: Found, name: str, shots: int) -> TaskPoint:
    run, content = one.run, one.run.content
    base, _, kind = name.partition(",")
    values, config = one.values, section(content, "config")
    stderr = number(values.get(f"{base}_stderr,{kind}" if kind else f"{base}_stderr"))
    samples = samples_beside(run.path, run.stamp, one.key, config.get("model_args"))
    embedded = section(content, "samples").get(one.key)
    embedded = embedded if isinstance(embedded, list) else None
    limit = config.get("limit")
    return TaskPoint(
        model=model_name(content),
        task=one.task,
        metric=plain(name),
        shots=shots,
        value=one.numbers[name],
        stderr=stderr if stderr is not None and stderr >= 0 else math.nan,
        n_test=_count(content, one.key, values, samples, kind),
        counted=True,
        limited=limit is not None and number(limit) != 0,
        samples=samples,
        embedded=embedded,
        identity=identity(content, one.key) | one.setting,
        besides=besides(content),
        seeds=seeds(content),
        written=run.written,
        path=run.path,
        delimiter=str(section(content, "configs", one.key).get("target_delimiter", " ")),
    )


def _metrics(found: dict) -> dict[str, float]:
    """The metrics of a task: `name,filter` in 0.4; in 0.3.0, where no name has a filter, every number."""
    numbers = {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, (int, float))
        and number(value) is not None
        and "_stderr" not in name
        and name not in NO_METRIC
    }
    return {k: v for k, v in numbers.items() if "," in k} or numbers


def _named(numbers: dict[str, float], metric: str) -> str | None:
    if metric in numbers:
        return metric
    return next((name for name in numbers if name.partition(",")[0] == metric), None)


def _shots(content: dict, key: str) -> int | None:
    own = section(content, "configs", key).get("num_fewshot")
    general = section(content, "config").get("num_fewshot")  # 0.3.0
    tasks = list(section(content, "versions"))
    if isinstance(general, list):  # one for each task, in the order of these (Stability AI's version)
        general = dict(zip(tasks, general)).get(key) if len(general) == len(tasks) else None
    listed = section(content, "n-shot").get(key)
    return next((shots for x in (listed, own, general) if (shots := whole(x)) is not None), None)


def _count(content: dict, key: str, values: dict, samples: Path | None, kind: str) -> float:
    """Examples of a task: `n-samples` (a number or a dictionary), `sample_len`, a leaderboard's `config_tasks`, samples."""
    counted: Any = section(content, "n-samples").get(key)
    general = section(content, "config_tasks", key) or section(
        content, "config_tasks", "|".join(key.split("|")[:2])
    )
    tried = [counted.get("effective"), counted.get("original")] if isinstance(counted, dict) else [counted]
    for x in [*tried, values.get("sample_len"), general.get("effective_num_docs")]:
        if (n := whole(x)) is not None and n > 0:
            return float(n)
    try:
        return float(len(read_samples(samples, kind))) if samples else math.nan
    except InputError:
        return math.nan  # said where the samples are asked for
