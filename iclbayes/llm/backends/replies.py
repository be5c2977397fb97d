"""The two ways in which completions servers return prompt log probabilities, and how to find out whether
they are right.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import InputError
from ..prompts import Prompt
from .bounded import Torn
from .client import Client, Refused

TOP = 5  # alternatives asked for in the self-check; servers refuse more than 5 (OpenAI) or 20 (vLLM)
NOISE = 0.1  # nats by which half-precision servers differ between two batches
TOLERANCE = 0.25  # nats
SHIFTS = (0, 1, -1, 2, -2)


class Form(Protocol):
    """A request for the log probabilities of a prompt, and how its reply is read."""

    def request(self, model: str, prompt: Prompt) -> dict: ...

    def reader(self, prompt: Prompt) -> Callable[[dict], np.ndarray]:
        """A function from the reply to the prompt's scores; raises `Torn` if the reply is not whole."""
        ...


class TokenForm:
    """vLLM: token ids go out, `prompt_logprobs` comes back with one entry for each. Nothing is tokenised
    twice.
    """

    def request(self, model: str, prompt: Prompt) -> dict:
        return _body(model, [int(t) for t in prompt.ids], prompt_logprobs=0)

    def reader(self, prompt: Prompt) -> Callable[[dict], np.ndarray]:
        def read(reply: dict) -> np.ndarray:
            entries = _choice(reply).get("prompt_logprobs")
            if not isinstance(entries, list) or len(entries) != len(prompt.ids):
                raise Torn("a reply without prompt_logprobs for every token")
            try:
                return prompt.fold(
                    [_number(entries[p + 1][str(t)]["logprob"]) for p, t in zip(*prompt.reads)]
                )
            except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
                raise Torn("a reply whose prompt_logprobs lack a token of the prompt") from None

        return read


class EchoForm:
    """Everything else: text goes out and comes back (`echo`) with a log probability for each of the
    server's tokens.

    Args:
      keep_bos: send the text of the beginning-of-text token too, for servers that do not put it there
        themselves.
      special: texts of the special tokens, which llama.cpp echoes as empty ones.
    """

    def __init__(self, keep_bos: bool = False, special: Sequence[str] = ()):
        self.keep_bos, self.special = keep_bos, special

    def text(self, prompt: Prompt) -> str:
        return prompt.text if self.keep_bos else prompt.text[prompt.bos_chars :]

    def request(self, model: str, prompt: Prompt) -> dict:
        return _body(model, self.text(prompt), echo=True, logprobs=1)

    def reader(self, prompt: Prompt) -> Callable[[dict], np.ndarray]:
        text, shift = self.text(prompt), 0 if self.keep_bos else prompt.bos_chars

        def read(reply: dict) -> np.ndarray:
            tokens, places, values, _ = _echoed(reply, text, self.special)
            found, at = [], 0
            for (a, b), (first, stop) in zip(prompt.chars - shift, prompt.spans):
                while at < len(tokens) and places[at][1] <= a:
                    at += 1
                begin = at
                while at < len(tokens) and places[at][0] < b:
                    at += 1
                said = text[places[begin][0] : places[at - 1][1]].strip() if at > begin else ""
                wanted = text[a:b].strip()
                if said != wanted or at - begin != stop - first:
                    raise Refused(
                        f"the server tokenises the answer {wanted!r} as {tokens[begin:at]}, our tokenizer"
                        " gives it"
                        f" {stop - first} tokens; give the server's tokenizer (--tokenizer)"
                    )
                found += values[begin:at]
            if any(x is None for x in found):
                raise Torn("a reply without the log probability of an answer")
            return prompt.fold([_number(x) for x in found])

        return read


async def check_server(client: Client, model: str, prompt: Prompt, special: Sequence[str] = ()) -> Form:
    """Chooses the form that the server speaks and checks with two requests that its numbers sit where they
    belong.

    First, what the server says of the next token after a text P, when it generates. Second, what it says of
    the token after P in a longer prompt that begins with P. The two are one distribution, so their most
    probable tokens must have equal log probabilities; where those of a neighbouring place agree better, the
    server is off by that many positions.

    Raises:
      InputError: the server returns no prompt log probabilities, or wrong ones.
    """
    cut = max(len(prompt.spans) // 2 - 1, 0)
    try:
        found = await _check_tokens(client, model, prompt, cut)
        return found or await _check_echo(client, model, prompt, cut, special)
    except InputError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"{client.name} returns log probabilities in a form that is no completions server's; they cannot be used"
        ) from None


async def _check_tokens(client: Client, model: str, prompt: Prompt, cut: int) -> Form | None:
    ids = [int(t) for t in prompt.ids]
    begin = ids[: prompt.spans[cut, 1]]
    whole = ids if len(ids) > len(begin) else begin + begin[-1:]
    try:
        reply = await client.complete(
            _body(model, begin, logprobs=TOP, prompt_logprobs=0), check=_with_choice, most_errors=3
        )
        entries = _choice(reply).get("prompt_logprobs")
        if not isinstance(entries, list):
            return None
        longer = await client.complete(_body(model, whole, prompt_logprobs=TOP), check=_with_choice)
    except Refused as error:
        # The server is there and does not like token ids or these fields; anything else is final.
        if error.status in (400, 413, 422, 500, 501):
            return None
        raise
    listed = _choice(longer).get("prompt_logprobs")
    if len(entries) != len(begin) or not isinstance(listed, list) or len(listed) != len(whole):
        raise InputError(
            f"{client.name} returns prompt_logprobs that are not one for each token; they cannot be used"
        )
    try:
        tops = [
            {x["decoded_token"]: _number(x["logprob"]) for x in (entry or {}).values()} for entry in listed
        ]
        expected = _first_top(reply)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{client.name} returns prompt_logprobs in a form that is not vLLM's; they cannot be used"
        ) from None
    _compare(client.name, expected, tops, len(begin))
    return TokenForm()


async def _check_echo(client: Client, model: str, prompt: Prompt, cut: int, special: Sequence[str]) -> Form:
    cannot = f"{client.name} cannot return prompt log probabilities"
    end = int(prompt.chars[cut, 1])
    begin = prompt.text[:end]
    whole = prompt.text if len(prompt.text) > end else begin + "\n\n" + begin
    form = EchoForm(special=special)
    drop = prompt.bos_chars
    ask = {"echo": True, "logprobs": TOP}
    try:
        reply = await client.complete(_body(model, begin[drop:], logprobs=TOP), check=_with_choice)
        if drop and (reply.get("usage") or {}).get("prompt_tokens") == prompt.spans[cut, 1] - 1:
            form, drop = EchoForm(True, special), 0
            reply = await client.complete(_body(model, begin, logprobs=TOP), check=_with_choice)
        longer = await client.complete(_body(model, whole[drop:], **ask), check=_with_choice)
    except Refused as error:
        if error.status in (400, 413, 422, 501):
            raise InputError(f"{cannot}: {error}") from None
        raise
    try:
        expected = _first_top(reply)
        _, places, _, tops = _echoed(longer, whole[drop:], special)
    except (Torn, KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise InputError(
            f"{cannot}: it ignores echo or logprobs; use vLLM, or llama.cpp's with logits_all"
        ) from None
    place = next((i for i, (start, _) in enumerate(places) if start >= len(begin) - drop), None)
    if place is None or places[place][0] != len(begin) - drop:
        raise InputError(
            f"{client.name} returns tokens that do not join to the prompt; its log probabilities cannot be"
            " used"
        )
    _compare(client.name, expected, tops, place)
    return form


def _compare(name: str, expected: dict[str, float], tops: list, place: int) -> None:
    # Special tokens and parts of a letter share one text, so that their numbers replace each other.
    legible = [token for token in expected if token and "\ufffd" not in token]
    best = sorted(legible, key=lambda token: -expected[token])[:3]

    def distance(at: int) -> float:
        listed = tops[at] if 0 <= at < len(tops) and tops[at] else {}
        # 5 nats for a token that is not listed: far more than any tolerance, and finite for the mean.
        return sum(min(abs(listed[t] - expected[t]), 5.0) if t in listed else 5.0 for t in best) / max(
            len(best), 1
        )

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
            " adds no"
            " beginning-of-text token)"
        )


def _body(model: str, prompt: Any, **fields: Any) -> dict:
    # One token is generated and dropped: some servers refuse 0, and one takes it for no limit.
    return {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, **fields}


def _choice(reply: dict) -> dict:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Torn("a reply without choices")
    return choices[0]


def _with_choice(reply: dict) -> dict:
    _choice(reply)
    return reply


def _first_top(reply: dict) -> dict[str, float]:
    """The most probable first generated tokens and their log probabilities."""
    return {token: _number(value) for token, value in _choice(reply)["logprobs"]["top_logprobs"][0].items()}


def _echoed(reply: dict, text: str, special: Sequence[str]) -> tuple[list[str], list, list, list]:
    """(tokens, `(start, stop)` characters of each, log probabilities, alternatives) of an echoed text.

    The generated token is included, behind the text.

    Raises:
      Torn: there is no echo of that text, or the lists differ in length.
    """
    said = _choice(reply)
    found = said.get("logprobs")
    if not isinstance(found, dict) or not str(said.get("text", "")).startswith(text):
        raise Torn("a reply that does not echo the prompt with log probabilities")
    tokens, values = found.get("tokens"), found.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list) or len(values) != len(tokens):
        raise Torn("a reply with other numbers of tokens and log probabilities")
    tops = found.get("top_logprobs")
    return tokens, _align(tokens, text, special), values, tops if isinstance(tops, list) else []


def _align(tokens: Sequence[str], text: str, special: Sequence[str]) -> list[tuple[int, int]]:
    """Characters of each echoed token in the text.

    The server's own offsets are of no use: llama.cpp counts them in a text without special tokens, which it
    echoes as empty ones. Empty are also, or replaced by U+FFFD, tokens that are a part of a letter.

    Raises:
      Torn: the tokens do not join to the text.
    """
    places, waiting, at = [], 0, 0  # the last `waiting` tokens are parts of the letters from `at` on
    names = sorted(special, key=len, reverse=True)
    for token in tokens:
        if at == len(text) and not waiting:
            places.append((at, at))
            continue
        name = next((x for x in names if text.startswith(x, at)), "")
        if not waiting and token in ("", name) and name:
            places.append((at, at + len(name)))
            at += len(name)
        elif not waiting and token and text.startswith(token, at):
            places.append((at, at + len(token)))
            at += len(token)
        elif at == 0 and token and token.strip() and text.lstrip().startswith(token.lstrip()):
            # Some tokenizers put a space before the first word, and some take it away.
            stop = text.index(token.lstrip()) + len(token.lstrip())
            places.append((0, stop))
            at = stop
        elif not token or "\ufffd" in token:
            places.append((at, at))
            waiting += 1
        elif waiting:
            stop = _letters(text, at)
            places[len(places) - waiting :] = [(at, stop)] * waiting
            at, waiting = stop, 0
            if at < len(text) and not text.startswith(token, at):
                raise Torn("a reply whose tokens do not join to the prompt")
            places.append((at, min(at + len(token), len(text))))
            at = places[-1][1]
        else:
            raise Torn("a reply whose tokens do not join to the prompt")
    if waiting:
        stop = _letters(text, at)
        places[len(places) - waiting :] = [(at, stop)] * waiting
        at = stop
    if at < len(text):
        raise Torn("a reply whose tokens end before the prompt does")
    return places


def _letters(text: str, at: int) -> int:
    """Where the letters from `at` on end that can be more than one token: those beyond ASCII."""
    return next((i for i in range(at, len(text)) if text[i].isascii()), len(text))


def _number(value: Any) -> float:
    number = float(value)
    if math.isnan(number) or number > 1e-3:
        raise ValueError(f"{number} is no log probability")
    return min(number, 0.0)
