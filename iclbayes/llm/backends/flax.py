"""Back end (c): GPT-2 in Flax."""

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...models.exchange import import_gpt2
from ...models.gpt2 import GPT2
from ..prompts import Prompt
from . import load_tokenizer


@nnx.jit
def _log_probs(
    model: GPT2, ids_BxL: jax.Array, row_R: jax.Array, position_R: jax.Array, token_R: jax.Array
) -> jax.Array:
    """ln p(token | that row's tokens up to position), float32 [R]; the head runs at those R places alone."""
    hidden_RxD = model.hidden(ids_BxL)[row_R, position_R]
    logits_RxV = model.unembed(hidden_RxD)
    picked_R = jnp.take_along_axis(logits_RxV, token_R[:, None], axis=1)[:, 0]
    return picked_R - jax.nn.logsumexp(logits_RxV, axis=1)


class FlaxBackend:
    """Scores prompts with this library's GPT-2.

    Batches are padded to a few sizes (powers of two), so that few programs are compiled.

    Args:
      model: the model.
      tokenizer: a fast tokenizer of `transformers`, or None for prompts of bare tokens.
      batch_tokens: tokens of a batch, padding included.
    """

    in_pass = True

    def __init__(self, model: GPT2, tokenizer: Any = None, batch_tokens: int = 16_384):
        self.model, self.tokenizer, self.batch_tokens = model, tokenizer, batch_tokens
        self.window: int | None = model.config.context

    @classmethod
    def load(cls, folder: str | os.PathLike, **options: Any) -> "FlaxBackend":
        """Loads a folder written by `export_gpt2` or `transformers`, with the tokenizer if one lies there.

        Raises:
          InputError: there is no such GPT-2.
        """
        model = import_gpt2(folder)
        tokenizer = load_tokenizer(str(folder)) if (Path(folder) / "tokenizer.json").exists() else None
        return cls(model, tokenizer, **options)

    def describe(self) -> dict:
        return {
            "backend": "flax",
            "model_type": "gpt2",
            "dtype": self.model.config.dtype,
            "device": jax.default_backend(),
            "versions": {"jax": jax.__version__, "flax": version("flax")},
        }

    def score(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, np.ndarray]]:
        """As `Backend.score`, longest prompts first."""
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].ids))
        at = 0
        while at < len(order):
            length = min(_power(len(prompts[order[at]].ids)), self.model.config.context)
            batch = order[at : at + max(1, self.batch_tokens // length)]
            at += len(batch)
            for i, values in zip(batch, self._read([prompts[i] for i in batch], length)):
                yield i, prompts[i].fold(values)

    def _read(self, prompts: Sequence[Prompt], length: int) -> list[np.ndarray]:
        ids = np.zeros((_power(len(prompts), 1), length), np.int32)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt.ids)] = prompt.ids
        counts = [len(prompt.reads[0]) for prompt in prompts]
        places = np.zeros((3, _power(sum(counts))), np.int32)  # padding reads token 0 after position 0
        places[0, : sum(counts)] = np.repeat(np.arange(len(prompts)), counts)
        places[1, : sum(counts)] = np.concatenate([prompt.reads[0] for prompt in prompts])
        places[2, : sum(counts)] = np.concatenate([prompt.reads[1] for prompt in prompts])
        values = np.asarray(_log_probs(self.model, jnp.asarray(ids), *map(jnp.asarray, places)), np.float64)
        return np.split(values[: sum(counts)], np.cumsum(counts)[:-1])


def _power(n: int, least: int = 64) -> int:
    """The smallest power of two that is at least n and `least`."""
    return max(least, 1 << max(n - 1, 0).bit_length())
