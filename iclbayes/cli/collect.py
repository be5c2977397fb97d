"""`iclbayes collect`: a language model and a task in, a file of curves out."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import UseAppendAction, arg

from ..errors import InputError
from ..files import check_apart
from ..outputs import CURVES, MARKED, check_outputs
from .options import Count, Force, Text

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Collect:
    """Collect ICL curves from a language model: mean probability of the answer after 0, 1, 2, … shots.

    Writes three files: the curves (CSV), what they are curves of (the same name with .json), and every
    finished prompt (.prompts.jsonl), from which the same command goes on after it was stopped; with more --shuffles or
    another --max-shots it adds the prompts that are missing.
    """

    model: str
    """name on the hub or folder of the model; with `--backend openai`, what the server calls it."""
    task: str
    """name of a task, or a file with columns question and answer (answer_other, answer_forms, source)."""
    out: Path
    """where the curves go (CSV)."""
    backend: Literal["hf", "openai", "flax"] = "hf"
    """engine: transformers, a completions server, or this library's GPT-2."""
    base_url: Text = None
    """address of the server, with /v1. Its key is read from the variable that `--key-variable` names."""
    shuffles: int = 50
    """shuffled prompts for each source."""
    max_shots: Count = None
    """most shots before a scored answer; by default as many as the data and the context window hold."""
    data: Text = None
    """for a named task: a local file, or another hub name, to read it from."""
    answers: Text = None
    """for tasks that ship no answers: a file with columns BehaviorID or question, and answer."""
    split: Text = None
    """split of a hub data set."""
    contrast: bool = False
    """add a second source in which answer and answer_other change places."""
    seed: int = 0
    """seed of the shuffles and flips."""
    flip: float = 0.0
    """probability that a shot shows a competing answer in place of its own."""
    score: Literal["shown", "true"] = "shown"
    """with flips: score the answer that the context shows, or the example's own."""
    others: bool = False
    """also score the competing answers, for accuracy."""
    benign_source: Text = None
    """source of the shots that come before those of the curve."""
    benign_shots: int = 0
    """how many of them."""
    first_tokens: Count = None
    """score only so many tokens at the start of each answer."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """the model's chat template, or User:/Assistant: lines; auto takes the former if there is one."""
    system: Text = None
    """system message in front of the conversation."""
    template_arg: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE", help_behavior_hint="")
    ] = ()
    """argument of the chat template, as in enable_thinking=false; give it again for several."""
    date: Annotated[str | None, arg(metavar="YYYY-MM-DD", help_behavior_hint="(default: today)")] = None
    """day that the chat template is told, where it writes one."""
    tokenizer: Text = None
    """tokenizer, where it is not the model's own."""
    context_window: Count = None
    """tokens of a prompt at most, where the model can take more or does not say."""
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

    force: Force = False

    def run(self) -> "pd.DataFrame":
        """Collects and writes the curves; returns them.

        Raises:
          InputError: anything that the user can mend. Finished prompts are kept.
        """
        from ..llm import collection
        from ..llm.template_settings import read_arguments

        if self.out.suffix != ".csv":
            raise InputError(f"{self.out}: curves are written as CSV; let --out end with .csv")
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        model, task, out, force = (settings.pop(name) for name in ("model", "task", "out", "force"))
        settings["template_args"] = read_arguments(settings.pop("template_arg"))
        journal = out.with_suffix(".prompts.jsonl")
        files = [Path(word) for word in (task, self.data, self.answers) if word is not None]
        read = [path for path in files if os.path.lexists(path)]
        check_apart([journal], read)
        check_outputs([(out, CURVES), (out.with_suffix(".json"), MARKED)], read, force)
        curves, about = collection.collect(model, task, journal=journal, **settings)
        collection.write_curves(out, curves, about)
        print(f"curves: {out} ({curves['source'].nunique()} sources, up to {about['most_shots']} shots)")
        return curves
