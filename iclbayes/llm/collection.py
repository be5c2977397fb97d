"""`collect`: from a model and a task to curves. Every prompt is scored once, and probabilities are averaged over shuffles."""

import contextlib
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from .. import console
from ..errors import CurvesWarning, InputError
from ..files import write_csv, write_text
from .backends import Backend, Engine, check_engine, load_backend
from .contexts import Context, make_contexts
from .data import Example, load_task
from .journal import Journal
from .prompts import RIGHT, WRONG, Prompt, build_prompts
from .templates import Template, choose_template

MANY_TIMES = 3  # the tokens of the contexts alone, from which on it is said


def collect(
    model: str | os.PathLike | Backend,
    task: str | os.PathLike | Sequence[Example],
    *,
    name: str | None = None,
    backend: Engine = "hf",
    shuffles: int = 50,
    max_shots: int | None = None,
    data: str | None = None,
    answers: str | None = None,
    split: str | None = None,
    contrast: bool = False,
    seed: int = 0,
    flip: float = 0.0,
    score: Literal["shown", "true"] = "shown",
    others: bool = False,
    benign_source: str | None = None,
    benign_shots: int = 0,
    first_tokens: int | None = None,
    template: Literal["auto", "chat", "plain"] = "auto",
    system: str | None = None,
    template_args: Mapping[str, Any] | None = None,
    date: str | None = None,
    tokenizer: str | None = None,
    context_window: int | None = None,
    dtype: str = "auto",
    journal: str | os.PathLike | None = None,
    progress: bool | None = None,
    **engine: Any,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Collects ICL curves from a language model: mean probability of the answer after 0, 1, 2, … shots.

    Args:
      model: a name on the hub, a folder or a GGUF file, which `load_backend` opens; or a back end, such as
        `HFBackend(model, tokenizer)`, whose model is at hand.
      task: the name of a task or a file, which `load_task` reads with `data`, `answers`, `split` and
        `contrast`; or examples.
      name: what the curves call the model, by default the name of its folder or on the hub.
      backend, tokenizer, dtype, engine: options of `load_backend`, where `model` is a name.
      shuffles, max_shots, seed, flip, score, others, benign_source, benign_shots: as in `make_contexts`.
      first_tokens: score only that many tokens at the start of each answer.
      template, system, template_args (its `arguments`), date: as in `choose_template`.
      context_window: tokens of a prompt at most, where the model can take more or does not say.
      journal: a file for finished prompts, from which the same call goes on after it was stopped, and one with more
        shuffles or shots adds what is missing; by default they are kept in memory alone.
      progress: as in `score_all`.

    Returns:
      The curves, a frame with columns `model, task, source` and those of `average` (with benign shots or
      flips also `benign_shots`, `flip`), which `iclbayes.curves_from_frame(frame, group_by=["model", "task"],
      source="source")` takes, and `window`, how many shots fit the context where that is known; and what they
      are curves of: every setting that decides the numbers, template, the day that it writes, versions, engine, the head of a
      prompt as it was rendered, numbers of contexts, prompts and tokens.

    Raises:
      InputError: anything that the user can mend. Prompts that were finished before stay in the journal.
    """
    model = os.fspath(model) if isinstance(model, os.PathLike) else model
    task = os.fspath(task) if isinstance(task, os.PathLike) else task
    if isinstance(model, str):
        check_engine(backend, engine.get("base_url"))
    examples = load_task(task, data, answers, split, contrast) if isinstance(task, str) else list(task)
    contexts = make_contexts(
        examples, shuffles, max_shots, seed, flip, score, others, benign_source, benign_shots
    )
    if isinstance(model, str):
        scorer = load_backend(
            backend, model, tokenizer=tokenizer, window=context_window, dtype=dtype, **engine
        )
        about: dict[str, Any] = {"model": model, "backend": backend}
    else:
        scorer, told = model, model.describe()
        about = {"model": name or told["backend"], "backend": told["backend"], "engine": _lasting(told)}
    if scorer.tokenizer is None:
        raise InputError(f"{about['model']}: has no tokenizer (tokenizer.json); give one (--tokenizer)")
    render, about_template = choose_template(scorer.tokenizer, template, system, template_args, date)
    plain = about_template["kind"] == "plain"
    whose = "the plain template" if plain else f"the chat template of {about['model']}"
    if "scored_behind" in about_template and progress is not False:
        console.warn(
            f"answers are scored behind {about_template['scored_behind']!r}, but {whose} has a model go on behind"
            f" {about_template['generation_prompt']!r}; what it would answer there may differ (arguments of the template:"
            " --template-arg NAME=VALUE)"
        )
    with console.warnings_as_lines(CurvesWarning):
        built = prepare(contexts, render, scorer, context_window, first_tokens, plain, whose)

    # What decides the numbers: two calls that agree on it may share finished prompts.
    about |= {
        "task": task if isinstance(task, str) else "examples",
        "data": data,
        "answers": answers,
        "split": split,
        "contrast": contrast,
        "shuffles": shuffles,
        "max_shots": max_shots,
        "seed": seed,
        "flip": flip,
        "score": score,
        "others": others,
        "benign_source": benign_source,
        "benign_shots": benign_shots,
        "first_tokens": first_tokens,
        "tokenizer": tokenizer,
        "context_window": context_window,
        "dtype": dtype,
        "files": _digests(task, data, answers),
        "date": about_template.pop("date", None),
        "template": about_template,
    }
    opened = contextlib.nullcontext(Journal()) if journal is None else Journal.open(journal, about)
    with opened as finished:
        score_all(built, contexts, scorer, finished, progress)
        curves = average(contexts, built, finished.done)
    tokens = _limit(context_window, scorer)
    if tokens is not None:
        curves["window"] = curves["source"].map(shots_that_fit(contexts, built, tokens))
    curves = _label(curves, about, name)
    told = scorer.describe()
    return curves, about | {
        "versions": versions() | told["versions"],
        "engine": _lasting(told),
        "head": head_of(built[0][0]),
        "contexts": len(contexts),
        "prompts": len({prompt.key for prompts in built for prompt in prompts}),
        "tokens": sum(len(prompt.ids) for prompts in built for prompt in prompts),
        "most_shots": int(curves["shots"].max()),
    }


def head_of(prompt: Prompt) -> str:
    """The beginning of a prompt's text, up to the end of its first answer: what the template made of system and question."""
    return prompt.text[: prompt.chars[0, 1]] if len(prompt.chars) else ""


def _lasting(told: dict) -> dict:
    """What a back end tells of itself, less the versions, which may change between two calls."""
    return {key: value for key, value in told.items() if key != "versions"}


def _digests(task: str | Sequence[Example], *others: str | None) -> dict[str, str]:
    """Digests of the contents of the files that were read, or of the examples given, by name."""
    files = [Path(x) for x in (task, *others) if isinstance(x, str) and x and os.path.isfile(x)]
    contents = {path.name: path.read_bytes() for path in files}
    if not isinstance(task, str):
        contents["examples"] = repr(list(task)).encode()
    return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in contents.items()}


def _label(curves: pd.DataFrame, about: dict[str, Any], name: str | None) -> pd.DataFrame:
    model, task = about["model"], about["task"]
    folder = os.path.basename(model.rstrip("/")) if os.path.isdir(model) else model
    shown = Path(model).stem if os.path.isfile(model) else folder
    curves["source"] = curves["source"].where(curves["source"] != "", "all")
    curves.insert(0, "model", name or shown)
    curves.insert(1, "task", Path(task).stem if os.path.isfile(task) else task)
    for setting in ("benign_shots", "flip"):
        if about[setting]:
            curves.insert(3, setting, about[setting])
    return curves


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
    limit = _limit(window, backend)
    built = []
    for context in contexts:
        prompts = build_prompts(
            context.shots,
            template,
            backend.tokenizer,
            limit,
            first_tokens,
            in_pass=backend.in_pass,
            add_bos=add_bos,
            template_name=template_name,
        )
        if len(prompts[0].spans) <= context.skip:
            raise InputError(
                f"the context window of {limit} tokens holds {len(prompts[0].spans)} shots, and"
                f" {context.skip} benign ones come first; lower --benign-shots"
            )
        built.append(prompts)
    return built


def _limit(window: int | None, backend: Backend) -> int | None:
    """Tokens of a prompt at most: the smaller of `window` and the back end's own, None where neither is known."""
    return min((x for x in (window, backend.window) if x is not None), default=None)


def shots_that_fit(
    contexts: Sequence[Context], built: Sequence[Sequence[Prompt]], tokens: int
) -> dict[str, int]:
    """The most shots of each source that fit in `tokens`: what a context was cut to, or else by the length of its shots."""
    most: dict[str, int] = {}
    for context, prompts in zip(contexts, built, strict=True):
        shown = len(prompts[0].spans)
        if shown == len(context.shots):  # not cut: all there were
            shown = max(shown, int(tokens * shown / len(prompts[0].ids)))
        most[context.source] = max(most.get(context.source, 0), shown - 1 - context.skip)
    return most


def score_all(
    built: Sequence[Sequence[Prompt]],
    contexts: Sequence[Context],
    backend: Backend,
    journal: Journal,
    progress: bool | None = None,
) -> None:
    """Scores what the journal lacks, writing down every prompt as it finishes; equal prompts are scored once.

    Args:
      progress: say how much there is to do, then show a bar with tokens per second and the time left; where stderr is no
        terminal a line now and then. False: say nothing.
    """
    waiting: dict[str, tuple[Prompt, Context]] = {}
    for context, prompts in zip(contexts, built):
        for prompt in prompts:
            if prompt.key not in journal.done:
                waiting.setdefault(prompt.key, (prompt, context))
    todo = list(waiting.values())
    total = len({prompt.key for prompts in built for prompt in prompts})
    costs = costs_of(backend, [prompt for prompt, _ in todo])
    left = sum(costs)
    if todo and progress is not False:
        done = "" if len(todo) == total else f"; {total - len(todo):,} more are done already"
        print(f"iclbayes: {len(todo):,} prompts with {left:,} tokens to score{done}", file=sys.stderr)
        times = factor_of(built, backend)
        if times >= MANY_TIMES:
            shares = hasattr(backend, "cost")  # but not with this model
            remedy = (
                "" if shares else ", and so does --backend hf, which reads what answers have in common once"
            )
            print(
                f"iclbayes: competing answers and further spellings make it {times:.0f} times the tokens of the contexts alone"
                f"{' (this model allows no sharing)' if shares else ''}; --first-tokens 1 spares most of them where answers"
                f" differ in their first token{remedy}",
                file=sys.stderr,
            )

    def score(which: range, advance: Callable[[int], None]) -> None:
        for i, scores in backend.score([todo[j][0] for j in which]):
            prompt, context = todo[which[i]]
            journal.add(
                prompt.key, scores, source=context.source, shuffle=context.shuffle, tokens=len(prompt.ids)
            )
            advance(costs[which[i]])

    tried = trial(backend, costs) if progress is not False else 0
    with console.progress("scoring", "token", total=left, show=progress) as advance:
        if tried:
            began = time.perf_counter()
            score(range(tried), advance)
            rate = sum(costs[:tried]) / max(time.perf_counter() - began, 1e-9)
            rest = console.duration((left - sum(costs[:tried])) / rate)
            print(
                f"iclbayes: about {rest}, at {rate:,.0f} tokens/s as in a trial of {tried:,} prompts",
                file=sys.stderr,
            )
        score(range(tried, len(todo)), advance)


def trial(backend: Backend, costs: Sequence[int]) -> int:
    """How many prompts tell how fast a back end is: as many as it works on at a time; 0 where that is a tenth of all or more."""
    together = getattr(backend, "concurrency", None)
    if together is None:
        budget = getattr(backend, "batch_tokens", 0)
        together = max(1, int(np.searchsorted(np.cumsum(costs), budget, side="right")))
    return together if 10 * sum(costs[:together]) < sum(costs) else 0


def costs_of(backend: Backend, prompts: Sequence[Prompt]) -> list[int]:
    """Tokens that the back end reads for each of these prompts."""
    cost = getattr(backend, "cost", None)
    return [len(prompt.ids) for prompt in prompts] if cost is None else cost(prompts)


def factor_of(built: Sequence[Sequence[Prompt]], backend: Backend) -> float:
    """How many times as many tokens are read as the contexts alone have."""
    alone = sum(len(prompts[0].ids) for prompts in built)
    return sum(costs_of(backend, [prompt for prompts in built for prompt in prompts])) / max(alone, 1)


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
    scored, `prob_other, prob_choice, stderr_choice, n_correct, accuracy`: `n_test` is the number of shuffles, `prob` the mean
    probability of the answer, `stderr` its standard error s/√n (empty with one shuffle), `prob_other` the
    mean total probability of the competing answers, `prob_choice` the mean share p / (p + p_other) of the
    right answer among all that compete, with its standard error, and an answer is correct if it is more
    probable than each competing one.
    """
    rows = []
    for context, prompts in zip(contexts, built):
        prob, other, rival = probabilities(prompts, [done[prompt.key] for prompt in prompts])
        for i in range(context.skip, len(prob)):
            choice = prob[i] / max(prob[i] + other[i], 1e-300)
            row = (prob[i], other[i], choice, prob[i] > rival[i], rival[i])
            rows.append((context.source, i - context.skip, *row))
    columns = ["source", "shots", "prob", "prob_other", "prob_choice", "n_correct", "rival"]
    frame = pd.DataFrame(rows, columns=columns)
    groups = frame.groupby(["source", "shots"], sort=False)
    curves = groups["prob"].agg(n_test="size", prob="mean", stderr="sem").reset_index()
    # Sums of rounded probabilities can pass 1 by a rounding error, which readers of curves refuse.
    curves["prob"] = curves["prob"].clip(upper=1.0)
    if frame["rival"].notna().all():
        curves["prob_other"] = groups["prob_other"].mean().to_numpy()
        curves["prob_choice"] = groups["prob_choice"].mean().to_numpy()
        curves["stderr_choice"] = groups["prob_choice"].sem().to_numpy()
        curves["n_correct"] = groups["n_correct"].sum().to_numpy(np.int64)
        curves["accuracy"] = curves["n_correct"] / curves["n_test"]
    return curves


def write_curves(out: str | os.PathLike, curves: pd.DataFrame, about: dict[str, Any]) -> None:
    """Writes the curves as CSV, and beside them, with the suffix `.json`, what they are curves of."""
    out = Path(out)
    write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", out.with_suffix(".json"))
    write_csv(curves, out)


def versions() -> dict[str, str]:
    """Versions of this library and of Python."""
    try:
        own = version("iclbayes")
    except PackageNotFoundError:
        own = "unknown"
    return {"iclbayes": own, "python": platform.python_version()}
