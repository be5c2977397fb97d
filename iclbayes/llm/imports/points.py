"""A point of a curve that somebody else's evaluation measured."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Point:
    """One task of one run. `stderr` and `n_test` are NaN where the run does not say; `counted`, if the
    value is the share of examples that were right; `limited`, if a limit cut the run short.

    `identity` holds all settings that make its numbers differ, as text; `besides` what else the run says of itself, which
    may be a setting or not; `seeds` what makes it a replicate; `written` is when it was, in seconds since 1970.
    """

    model: str
    task: str
    metric: str
    shots: int
    value: float
    stderr: float
    n_test: float
    counted: bool
    limited: bool
    identity: dict[str, str]
    besides: dict[str, str]
    seeds: dict[str, int]
    written: float
    path: Path

    def __str__(self) -> str:
        return f"{self.task} after {self.shots} shots ({self.model})"
