"""Engines that turn prompts into log probabilities of their answers, all behind `Backend.score`."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from ...errors import InputError, one_line
from ..prompts import Prompt
from .gguf import source


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

    # A back end may also have `cost(prompts) -> list[int]`, tokens that it reads for each of these prompts, where that is not
    # their number of tokens.

    def describe(self) -> dict:
        """What to keep beside the curves: engine, versions, precision."""
        ...


Engine = Literal["hf", "openai", "flax"]


def load_backend(
    engine: Engine,
    model: str,
    *,
    tokenizer: str | None = None,
    window: int | None = None,
    base_url: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int = 16_384,
    concurrency: int = 8,
    retries: int = 8,
    timeout: float = 600.0,
    key_variable: str = "OPENAI_API_KEY",
) -> Backend:
    """The back end of that engine, with the model and its tokenizer loaded.

    Args:
      engine: `hf` for `transformers`, `openai` for a completions server, `flax` for this library's GPT-2.
      model: name on the hub, folder or (hf) GGUF file; with `openai`, what the server calls it.
      tokenizer: hub name or folder of the tokenizer, where it is not the model's own.
      window: openai: tokens that a prompt may have, where the server does not say.
      base_url: openai: the server's address, up to and including `/v1`.
      device, dtype: hf: as in `HFBackend.load`.
      batch_tokens: hf, flax: tokens of a batch.
      concurrency, retries, timeout, key_variable: openai: as in `OpenAIBackend`.

    Raises:
      InputError: the engine is unknown, its package is not installed, it lacks its address or was given one
        in vain, or the model or its tokenizer cannot be loaded.
    """
    check_engine(engine, base_url)
    if engine == "openai":
        assert base_url
        from .openai import OpenAIBackend

        return OpenAIBackend.load(
            base_url,
            model,
            tokenizer,
            window=window,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
            key_variable=key_variable,
        )
    if engine == "hf":
        from .hf import HFBackend

        return HFBackend.load(model, device, dtype, tokenizer=tokenizer, batch_tokens=batch_tokens)
    from .flax import FlaxBackend

    loaded = FlaxBackend.load(model, batch_tokens=batch_tokens)
    if tokenizer:
        loaded.tokenizer = load_tokenizer(tokenizer)
    return loaded


def check_engine(engine: str, base_url: str | None = None) -> None:
    """Raises InputError for an unknown engine, and for one without the address that it needs or with one in vain."""
    if engine not in ("hf", "openai", "flax"):
        raise InputError(f"unknown back end {engine!r}: known are hf, openai and flax")
    if engine != "openai":
        if base_url:
            raise InputError(f"--base-url is for --backend openai, not {engine}")
        return
    if not base_url:
        raise InputError("the openai back end needs the server's address (--base-url http://HOST:PORT/v1)")
    from .client import Client

    Client.shown(base_url)


def missing(error: ImportError) -> InputError:
    """The message for a package of the `llm` extra that is not installed."""
    return InputError(f"the package {error.name} is not installed; run: pip install 'iclbayes[llm]'")


def load_tokenizer(name: str) -> Any:
    """The fast tokenizer of a model, by hub name, folder or GGUF file; never runs code that comes with it.

    Raises:
      InputError: it cannot be loaded.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise missing(error) from None
    place, more = source(name)
    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **more)
    except Exception as error:
        raise InputError(f"cannot load the tokenizer of {name}: {one_line(error)}") from None


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
