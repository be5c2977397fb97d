"""The ways in which completions servers return prompt log probabilities, and how to find out whether they are right."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import InputError
from ..prompts import Prompt
from .agreement import Alternative, Spellings, check_alternatives, check_places, check_values, number
from .bounded import Torn
from .client import Client, Refused
from .sglang import check_generate

TOP = 5  # alternatives asked for in the self-check; servers refuse more than 5 (OpenAI) or 20 (vLLM)
COMPLETIONS = "/completions"


class Form(Protocol):
    """A request for the log probabilities of a prompt, where it goes, and how its reply is read."""

    path: str

    def request(self, model: str, prompt: Prompt) -> dict: ...

    def reader(self, prompt: Prompt) -> Callable[[dict], np.ndarray]:
        """A function from the reply to the prompt's scores; raises `Torn` if the reply is not whole."""
        ...


class TokenForm:
    """vLLM: token ids go out, `prompt_logprobs` comes back with one entry for each. Nothing is tokenised
    twice.
    """

    path = COMPLETIONS

    def request(self, model: str, prompt: Prompt) -> dict:
        return _body(model, [int(t) for t in prompt.ids], prompt_logprobs=0)

    def reader(self, prompt: Prompt) -> Callable[[dict], np.ndarray]:
        def read(reply: dict) -> np.ndarray:
            entries = _choice(reply).get("prompt_logprobs")
            if not isinstance(entries, list) or len(entries) != len(prompt.ids):
                raise Torn("a reply without prompt_logprobs for every token")
            try:
                return prompt.fold([number(entries[p + 1][str(t)]["logprob"]) for p, t in zip(*prompt.reads)])
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
      spellings: what else a token of the server may stand for.
    """

    path = COMPLETIONS

    def __init__(
        self, keep_bos: bool = False, special: Sequence[str] = (), spellings: Spellings | None = None
    ):
        self.keep_bos, self.special, self.spellings = keep_bos, special, spellings or Spellings()

    def text(self, prompt: Prompt) -> str:
        return prompt.text if self.keep_bos else prompt.text[prompt.bos_chars :]

    def request(self, model: str, prompt: Prompt) -> dict:
        return _body(model, self.text(prompt), echo=True, logprobs=1)

    def reader(self, prompt: Prompt) -> Callable[[dict], np.ndarray]:
        text, shift = self.text(prompt), 0 if self.keep_bos else prompt.bos_chars

        def read(reply: dict) -> np.ndarray:
            tokens, places, values, _ = _echoed(reply, text, self.special, self.spellings)
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
            return prompt.fold([number(x) for x in found])

        return read


async def check_server(
    client: Client, model: str, prompt: Prompt, special: Sequence[str] = (), tokenizer: Any = None
) -> Form:
    """Chooses the form that the server speaks and checks with two requests that its numbers sit where they
    belong.

    First, what the server says of the next token after a text P, when it generates. Second, what it says of
    the token after P in a longer prompt that begins with P. The two are one distribution, so their most
    probable tokens must have equal log probabilities; where those of a neighbouring place agree better, the
    server is off by that many positions.

    Args:
      special: texts of the special tokens.
      tokenizer: by which tokens are recognised that the server writes in another way.

    Raises:
      InputError: the server returns no prompt log probabilities, or wrong ones.
    """
    cut, spellings = max(len(prompt.spans) // 2 - 1, 0), Spellings(tokenizer)
    try:
        found = await _check_tokens(client, model, prompt, cut, spellings)
        if found is not None:
            return found
        try:
            return await _check_echo(client, model, prompt, cut, special, spellings)
        except InputError as error:
            other = await check_generate(client, prompt, cut)
            if other is None:
                raise error from None
            return other
    except InputError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"{client.name} returns log probabilities in a form that is no completions server's; they cannot be used"
        ) from None


async def _check_tokens(
    client: Client, model: str, prompt: Prompt, cut: int, spellings: Spellings
) -> Form | None:
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
            [
                Alternative(str(x.get("decoded_token")), number(x["logprob"]), int(token))
                for token, x in (entry or {}).items()
            ]
            for entry in listed
        ]
        values = [
            next((x.logprob for x in entry if x.id == token), None) for token, entry in zip(whole, tops)
        ]
        expected = _first_top(reply)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{client.name} returns prompt_logprobs in a form that is not vLLM's; they cannot be used"
        ) from None
    check_values(client.name, values)
    check_places(client.name, expected, tops, len(begin), spellings)
    return TokenForm()


async def _check_echo(
    client: Client, model: str, prompt: Prompt, cut: int, special: Sequence[str], spellings: Spellings
) -> Form:
    cannot = f"{client.name} cannot return prompt log probabilities"
    form = EchoForm(special=special, spellings=spellings)
    drop = prompt.bos_chars
    ask = {"echo": True, "logprobs": TOP}
    try:
        # Behind an answer a turn ends, of which llama.cpp says nothing: then before it.
        for side in (1, 0):
            begin = prompt.text[: int(prompt.chars[cut, side])]
            reply = await client.complete(_body(model, begin[drop:], logprobs=TOP), check=_with_choice)
            if drop and (reply.get("usage") or {}).get("prompt_tokens") == prompt.spans[cut, side] - 1:
                form, drop = EchoForm(True, special, spellings), 0
                reply = await client.complete(_body(model, begin, logprobs=TOP), check=_with_choice)
            if not _ended(reply):
                break
        whole = prompt.text if len(prompt.text) > len(begin) else begin + "\n\n" + begin
        longer = await client.complete(_body(model, whole[drop:], **ask), check=_with_choice)
    except Refused as error:
        if error.status in (400, 413, 422, 501):
            raise InputError(f"{cannot}: {error}") from None
        raise
    try:
        expected = _first_top(reply)
        tokens, places, values, listed = _echoed(longer, whole[drop:], special, spellings)
        tops = [_alternatives(entry) for entry in listed]
    except (Torn, KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise InputError(
            f"{cannot}: it ignores echo or logprobs (as llama.cpp's own server does); use vLLM, SGLang or"
            " llama-cpp-python's server with --logits_all true, or --backend hf"
        ) from None
    place = next((i for i, (start, _) in enumerate(places) if start >= len(begin) - drop), None)
    if place is None or places[place][0] != len(begin) - drop:
        raise InputError(
            f"{client.name} returns tokens that do not join to the prompt; its log probabilities cannot be"
            " used"
        )
    inside = len(places) - 1  # the last one is generated
    try:
        known = [None if x is None else number(x) for x in values[:inside]]
    except (TypeError, ValueError):
        raise InputError(
            f"{client.name} returns numbers that are no log probabilities; they cannot be used"
        ) from None
    check_values(client.name, known)
    check_places(client.name, expected, tops, place, spellings)
    check_alternatives(client.name, tokens, known, tops)
    return form


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


def _first_top(reply: dict) -> list[Alternative]:
    """The most probable first generated tokens and their log probabilities."""
    return _alternatives(_choice(reply)["logprobs"]["top_logprobs"][0])


def _ended(reply: dict) -> bool:
    """Whether a reply has the lists of tokens and nothing in them, since the text ends there."""
    logs = _choice(reply).get("logprobs")
    return isinstance(logs, dict) and logs.get("tokens") == []


def _alternatives(listed: dict[str, Any] | None) -> list[Alternative]:
    return [Alternative(token, number(value)) for token, value in (listed or {}).items()]


def _echoed(
    reply: dict, text: str, special: Sequence[str], spellings: Spellings
) -> tuple[list[str], list, list, list]:
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
    try:
        places = _align(tokens, text, special)
    except Torn:  # perhaps they are written by number, or as the vocabulary has them
        plain = [spellings.plain(token) for token in tokens]
        if plain == tokens:
            raise
        tokens, places = plain, _align(plain, text, special)
    return tokens, places, values, tops if isinstance(tops, list) else []


def _align(tokens: Sequence[str], text: str, special: Sequence[str]) -> list[tuple[int, int]]:
    """Characters of each echoed token in the text.

    The server's own offsets are of no use: llama.cpp counts them in a text without special tokens, which it
    echoes as empty ones, or leaves out, wherever they stand, if they are what it would begin a text with. Empty are also, or
    replaced by U+FFFD, tokens that are a part of a letter.

    Raises:
      Torn: the tokens do not join to the text.
    """
    places, waiting, at = [], 0, 0  # the last `waiting` tokens are parts of the letters from `at` on
    names = sorted(special, key=len, reverse=True)
    for token in tokens:
        name = next((x for x in names if text.startswith(x, at)), "")
        while not waiting and name and token and not text.startswith(token, at):
            at += len(name)  # its token is left out
            name = next((x for x in names if text.startswith(x, at)), "")
        if at == len(text) and not waiting:
            places.append((at, at))
            continue
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
