"""From contexts to a curves file: score every prompt once, then average probabilities over shuffles."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..errors import InputError
from ..files import atomic_path
from .backends import Backend
from .contexts import Context
from .journal import Journal
from .prompts import RIGHT, WRONG, Prompt, build_prompts
from .templates import Template


def prepare(
    contexts: Sequence[Context],
    template: Template,
    backend: Backend,
    window: int | None = None,
    first_tokens: int | None = None,
    add_bos: bool = False,
    template_name: str = "the template",
) -> list[list[Prompt]]:
    """The prompts of every context (`build_prompts`) in the smaller of `window` and the back end's own."""
    limits = [x for x in (window, backend.window) if x is not None]
    built = []
    for context in contexts:
        prompts = build_prompts(
            context.shots,
            template,
            backend.tokenizer,
            min(limits, default=None),
            first_tokens,
            in_pass=backend.in_pass,
            add_bos=add_bos,
            template_name=template_name,
        )
        if len(prompts[0].spans) <= context.skip:
            raise InputError(
                f"the context window of {min(limits)} tokens holds {len(prompts[0].spans)} shots, and"
                f" {context.skip} benign ones come first; lower --benign-shots"
            )
        built.append(prompts)
    return built


def score_all(
    built: Sequence[Sequence[Prompt]],
    contexts: Sequence[Context],
    backend: Backend,
    journal: Journal,
    progress: bool | None = None,
) -> None:
    """Scores what the journal lacks, writing down every prompt as it finishes; equal prompts are scored once.

    Args:
      progress: show a bar with tokens per second and the time left; by default if stderr is a terminal.
    """
    waiting: dict[str, tuple[Prompt, Context]] = {}
    for context, prompts in zip(contexts, built):
        for prompt in prompts:
            if prompt.key not in journal.done:
                waiting.setdefault(prompt.key, (prompt, context))
    todo = list(waiting.values())
    total = sum(len(prompt.ids) for prompts in built for prompt in prompts)
    left = sum(len(prompt.ids) for prompt, _ in todo)
    hide = not (sys.stderr.isatty() if progress is None else progress)
    with tqdm(
        total=total, initial=total - left, unit="token", unit_scale=True, desc="scoring", disable=hide
    ) as bar:
        for i, scores in backend.score([prompt for prompt, _ in todo]):
            prompt, context = todo[i]
            journal.add(
                prompt.key, scores, source=context.source, shuffle=context.shuffle, tokens=len(prompt.ids)
            )
            bar.update(len(prompt.ids))


def probabilities(prompts: Sequence[Prompt], scores: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Adds up the spellings of each answer of one context.

    Args:
      prompts: the context's prompts, the one with all shots first.
      scores: their log probabilities in nats, [n, 1 + F] each.

    Returns:
      prob: float64 [n], Σ_r p(spelling r of the right answer).
      other: float64 [n], Σ_w p(competing answer w); NaN where none was scored.
      rival: float64 [n], max_w p(competing answer w); NaN where none was scored.
    """
    shots = prompts[0].shots
    row = {int(shot): i for i, shot in enumerate(shots)}
    prob, other, rival = np.zeros(len(shots)), np.full(len(shots), np.nan), np.full(len(shots), np.nan)
    for prompt, found in zip(prompts, scores):
        for shot, roles, values in zip(prompt.shots, prompt.roles, np.exp(found)):
            i = row.get(int(shot))
            if i is None:
                continue
            prob[i] += values[roles == RIGHT].sum()
            wrong = values[roles == WRONG]
            if len(wrong):
                other[i] = np.nan_to_num(other[i]) + wrong.sum()
                rival[i] = max(np.nan_to_num(rival[i]), wrong.max())
    return prob, other, rival


def average(
    contexts: Sequence[Context], built: Sequence[Sequence[Prompt]], done: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Mean over shuffles, for every source and number of shots.

    Returns a frame with columns `source, shots, n_test, prob, stderr` and, if competing answers were
    scored, `prob_other, n_correct, accuracy`: `n_test` is the number of shuffles, `prob` the mean
    probability of the answer, `stderr` its standard error s/√n (empty with one shuffle), `prob_other` the
    mean total probability of the competing answers, and an answer is correct if it is more probable than
    each competing one.
    """
    rows = []
    for context, prompts in zip(contexts, built):
        prob, other, rival = probabilities(prompts, [done[prompt.key] for prompt in prompts])
        for i in range(context.skip, len(prob)):
            rows.append((context.source, i - context.skip, prob[i], other[i], prob[i] > rival[i], rival[i]))
    frame = pd.DataFrame(rows, columns=["source", "shots", "prob", "prob_other", "n_correct", "rival"])
    groups = frame.groupby(["source", "shots"], sort=False)
    curves = groups["prob"].agg(n_test="size", prob="mean", stderr="sem").reset_index()
    # Sums of rounded probabilities can pass 1 by a rounding error, which readers of curves refuse.
    curves["prob"] = curves["prob"].clip(upper=1.0)
    if frame["rival"].notna().all():
        curves["prob_other"] = groups["prob_other"].mean().to_numpy()
        curves["n_correct"] = groups["n_correct"].sum().to_numpy(np.int64)
        curves["accuracy"] = curves["n_correct"] / curves["n_test"]
    return curves


def write_curves(out: str | os.PathLike, curves: pd.DataFrame, about: dict[str, Any]) -> None:
    """Writes the curves as CSV, and beside them, with the suffix `.json`, what they are curves of."""
    out = Path(out)
    with atomic_path(out.with_suffix(".json")) as path:
        path.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    with atomic_path(out) as path:
        curves.to_csv(path, index=False)


def versions() -> dict[str, str]:
    """Versions of this library and of Python."""
    try:
        own = version("iclbayes")
    except PackageNotFoundError:
        own = "unknown"
    return {"iclbayes": own, "python": platform.python_version()}
