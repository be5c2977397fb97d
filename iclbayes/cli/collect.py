"""`iclbayes collect`: a language model and a task in, a file of curves out."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Collect:
    """Collect ICL curves from a language model: mean probability of the answer after 0, 1, 2, … shots.

    Writes three files: the curves (CSV), what they are curves of (the same name with .json), and every
    finished prompt (.prompts.jsonl), from which the same command goes on after it was stopped.
    """

    model: str
    """Name on the hub or folder of the model; with `--backend openai`, what the server calls it."""
    task: str
    """Name of a task, or a file with columns question and answer (answer_other, answer_forms, source)."""
    out: Path
    """Where the curves go (CSV)."""
    backend: Literal["hf", "openai", "flax"] = "hf"
    """Engine: transformers, a completions server, or this library's GPT-2."""
    base_url: str | None = None
    """Address of the server, with /v1. Its key is read from the variable that `--key-variable` names."""
    shuffles: int = 50
    """Shuffled prompts for each source."""
    max_shots: int | None = None
    """Most shots before a scored answer; by default as many as the data and the context window hold."""
    data: str | None = None
    """For a named task: a local file, or another hub name, to read it from."""
    answers: str | None = None
    """For tasks that ship no answers: a file with columns BehaviorID or question, and answer."""
    split: str | None = None
    """Split of a hub data set."""
    contrast: bool = False
    """Add a second source in which answer and answer_other change places."""
    seed: int = 0
    """Seed of the shuffles and flips."""
    flip: float = 0.0
    """Probability that a shot shows a competing answer in place of its own."""
    score: Literal["shown", "true"] = "shown"
    """With flips: score the answer that the context shows, or the example's own."""
    others: bool = False
    """Also score the competing answers, for accuracy."""
    benign_source: str | None = None
    """Source of the shots that come before those of the curve."""
    benign_shots: int = 0
    """How many of them."""
    first_tokens: int | None = None
    """Score only so many tokens at the start of each answer."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """The model's chat template, or User:/Assistant: lines; auto takes the former if there is one."""
    system: str | None = None
    """System message in front of the conversation."""
    tokenizer: str | None = None
    """Tokenizer, where it is not the model's own."""
    context_window: int | None = None
    """Tokens of a prompt at most, where the model can take more or does not say."""
    device: str = "auto"
    """hf: cpu, cuda, mps; auto takes the accelerator if there is one."""
    dtype: str = "auto"
    """hf: auto is bfloat16 on accelerators, float32 on the CPU."""
    batch_tokens: int = 16_384
    """hf, flax: tokens of a batch."""
    concurrency: int = 8
    """openai: requests under way at one time."""
    retries: int = 8
    """openai: further tries after overload, errors of the server and broken connections."""
    timeout: float = 600.0
    """openai: seconds to wait for a reply."""
    key_variable: str = "OPENAI_API_KEY"
    """openai: environment variable that holds the key."""

    def run(self) -> "pd.DataFrame":
        """Collects and writes the curves; returns them.

        Raises:
          InputError: anything that the user can mend. Finished prompts are kept.
        """
        from ..llm import collection

        if self.out.suffix != ".csv":
            raise InputError(f"{self.out}: curves are written as CSV; let --out end with .csv")
        if not self.out.parent.is_dir():
            raise InputError(f"{self.out}: there is no folder {self.out.parent}; make it first")
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        model, task, out = (settings.pop(name) for name in ("model", "task", "out"))
        journal = out.with_suffix(".prompts.jsonl")
        curves, about = collection.collect(model, task, journal=journal, **settings)
        collection.write_curves(out, curves, about)
        print(f"curves: {out} ({curves['source'].nunique()} sources, up to {about['most_shots']} shots)")
        return curves
