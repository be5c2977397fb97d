"""The command line's part for real models: `collect` and `import-lm-eval`, dataclasses with `run()`."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ..errors import InputError
from ..llm import collection, contexts, data, templates
from ..llm.backends import Backend
from ..llm.journal import Journal

# Settings that decide the numbers; the others only decide how they are got.
DECISIVE = (
    *("model", "backend", "task", "data", "answers", "split", "contrast", "shuffles", "max_shots", "seed"),
    *("flip", "score", "others", "benign_source", "benign_shots", "first_tokens", "tokenizer"),
    *("context_window", "dtype"),
)


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

    def run(self) -> pd.DataFrame:
        """Collects and writes the curves; returns them.

        Raises:
          InputError: anything that the user can mend. Finished prompts are kept.
        """
        if self.out.suffix != ".csv":
            raise InputError(f"{self.out}: curves are written as CSV; let --out end with .csv")
        if not self.out.parent.is_dir():
            raise InputError(f"{self.out}: there is no folder {self.out.parent}; make it first")
        examples = data.load_task(self.task, self.data, self.answers, self.split, self.contrast)
        drawn = contexts.make_contexts(
            examples,
            self.shuffles,
            self.max_shots,
            self.seed,
            self.flip,
            self.score,
            self.others,
            self.benign_source,
            self.benign_shots,
        )
        backend = self._load()
        if backend.tokenizer is None:
            raise InputError(f"{self.model}: has no tokenizer (tokenizer.json); give one (--tokenizer)")
        template, about_template = templates.choose_template(backend.tokenizer, self.template, self.system)
        kind = about_template["kind"]
        name = "the plain template" if kind == "plain" else f"the chat template of {self.model}"
        built = collection.prepare(
            drawn, template, backend, self.context_window, self.first_tokens, kind == "plain", name
        )
        run = self._identity() | {"template": about_template}
        with Journal.open(self.out.with_suffix(".prompts.jsonl"), run) as journal:
            collection.score_all(built, drawn, backend, journal)
            curves = collection.average(drawn, built, journal.done)
        curves = self._label(curves)
        engine = backend.describe()
        about = run | {
            "versions": collection.versions() | engine.pop("versions"),
            "engine": engine,
            "contexts": len(drawn),
            "prompts": len({prompt.key for prompts in built for prompt in prompts}),
            "tokens": sum(len(prompt.ids) for prompts in built for prompt in prompts),
            "most_shots": int(curves["shots"].max()),
        }
        collection.write_curves(self.out, curves, about)
        print(f"curves: {self.out} ({curves['source'].nunique()} sources, up to {about['most_shots']} shots)")
        return curves

    def _load(self) -> Backend:
        if self.backend == "openai":
            if not self.base_url:
                raise InputError(
                    "the openai back end needs the server's address (--base-url http://HOST:PORT/v1)"
                )
            from ..llm.backends.openai import OpenAIBackend

            return OpenAIBackend.load(
                self.base_url,
                self.model,
                self.tokenizer,
                window=self.context_window,
                concurrency=self.concurrency,
                retries=self.retries,
                timeout=self.timeout,
                key_variable=self.key_variable,
            )
        if self.base_url:
            raise InputError(f"--base-url is for --backend openai, not {self.backend}")
        if self.backend == "flax":
            from ..llm.backends.flax import FlaxBackend

            loaded: Any = FlaxBackend.load(self.model, batch_tokens=self.batch_tokens)
        elif self.backend == "hf":
            from ..llm.backends.hf import HFBackend

            loaded = HFBackend.load(
                self.model, self.device, self.dtype, tokenizer=self.tokenizer, batch_tokens=self.batch_tokens
            )
        else:
            raise InputError(f"unknown back end {self.backend!r}: known are hf, openai and flax")
        if self.backend == "flax" and self.tokenizer:
            from ..llm.backends import load_tokenizer

            loaded.tokenizer = load_tokenizer(self.tokenizer)
        return loaded

    def _identity(self) -> dict[str, Any]:
        """What decides the numbers: two runs with equal identities may share finished prompts."""
        chosen = {name: getattr(self, name) for name in DECISIVE}
        files = [x for x in (self.task, self.data, self.answers) if x and Path(x).is_file()]
        digests = {Path(x).name: hashlib.sha256(Path(x).read_bytes()).hexdigest()[:16] for x in files}
        return chosen | {"files": digests}

    def _label(self, curves: pd.DataFrame) -> pd.DataFrame:
        curves["source"] = curves["source"].where(curves["source"] != "", "all")
        name = os.path.basename(self.model.rstrip("/")) if Path(self.model).is_dir() else self.model
        curves.insert(0, "model", name)
        curves.insert(1, "task", Path(self.task).stem if Path(self.task).is_file() else self.task)
        if self.benign_shots:
            curves.insert(3, "benign_shots", self.benign_shots)
        if self.flip:
            curves.insert(3, "flip", self.flip)
        return curves
