"""Engines that turn prompts into log probabilities of their answers, all behind `Backend.score`."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import InputError
from ..prompts import Prompt


class Backend(Protocol):
    """What collecting needs of an engine.

    Attributes:
      tokenizer: the model's tokenizer (a fast one of `transformers`), or None for models of bare tokens.
      window: tokens that a prompt may have, or None if there is no limit.
      in_pass: whether `Prompt.swaps` are read; if not, prompts must be built without them.
    """

    tokenizer: Any
    window: int | None
    in_pass: bool

    def score(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (index of the prompt, float64 [n, 1 + F] log probabilities in nats) as prompts finish, in
        any order.
        """
        ...

    def describe(self) -> dict:
        """What to keep beside the curves: engine, versions, precision."""
        ...


def missing(error: ImportError) -> InputError:
    """The message for a package of the `llm` extra that is not installed."""
    return InputError(f"the package {error.name} is not installed; run: pip install 'iclbayes[llm]'")


def load_tokenizer(name: str) -> Any:
    """The fast tokenizer of a model, by hub name or folder; never runs code that comes with it.

    Raises:
      InputError: it cannot be loaded.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise missing(error) from None
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"cannot load the tokenizer of {name}: {reason}") from None


def special_texts(tokenizer: Any) -> list[str]:
    """The texts of all tokens that the tokenizer takes for special ones."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return sorted({*tokenizer.all_special_tokens, *(token.content for token in added if token.special)})


def context_window(config: Any) -> int | None:
    """Positions that a `transformers` configuration allows; those of the text part in a model of several
    kinds.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(text, "max_position_embeddings", None)
