"""Whether a server's numbers can be log probabilities of a prompt: not all the same, and those of the place where they stand.

Servers write one token in different ways: ` the`, `Ġthe`, `token_id:279`. Tokens are compared by their ids where these are known,
and else by all that the tokenizer says a text can stand for.
"""

import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ...errors import InputError

NOISE = 0.1  # nats by which half-precision servers differ between two batches
TOLERANCE = 0.25  # nats
SHIFTS = (0, 1, -1, 2, -2)
LEAST = 3  # tokens of a prompt that may have one log probability by chance


class Alternative(NamedTuple):
    """A token that could stand at a place, and its log probability in nats."""

    text: str
    logprob: float
    id: int | None = None


class Spellings:
    """The tokens that a text of a server can stand for.

    Args:
      tokenizer: the model's own; None knows nothing but equal texts.
    """

    def __init__(self, tokenizer: Any = None):
        self._tokenizer = tokenizer

    @cached_property
    def _decoded(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        ids = sorted(self._tokenizer.get_vocab().values())
        for token, text in zip(ids, self._tokenizer.batch_decode([[token] for token in ids])):
            found.setdefault(text, set()).add(token)
        return found

    @cached_property
    def _raw(self) -> dict[str, int]:
        return self._tokenizer.get_vocab()

    def ids(self, text: str) -> set[int]:
        """The ids of all tokens that are written so: by number, as in the vocabulary, or as text."""
        number = re.fullmatch(r"token_id:(\d+)", text)
        if number:
            return {int(number[1])}
        if self._tokenizer is None:
            return set()
        raw = {self._raw[text]} if text in self._raw else set()
        return raw | self._decoded.get(text, set())

    def plain(self, token: str) -> str:
        """The text of a token that is written by number or as in the vocabulary; others as they are."""
        number = re.fullmatch(r"token_id:(\d+)", token)
        if self._tokenizer is None or not (number or token in self._raw):
            return token
        raw = self._tokenizer.convert_ids_to_tokens(int(number[1])) if number else token
        if raw is not None and "▁" in raw:  # decoding drops the space of a first word
            return raw.replace("▁", " ")
        return self._tokenizer.decode([int(number[1]) if number else self._raw[token]])

    def same(self, a: Alternative, b: Alternative) -> bool:
        """Whether the two are one token, as far as can be told."""
        if a.id is not None and b.id is not None:
            return a.id == b.id
        if a.text == b.text:
            return True
        ids = [{x.id} if x.id is not None else self.ids(x.text) for x in (a, b)]
        return bool(ids[0] & ids[1])


def check_values(name: str, values: Sequence[float | None]) -> None:
    """Raises InputError if every token of a prompt has the same log probability, as no language model gives it."""
    known = [x for x in values if x is not None]
    if len(known) >= LEAST and len(set(known)) == 1:
        raise InputError(
            f"{name} returns {known[0]:g} as the log probability of every token of a prompt; they cannot be used"
        )


def check_places(
    name: str,
    expected: Sequence[Alternative],
    tops: Sequence[Sequence[Alternative]],
    place: int,
    spellings: Spellings,
) -> None:
    """Raises InputError unless the alternatives at a place of a prompt are those that the server gave when it generated there.

    Args:
      expected: the most probable next tokens after the text that ends before the place.
      tops: the most probable tokens at each place of the longer prompt; empty where there are none.
      place: where the two should agree. Where a neighbour of it agrees better, the server is off by so many positions.
    """
    # Special tokens and parts of a letter share one text, so that their numbers replace each other.
    legible = [x for x in expected if x.id is not None or (x.text and "\ufffd" not in x.text)]
    best = sorted(legible, key=lambda x: -x.logprob)[:3]
    if best and 0 <= place < len(tops) and not tops[place]:
        raise InputError(
            f"{name} leaves out log probabilities of a prompt, as those of a prefix that it has in its cache; switch the"
            " cache of prefixes off there"
        )

    def distance(at: int) -> float:
        listed = tops[at] if 0 <= at < len(tops) else ()
        # 5 nats for a token that is not listed: far more than any tolerance, and finite for the mean.
        found = [
            min((abs(x.logprob - y.logprob) for y in listed if spellings.same(x, y)), default=5.0)
            for x in best
        ]
        return sum(min(x, 5.0) for x in found) / max(len(best), 1)

    distances = {shift: distance(place + shift) for shift in SHIFTS}
    # A neighbouring place must agree clearly better: half-precision servers have noise of their own.
    nearest = min(SHIFTS, key=lambda shift: distances[shift] + (NOISE if shift else 0.0))
    if not best or distances[nearest] > TOLERANCE:
        raise InputError(
            f"{name} returns prompt log probabilities that disagree with its own next-token ones by"
            f" {distances[0]:.2g} nats; they cannot be used"
        )
    if nearest:
        raise InputError(
            f"{name} returns prompt log probabilities shifted by {nearest:+d} position"
            f"{'s' if abs(nearest) > 1 else ''}: they cannot be used (llama.cpp does so with a model that"
            " adds no beginning-of-text token)"
        )


def check_alternatives(
    name: str,
    tokens: Sequence[str],
    values: Sequence[float | None],
    tops: Sequence[Sequence[Alternative]],
) -> None:
    """Raises InputError where the log probabilities of tokens are not those that the same tokens have among the alternatives."""
    gaps = [
        abs(value - other.logprob)
        for token, value, listed in zip(tokens, values, tops)
        for other in listed
        if value is not None and other.text == token and "\ufffd" not in token and token
    ]
    if gaps and sorted(gaps)[len(gaps) // 2] > TOLERANCE:
        raise InputError(
            f"{name} returns log probabilities of a prompt that are not those among its own alternatives; they cannot be used"
        )


def number(value: Any) -> float:
    """A log probability as a float.

    Raises:
      ValueError, TypeError: it is none.
    """
    found = float(value)
    if math.isnan(found) or found > 1e-3:
        raise ValueError(f"{found} is no log probability")
    return min(found, 0.0)
