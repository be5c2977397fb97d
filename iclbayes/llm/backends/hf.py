"""Back end (a): models of `transformers`, on CPU or accelerator."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import InputError, one_line
from ..prompts import Prompt
from . import context_window, load_tokenizer, missing
from .gguf import source

try:
    import torch
    import transformers
except ImportError as error:
    raise missing(error) from None


class HFBackend:
    """Scores prompts with one forward pass a batch, keeping logits only where an answer is predicted.

    Prompts are batched by length and padded on the right, where a causal model cannot see it. The head runs
    on the union of the batch's answer positions (`logits_to_keep`), so that memory goes with answers and
    not with tokens.

    Args:
      model: a causal language model in evaluation mode.
      tokenizer: its tokenizer; None for prompts of bare tokens.
      window: tokens that a prompt may have; by default what the model's configuration says.
      batch_tokens: tokens of a batch, padding included; a batch has at least one prompt.
      batch_logits: logits of a batch: prompts × positions × vocabulary.
    """

    in_pass = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        window: int | None = None,
        batch_tokens: int = 16_384,
        batch_logits: int = 2**28,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.window = window or context_window(model.config)
        self.batch_tokens, self.batch_logits = batch_tokens, batch_logits

    @classmethod
    def load(
        cls,
        name: str,
        device: str = "auto",
        dtype: str = "auto",
        tokenizer: str | None = None,
        **options: Any,
    ) -> "HFBackend":
        """Loads a model and its tokenizer by hub name, folder or GGUF file. Code that comes with a model is never run.

        Args:
          device: `auto` takes the accelerator if there is one.
          tokenizer: another one than the model's own, by hub name or folder.
          dtype: `auto` is bfloat16 on accelerators and float32 on the CPU; else a name such as `float16`.

        Raises:
          InputError: the model cannot be loaded, or the device or dtype is unknown.
        """
        if device == "auto":
            device = (
                "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
            )
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        if not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise InputError(f"unknown dtype {dtype!r}: known are auto, bfloat16, float16 and float32")
        loaded = load_tokenizer(tokenizer or name)
        place, more = source(name)
        try:
            with _bars_on_terminals_alone():
                model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                    place, dtype=getattr(torch, dtype), trust_remote_code=False, **more
                )
            model = model.to(device).eval()
        except Exception as error:
            raise InputError(f"cannot load the model {name}: {one_line(error)}") from None
        return cls(model, loaded, **options)

    def describe(self) -> dict:
        return {
            "backend": "hf",
            "model_type": self.model.config.model_type,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.model.device.type,
            "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        }

    def score(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, np.ndarray]]:
        """As `Backend.score`, batch by batch; the longest prompts first, so that memory runs out at once or
        never.
        """
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].ids))
        waiting = list(self._batches(prompts, order))[::-1]
        while waiting:
            batch = waiting.pop()
            try:
                values = self._read([prompts[i] for i in batch])
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    tokens = len(prompts[batch[0]].ids)
                    raise InputError(
                        f"a single prompt of {tokens} tokens does not fit in the device's memory; lower"
                        " --max-shots"
                    ) from None
                torch.cuda.empty_cache()
                waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
                continue
            for i, found in zip(batch, values):
                yield i, prompts[i].fold(found)

    def _batches(self, prompts: Sequence[Prompt], order: Sequence[int]) -> Iterator[list[int]]:
        vocabulary = self.model.config.get_text_config().vocab_size
        batch: list[int] = []
        positions: set[int] = set()
        for i in order:
            union = positions | set(prompts[i].reads[0].tolist())
            longest = len(prompts[batch[0] if batch else i].ids)
            rows = len(batch) + 1
            if batch and (
                rows * longest > self.batch_tokens or rows * len(union) * vocabulary > self.batch_logits
            ):
                yield batch
                batch, union = [], set(prompts[i].reads[0].tolist())
            batch.append(i)
            positions = union
        if batch:
            yield batch

    @torch.inference_mode()
    def _read(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """Log probability, in nats, of every (position, token) that the prompts ask for."""
        device = self.model.device
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = np.zeros((len(prompts), longest), np.int64)
        mask = np.zeros((len(prompts), longest), np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt.ids)] = prompt.ids
            mask[row, : len(prompt.ids)] = 1
        reads = [prompt.reads for prompt in prompts]
        rows = np.concatenate([np.full(len(positions), row) for row, (positions, _) in enumerate(reads)])
        kept, columns = np.unique(np.concatenate([positions for positions, _ in reads]), return_inverse=True)
        tokens = np.concatenate([tokens for _, tokens in reads])
        logits = self.model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            logits_to_keep=torch.from_numpy(kept.astype(np.int64)).to(device),
            use_cache=False,
        ).logits
        if logits.shape[1] != len(kept):  # a model that knows no `logits_to_keep` gives all of them
            logits = logits[:, kept]
        rows, columns, tokens = (
            torch.from_numpy(x.astype(np.int64)).to(device) for x in (rows, columns, tokens)
        )
        values = []
        # Slices, so that the float32 copies of half-precision logits stay small.
        for part in torch.arange(len(rows), device=device).split(1024):
            picked = logits[rows[part], columns[part]].float()
            values.append(picked.gather(1, tokens[part, None])[:, 0] - picked.logsumexp(1))
        values = torch.cat(values).double().cpu().numpy()
        return np.split(values, np.cumsum([len(positions) for positions, _ in reads])[:-1])


@contextlib.contextmanager
def _bars_on_terminals_alone() -> Iterator[None]:
    """Keeps the progress bars of `transformers` out of logs and pipes."""
    log = transformers.utils.logging
    hide = log.is_progress_bar_enabled() and not sys.stderr.isatty()
    if hide:
        log.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            log.enable_progress_bar()
