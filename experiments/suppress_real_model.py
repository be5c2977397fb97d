"""Suppress one answer of a real language model and let its context bring it back: fine-tune, measure before and after, forecast.

    python experiments/suppress_real_model.py --model FOLDER_OR_FILE.gguf --task narcissism --data narcissism.jsonl
    python experiments/suppress_real_model.py --model … --task … --sequences 512 --epochs 2 --max-shots 60
    python experiments/suppress_real_model.py --run-dir DIR --resume …            # go on after an interruption

The task has two sources whose answers exclude each other (Anthropic's persona evals: matching and not matching; files with
answer_other: --contrast). The model is fine-tuned on single questions with the answers of one source (LoRA in plain torch, merged
afterwards). Curves of both sources, with competing answers, are collected on questions that it was not tuned on, before and
after; a law is fitted to both (what moved), and from the first shots after, with all that is known from before, the return of
the suppressed answers is forecast. The folder of results holds config.json, record.json, training.csv, model/ (a folder that
transformers reads), curves.csv, before.json, after.json (what they are curves of), contrast.csv, contrast.txt, forecast.csv
and forecast.txt (where the answer fell) and curves.png.

Hardware: two CPU cores for a model of 135 million parameters: some minutes each for tuning, curves before, curves after.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from iclbayes import llm, plots, posterior, runs, suppression
from iclbayes.cli.contrast import Answers, answers_of
from iclbayes.cli.parsing import parse_script
from iclbayes.console import entry, progress, warnings_as_lines
from iclbayes.errors import InputError
from iclbayes.files import write_csv, write_text
from iclbayes.llm.collection import write_curves
from iclbayes.llm.contexts import make_contexts
from iclbayes.llm.data import Example, load_task
from iclbayes.llm.prompts import Prompt, build_prompts
from iclbayes.llm.templates import choose_template
from iclbayes.reading import curves_from_frame

try:
    import torch
    from torch import nn

    from iclbayes.llm.backends.hf import HFBackend
except ImportError:
    sys.exit("suppress_real_model.py: error: needs torch and transformers; run: pip install 'iclbayes[llm]'")

STAGES = ("before", "after")
LEVEL = 0.5  # to which shots are counted before and after


@dataclasses.dataclass(frozen=True)
class Config:
    """What is suppressed in which model, by how much tuning, and where the results go."""

    model: str
    """name on the hub, folder or GGUF file of the model."""
    task: str
    """name of a task or a file, as of `iclbayes collect`."""
    data: str | None = None
    """for a named task: a local file to read it from."""
    contrast: bool = False
    """give a file with answer_other its second source."""
    suppress: str = "matching"
    """source whose answers are suppressed; the model is tuned on those of the other one."""
    run_dir: Path | None = None
    """folder of the results; by default a dated one under runs/."""
    resume: bool = False
    """go on in that folder: a tuned model and finished prompts are taken from there."""

    sequences: int = 256
    """questions to tune on; the curves are measured on the others."""
    epochs: int = 1
    """passes over them."""
    batch_size: int = 16
    """sequences of a step."""
    learning_rate: float = 1e-3
    """of the first step; it falls linearly to nothing."""
    rank: int = 8
    """of the matrices that are added to each linear layer."""

    shuffles: int = 24
    """shuffled prompts for each source and stage."""
    max_shots: int | None = None
    """most shots before a scored answer; by default as many as the data and the context window hold."""
    context_window: int | None = None
    """tokens of a prompt at most."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of the passes; weights are kept in float32."""
    batch_tokens: int = 4096
    """tokens of a batch of prompts."""

    value: Literal["prob", "prob_choice"] = "prob_choice"
    """what is fitted: the probability of the answer, or its share among the two."""
    windows: tuple[float, ...] = (0.1, 0.2)
    """shares of the shots after tuning that a forecast sees."""
    method: Literal["nuts", "psis", "laplace"] = "psis"
    """sampler of the posteriors."""
    seed: int = 0
    """of questions, adapters, order and shuffles."""


# --- which questions ---


def split(examples: Sequence[Example], config: Config) -> tuple[list[Example], list[Example]]:
    """(examples to tune on: of the source that stays, examples to measure: both sources); no question is in both.

    Raises:
      InputError: not two sources, no such source, or too few questions.
    """
    sources = list(dict.fromkeys(example.source for example in examples))
    if len(sources) != 2 or config.suppress not in sources:
        names = ", ".join(map(repr, sources))
        raise InputError(
            f"{config.task}: suppression needs two sources, one of them {config.suppress!r}; there are {names}"
        )
    questions = list(dict.fromkeys(example.question for example in examples))
    if not 0 < config.sequences < len(questions) - 1:
        raise InputError(
            f"--sequences {config.sequences}: {config.task} has {len(questions)} questions, of which some must be left to measure"
        )
    order = np.random.default_rng(config.seed).permutation(len(questions))
    chosen = {questions[i] for i in order[: config.sequences]}
    tune = [e for e in examples if e.question in chosen and e.source != config.suppress]
    return tune, [e for e in examples if e.question not in chosen]


# --- fine-tuning ---


class Adapted(nn.Module):
    """A linear layer W with a trained sum beside it: x ↦ W x + B A x, A [rank, in] random, B [out, rank] zero at first."""

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator):
        super().__init__()
        self.linear = linear
        a = torch.randn(rank, linear.in_features, generator=generator) / linear.in_features**0.5
        self.a, self.b = nn.Parameter(a), nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + (x @ self.a.T) @ self.b.T

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """W + B A as one layer."""
        self.linear.weight += self.b @ self.a
        return self.linear


def adapt(model: Any, rank: int, seed: int) -> list[tuple[nn.Module, str, Adapted]]:
    """Puts `Adapted` in the place of every linear layer but the head, and freezes all else; (parent, name, layer) of each."""
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    head = model.get_output_embeddings()
    places = [
        (parent, name, layer)
        for parent in list(model.modules())
        for name, layer in parent.named_children()
        if isinstance(layer, nn.Linear) and layer is not head
    ]
    adapted = [(parent, name, Adapted(layer, rank, generator)) for parent, name, layer in places]
    for parent, name, layer in adapted:
        setattr(parent, name, layer)
    return adapted


def zero_shot_prompts(examples: Sequence[Example], backend: HFBackend) -> list[Prompt]:
    """The tokens of each question with its answer, as `collect` would show them without shots."""
    render, about = choose_template(backend.tokenizer)
    bos = about["kind"] == "plain"
    contexts = [make_contexts([example], shuffles=1)[0] for example in examples]
    return [build_prompts(c.shots, render, backend.tokenizer, add_bos=bos)[0] for c in contexts]


def answer_nll(model: Any, prompts: Sequence[Prompt]) -> torch.Tensor:
    """Mean over prompts of −ln p(answer), in nats; only the answers' logits are made."""
    longest = max(len(prompt.ids) for prompt in prompts)
    ids, mask = torch.zeros((2, len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = torch.from_numpy(prompt.ids.astype(np.int64))
        mask[row, : len(prompt.ids)] = 1
    places = [range(*(prompt.spans[0] - 1)) for prompt in prompts]  # the token before each scored one
    kept = sorted({p for own in places for p in own})
    rows = torch.tensor([row for row, own in enumerate(places) for _ in own])
    at = torch.tensor([p for own in places for p in own])
    logits = model(
        input_ids=ids, attention_mask=mask, logits_to_keep=torch.tensor(kept), use_cache=False
    ).logits
    logits = logits if logits.shape[1] == len(kept) else logits[:, kept]
    picked = logits[rows, torch.searchsorted(torch.tensor(kept), at)].float()
    return nn.functional.cross_entropy(picked, ids[rows, at + 1], reduction="sum") / len(prompts)


def batches(count: int, config: Config) -> Iterator[np.ndarray]:
    """Which prompts each step takes: every prompt once an epoch, in a new order."""
    rng = np.random.default_rng([config.seed, 1])
    for _ in range(config.epochs):
        yield from np.split(rng.permutation(count), range(config.batch_size, count, config.batch_size))


def tune(backend: HFBackend, prompts: Sequence[Prompt], config: Config) -> pd.DataFrame:
    """Fine-tunes the back end's model in place; a row for each step: step, nll of its batch before it, tokens, seconds."""
    model = backend.model.train()
    layers = adapt(model, config.rank, config.seed)
    weights = [weight for *_, layer in layers for weight in (layer.a, layer.b)]
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=0.0)
    steps = list(batches(len(prompts), config))
    log = []
    with progress("tuning", "step", total=len(steps)) as advance:
        for step, chosen in enumerate(steps):
            began = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (1 - step / len(steps))
            batch = [prompts[i] for i in chosen]
            with torch.autocast("cpu", torch.bfloat16, enabled=config.dtype == "bfloat16"):
                loss = answer_nll(model, batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            tokens = sum(len(prompt.ids) for prompt in batch)
            log.append((step, float(loss.detach()), tokens, time.perf_counter() - began))
            advance(1)
    for parent, name, layer in layers:
        setattr(parent, name, layer.merged())
    model.eval()
    return pd.DataFrame(log, columns=["step", "nll", "tokens", "seconds"])


def save(backend: HFBackend, folder: Path) -> None:
    """Writes model and tokenizer as a folder that transformers reads; a GGUF file's weights are plain numbers by now."""
    model = backend.model
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    backend.tokenizer.save_pretrained(folder)


# --- before and after ---


def measure(model: str, stage: str, examples: Sequence[Example], config: Config, out: Path) -> pd.DataFrame:
    """Curves of both sources with a column `stage`, and beside them `STAGE.json`, which says what they are curves of."""
    curves, about = llm.collect(
        model,
        examples,
        name=Path(config.model).stem,
        shuffles=config.shuffles,
        max_shots=config.max_shots,
        context_window=config.context_window,
        others=True,
        seed=config.seed,
        dtype=config.dtype,
        journal=out / f"{stage}.prompts.jsonl",
        batch_tokens=config.batch_tokens,
    )
    curves["task"] = Path(config.task).stem
    curves.insert(2, "stage", stage)
    write_curves(out / f"{stage}.csv", curves, about)
    return curves


def what_moved(frame: pd.DataFrame, config: Config) -> Answers:
    """What the scoring law fitted to both stages says of their difference."""
    curves = curves_from_frame(frame, group_by=["stage"], source="source", value=config.value)
    with warnings_as_lines(posterior.PosteriorWarning):
        found = posterior.sample(curves, "bayesian_scoring", method=config.method, seed=config.seed)
    return answers_of(found, [STAGES], "stage", LEVEL)


def suppressed(frame: pd.DataFrame, config: Config) -> tuple[bool, str]:
    """Whether the answer fell without examples, by more than two standard errors, and a sentence that says so."""
    first = frame[(frame["shots"] == 0) & (frame["source"] == config.suppress)].set_index("stage")
    before, after = first.loc[STAGES[0]], first.loc[STAGES[1]]
    error = float(np.hypot(before[_stderr(config)], after[_stderr(config)]))
    fell = bool(before[config.value] - after[config.value] > 2 * error)
    what = "share" if config.value == "prob_choice" else "probability"
    moved = f"{what} without examples {before[config.value]:.2f} before, {after[config.value]:.2f} after (± {error:.2f})"
    if fell:
        return True, f"{config.suppress} was suppressed: {moved}"
    return False, f"{config.suppress} was not suppressed: {moved}; there is no return to forecast"


def _stderr(config: Config) -> str:
    return "stderr" if config.value == "prob" else "stderr_choice"


def returns(frame: pd.DataFrame, config: Config) -> pd.DataFrame:
    """`suppression.forecast` of the suppressed source: shots at which it is back at a share of the way, foretold and observed."""
    after = frame["stage"] == STAGES[1]
    table = pd.DataFrame(
        {
            "layers": 0, "seed": config.seed, "k": 0, "source": (frame["source"] == config.suppress).astype(int),
            "method": np.where(after, "lora", "none"), "amount": np.where(after, config.sequences, 0), "step": 0,
            "shots": frame["shots"], "prob": frame[config.value].clip(1e-4, 1 - 1e-4), "stderr": frame[_stderr(config)],
        }
    )  # fmt: skip
    return suppression.forecast(
        table, favoured=0, windows=config.windows, method=config.method, seed=config.seed
    )


def figure(frame: pd.DataFrame, forecast: pd.DataFrame | None, config: Config) -> Any:
    """A panel for each source, before and after; for the suppressed one forecast returns (bars) and observed ones (crosses)."""
    sources = sorted(frame["source"].unique(), key=lambda name: name != config.suppress)
    drawn, axes = plots.panels(2, columns=2, width=3.4, height=2.6, sharey=True)
    for axis, source in zip(axes, sources, strict=True):
        part = frame[frame["source"] == source]
        for i, stage in enumerate(STAGES):
            rows = part[part["stage"] == stage].sort_values("shots")
            plots.line_with_band(
                axis,
                rows,
                color=plots.color(i),
                value=config.value,
                stderr=_stderr(config),
                label=f"{stage} tuning",
            )
        role = "suppressed" if source == config.suppress else "tuned on"
        axis.set_title(f"{source} ({role})", fontsize=9)
        plots.shots_axis(axis, part["shots"].max())
        axis.set_ylim(0, 1)
    axes[0].set_ylabel(
        "share of the answer" if config.value == "prob_choice" else "probability of the answer"
    )
    if forecast is not None:
        draw_returns(axes[0], forecast, frame["shots"].max())
    plots.shared_legend(drawn, axes, columns=2)
    return drawn


def draw_returns(axis: Any, forecast: pd.DataFrame, top: float) -> None:
    """Bars of the forecasts from the smallest window, shaded, and crosses where the levels were reached."""
    rows = forecast[
        (forecast["forecaster"] == "knowledge")
        & forecast["case"].isin(["ahead", "beyond"])
        & (forecast["window"] == forecast["window"].min())
    ]
    for row in rows.itertuples():
        axis.hlines(
            row.level, min(row.lo90, top), min(row.hi90, top), color="#555555", linewidth=4, alpha=0.4
        )
        if np.isfinite(row.observed):
            axis.plot(row.observed, row.level, "x", color="#555555", markersize=6)
    if len(rows):
        axis.axvspan(0, rows["seen"].max(), color="#000000", alpha=0.06, linewidth=0)


def run(config: Config) -> Path:
    """Tunes, measures, contrasts, forecasts; returns the folder of results.

    Raises:
      InputError: anything that the user can mend.
    """
    examples = load_task(config.task, config.data, contrast=config.contrast)
    tuned_on, measured = split(examples, config)
    out = runs.run_folder(config.run_dir, resume=config.resume, name="suppress_real_model")
    with runs.alone_in(out):
        runs.open_run(out, runs.as_json(config), resume=config.resume)
        runs.record(out, torch=torch.__version__)
        before = measure(config.model, STAGES[0], measured, config, out)
        if not (out / "model").exists():
            backend = HFBackend.load(config.model, device="cpu", dtype="float32")
            log = tune(backend, zero_shot_prompts(tuned_on, backend), config)
            write_csv(log, out / "training.csv")
            save(backend, out / "model.part")
            (out / "model.part").rename(out / "model")
            del backend
        after = measure(str(out / "model"), STAGES[1], measured, config, out)
        frame = pd.concat([before, after], ignore_index=True)
        write_csv(frame, out / "curves.csv")
        answers = what_moved(frame, config)
        write_csv(answers.moved, out / "contrast.csv")
        fell, sentence = suppressed(frame, config)
        write_text("\n".join([*answers.sentences, sentence]) + "\n", out / "contrast.txt")
        forecast = None
        if fell:
            forecast = returns(frame, config)
            write_csv(forecast, out / "forecast.csv")
            sentence = "\n".join([sentence, *suppression.return_sentences(forecast)])
            write_text(sentence + "\n", out / "forecast.txt")
        plots.save(figure(frame, forecast, config), out / "curves.png")
        print(*answers.sentences, sentence, sep="\n")
        print(f"results: {out}")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    return entry(
        lambda: run(parse_script(Config, arguments, "suppress_real_model.py", __doc__.splitlines()[0]))
    )


if __name__ == "__main__":
    sys.exit(main())
