"""SGLang's own way of asking, `/generate`: token ids go out, and each comes back with its log probability."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ..prompts import Prompt
from .agreement import Alternative, Spellings, check_places, check_values, number
from .bounded import Torn
from .client import Client, Refused

PATH = "/generate"  # beside /v1, not below it
TOP = 5  # alternatives asked for in the self-check


class GenerateForm:
    """Requests to `/generate` of SGLang; nothing is tokenised twice."""

    path = PATH

    def request(self, model: str, prompt: Prompt) -> dict:
        del model  # a server of SGLang has one
        return _body([int(t) for t in prompt.ids])

    def reader(self, prompt: Prompt) -> Callable[[dict], np.ndarray]:
        """A function from the reply to the prompt's scores; raises `Torn` if the reply is not whole."""
        ids = [int(t) for t in prompt.ids]

        def read(reply: dict) -> np.ndarray:
            values = _values(reply, ids)
            try:
                return prompt.fold([number(values[p + 1]) for p in prompt.reads[0]])
            except (TypeError, ValueError):
                raise Torn("a reply whose input_token_logprobs lack a token of the prompt") from None

        return read


async def check_generate(client: Client, prompt: Prompt, cut: int) -> GenerateForm | None:
    """The form, if the server speaks it and its numbers sit where they belong; None if it does not speak it.

    Raises:
      InputError: it speaks it, and its numbers cannot be used.
    """
    ids = [int(t) for t in prompt.ids]
    begin = ids[: prompt.spans[cut, 1]]
    whole = ids if len(ids) > len(begin) else begin + begin[-1:]
    try:
        reply = await client.complete(_body(begin, TOP), check=_told, path=PATH, tries=2)
        longer = await client.complete(_body(whole, TOP), check=_told, path=PATH)
        values = _values(longer, whole)
        expected = _alternatives(reply["output_top_logprobs"][0])
        tops = [_alternatives(entry) for entry in longer["input_top_logprobs"]]
    except (Refused, Torn, KeyError, TypeError, ValueError, IndexError):
        return None
    name = f"{client.name} (by /generate)"
    check_values(name, values)
    if len(tops) != len(whole):
        raise InputError(
            f"{name} returns alternatives that are not one list for each token; they cannot be used"
        )
    check_places(name, expected, tops, len(begin), Spellings())
    return GenerateForm()


def _body(ids: list[int], top: int = 0) -> dict:
    return {
        "input_ids": ids,
        "sampling_params": {"max_new_tokens": 1, "temperature": 0},
        "return_logprob": True,
        "logprob_start_len": 0,
        "top_logprobs_num": top,
    }


def _told(reply: dict) -> dict:
    found = reply.get("meta_info")
    if not isinstance(found, dict):
        raise Torn("a reply without meta_info")
    return found


def _values(reply: dict, ids: list[int]) -> list[float | None]:
    """The log probability of each token, None for the first; raises `Torn` unless the tokens are those that were sent."""
    entries = (reply.get("meta_info") or reply).get("input_token_logprobs")
    try:
        if entries is not None and [int(entry[1]) for entry in entries] == ids:
            return [entry[0] for entry in entries]
    except (TypeError, ValueError, IndexError):
        pass
    raise Torn("a reply without input_token_logprobs for every token")


def _alternatives(entries: Any) -> list[Alternative]:
    return [Alternative(str(text), number(value), int(token)) for value, token, text in entries or ()]
