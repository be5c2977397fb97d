"""Back end (a): models of `transformers`, on CPU or accelerator."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import InputError, one_line
from ..prompts import Prompt
from . import context_window, load_tokenizer, missing
from .families import Family, families
from .gguf import source

try:
    import torch
    import transformers
except ImportError as error:
    raise missing(error) from None


# Kinds of layers whose keys and values of a whole prompt serve every answer that begins as it does, and whether they see no more
# than a window.
SHARED_LAYERS = {"full_attention": False, "attention": False, "sliding_attention": True}
AGREEMENT = {
    torch.float32: 1e-3,
    torch.float64: 1e-3,
}  # nats between two ways of scoring; others are of half precision
HALF = 0.25


class HFBackend:
    """Scores prompts with one forward pass a batch, keeping logits only where an answer is predicted.

    Prompts are batched by length and padded on the right, where a causal model cannot see it. The head runs
    on the union of the batch's answer positions (`logits_to_keep`), so that memory goes with answers and
    not with tokens. Competing answers share the keys and values of the context that they stand in (`families`), where the model
    allows it, which is tried on the first of them.

    Args:
      model: a causal language model in evaluation mode.
      tokenizer: its tokenizer; None for prompts of bare tokens.
      window: tokens that a prompt may have; by default what the model's configuration says.
      batch_tokens: tokens of a batch, padding included; a batch has at least one prompt.
      batch_logits: logits of a batch: prompts × positions × vocabulary.
      share: share what prompts begin with; False scores each by itself.
    """

    in_pass = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        window: int | None = None,
        batch_tokens: int = 16_384,
        batch_logits: int = 2**28,
        share: bool = True,
    ):
        self.model, self.tokenizer = model, tokenizer
        self._windows = _layer_windows(model)
        self._share = share and self._windows is not None
        self._tried = False
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

    def cost(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens that the model reads for each of these prompts."""
        found = [len(prompt.ids) for prompt in prompts]
        for family in self._families(prompts):
            before = 0
            for index, places in zip(family.members[1:], family.places[1:]):
                nodes = max(
                    before, -int(places.min(initial=0))
                )  # answers that begin alike have nodes in common
                found[index], before = nodes - before, nodes
        return found

    def score(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, np.ndarray]]:
        """As `Backend.score`, batch by batch; the longest prompts first, so that memory runs out at once or
        never.
        """
        if self._share and not self._tried:
            self._try(prompts)
        waiting = list(self._batches(prompts, self._families(prompts)))[::-1]
        while waiting:
            batch = waiting.pop()
            try:
                values = self._read(prompts, batch)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                if len(batch) > 1:
                    waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
                elif len(batch[0].members) > 1:
                    waiting += [[_alone(prompts, i)] for i in batch[0].members[::-1]]
                else:
                    tokens = len(prompts[batch[0].members[0]].ids)
                    raise InputError(
                        f"a single prompt of {tokens} tokens does not fit in the device's memory; lower"
                        " --max-shots"
                    ) from None
                continue
            for family, found in zip(batch, values):
                for i, one in zip(family.members, found):
                    yield i, prompts[i].fold(one)

    def _families(self, prompts: Sequence[Prompt]) -> list[Family]:
        if self._share:
            return families(prompts, most=max(64, min(4096, self.batch_logits // self._vocabulary)))
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].ids))
        return [_alone(prompts, i) for i in order]

    def _try(self, prompts: Sequence[Prompt]) -> None:
        """Scores one answer in both ways; from then on prompts are scored by themselves if the two differ."""
        found = [family for family in self._families(prompts) if family.tokens]
        if not found:
            return
        self._tried = True
        # The shortest will do, but where layers see a window alone the last answer of the longest, which lies beyond it.
        trial = found[0] if self._sliding else found[-1]
        branching = [m for m, places in enumerate(trial.places) if (places < 0).any()]
        member = max(branching, key=lambda m: int(trial.places[m].max())) if self._sliding else branching[0]
        small = Family([trial.members[0]], [trial.places[0]])
        small.add(trial.members[member], prompts[trial.members[member]], prompts[trial.members[0]])
        most = AGREEMENT.get(self.model.dtype, HALF)
        try:
            shared = self._read(prompts, [small])[0][1]
            alone = self._read(prompts, [_alone(prompts, trial.members[member])])[0][0]
            self._share = bool(np.abs(shared - alone).max() < most)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self._share = False
        except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError, IndexError):
            self._share = False  # a model that takes no positions, masks or keys and values of this kind

    @property
    def _sliding(self) -> bool:
        return any(window is not None for window in (self._windows or {}).values())

    @property
    def _vocabulary(self) -> int:
        return self.model.config.get_text_config().vocab_size

    def _batches(self, prompts: Sequence[Prompt], found: Sequence[Family]) -> Iterator[list[Family]]:
        batch: list[Family] = []
        positions: set[int] = set()
        longest = nodes = 0
        for family in found:
            own = {p for places in family.places for p in places[places >= 0].tolist()}
            length = len(prompts[family.members[0]].ids)
            rows, most = len(batch) + 1, max(nodes, len(family.tokens))
            size = rows * (max(longest, length) + most)
            logits = rows * (len(positions | own) + most) * self._vocabulary
            if batch and (size > self.batch_tokens or logits > self.batch_logits):
                yield batch
                batch, positions, longest, nodes = [], set(), 0, 0
            batch.append(family)
            positions |= own
            longest, nodes = max(longest, length), max(nodes, len(family.tokens))
        if batch:
            yield batch

    @torch.inference_mode()
    def _read(self, prompts: Sequence[Prompt], batch: Sequence[Family]) -> list[list[np.ndarray]]:
        """Log probability, in nats, of every (position, token) that the members of the families ask for."""
        device = self.model.device
        wholes = [prompts[family.members[0]] for family in batch]
        longest = max(len(prompt.ids) for prompt in wholes)
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, prompt in enumerate(wholes):
            ids[row, : len(prompt.ids)] = prompt.ids
            mask[row, : len(prompt.ids)] = 1
        counts = [len(places) for family in batch for places in family.places]
        places = np.concatenate([places for family in batch for places in family.places])
        tokens = np.concatenate([prompts[i].reads[1] for family in batch for i in family.members])
        rows = np.repeat(np.arange(len(batch)), [sum(map(len, family.places)) for family in batch])
        branches = any(family.tokens for family in batch)
        inside = places >= 0
        kept, columns = np.unique(places[inside], return_inverse=True)
        # A model's own cache forgets what has left its window, which answers further up still see.
        cache = {"past_key_values": transformers.DynamicCache()} if branches and self._sliding else {}
        said = self.model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            logits_to_keep=torch.from_numpy(kept).to(device),
            use_cache=branches,
            **cache,
        )
        logits = said.logits
        if logits.shape[1] != len(kept):  # a model that knows no `logits_to_keep` gives all of them
            logits = logits[:, kept]
        values = np.empty(len(places))
        values[inside] = _picked(logits, rows[inside], columns, tokens[inside])
        if branches:
            del logits
            further = self._branches(batch, longest, said.past_key_values)
            values[~inside] = _picked(further, rows[~inside], -1 - places[~inside], tokens[~inside])
        split = iter(np.split(values, np.cumsum(counts)[:-1]))
        return [[next(split) for _ in family.members] for family in batch]

    def _branches(self, batch: Sequence[Family], longest: int, cache: Any) -> torch.Tensor:
        """Logits behind every node of the families' trees, [rows, nodes, vocabulary], from the whole prompts' keys and values."""
        width = max(len(family.tokens) for family in batch)
        ids = np.zeros((2, len(batch), width), np.int64)  # tokens and positions
        for row, family in enumerate(batch):
            ids[0, row, : len(family.tokens)] = family.tokens
            ids[1, row, : len(family.tokens)] = family.positions
        seen = np.stack([family.sees(longest, width) for family in batch])
        columns = np.concatenate([np.tile(np.arange(longest), (len(batch), 1)), ids[1]], axis=1)
        distance = ids[1][:, :, None] - columns[:, None]
        dtype = self.model.dtype

        def mask(window: int | None) -> torch.Tensor:
            hidden = torch.from_numpy(~seen if window is None else ~seen | (distance >= window))[:, None]
            values = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, torch.finfo(dtype).min)
            return values.to(self.model.device)

        assert self._windows is not None
        kinds = {kind: mask(window) for kind, window in self._windows.items()}
        tokens, positions = torch.from_numpy(ids).to(self.model.device)
        return self.model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=next(iter(kinds.values())) if len(kinds) == 1 else kinds,
            past_key_values=cache,
            use_cache=True,
        ).logits


def _picked(logits: torch.Tensor, rows: np.ndarray, columns: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """ln p of tokens at (row, column) of logits [rows, columns, vocabulary], float64."""
    device = logits.device
    at = [torch.from_numpy(x.astype(np.int64)).to(device) for x in (rows, columns, tokens)]
    values = []
    # Slices, so that the float32 copies of half-precision logits stay small.
    for row, column, token in zip(*(x.split(1024) for x in at)):
        picked = logits[row, column].float()
        values.append(picked.gather(1, token[:, None])[:, 0] - picked.logsumexp(1))
    return torch.cat(values).double().cpu().numpy() if values else np.zeros(0)


def _alone(prompts: Sequence[Prompt], index: int) -> Family:
    return Family([index], [prompts[index].reads[0].astype(np.int64)])


def _layer_windows(model: Any) -> dict[str, int | None] | None:
    """How many tokens each kind of layer sees, the token itself included (None: all before it), by the model's configuration.

    None where keys and values of a whole prompt do not serve answers that begin as it does.
    """
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    if getattr(model.config, "is_encoder_decoder", False):
        return None
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return {"": window}
    if not set(kinds) <= set(SHARED_LAYERS):
        return None
    return {kind: window if SHARED_LAYERS[kind] else None for kind in sorted(set(kinds))}


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
