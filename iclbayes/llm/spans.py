"""Finding the answers of a rendered conversation: first their characters, then their tokens, in linear time.

Each answer is wrapped in two private-use characters before the template is rendered; afterwards they are
taken out and their places are the answers' character spans. No search for the answer's text is needed, so
an answer such as `A`, which also occurs all over the questions, is found exactly.
"""

from collections.abc import Sequence

import numpy as np

from ..errors import InputError

OPEN, CLOSE = "\ue000", "\ue001"


def mark(answer: str) -> str:
    """Wraps the stripped answer in the two marks; white space around it stays outside, as templates may
    trim it.
    """
    stripped = answer.strip()
    lead = answer[: len(answer) - len(answer.lstrip())]
    tail = answer[len(answer.rstrip()) :]
    return f"{lead}{OPEN}{stripped}{CLOSE}{tail}"


def unmark(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Takes the marks out of `text`.

    Returns the plain text and the character span `[start, stop)` of each marked stretch in the plain text,
    in order.

    Raises:
      ValueError: the marks do not alternate.
    """
    pieces, spans, start, length, rest = [], [], None, 0, 0
    for i, letter in enumerate(text):
        if letter not in (OPEN, CLOSE):
            continue
        pieces.append(text[rest:i])
        length += i - rest
        rest = i + 1
        if (letter == OPEN) != (start is None):
            raise ValueError("marks do not alternate")
        if letter == OPEN:
            start = length
        else:
            spans.append((start, length))
            start = None
    if start is not None:
        raise ValueError("a mark is left open")
    pieces.append(text[rest:])
    return "".join(pieces), spans


def token_spans(
    text: str, offsets: Sequence[tuple[int, int]], chars: Sequence[tuple[int, int]], what: str = "answer"
) -> np.ndarray:
    """Tokens of each character span, by overlap, with two pointers (linear in tokens plus spans).

    Args:
      text: the tokenised text.
      offsets: `[start, stop)` characters of each token, in order. Tokenizers differ in whether a token that
        starts with a space counts it, so a token belongs to a span when the two overlap, not when their
        edges agree.
      chars: `[start, stop)` characters of each span, in order, not overlapping.
      what: what a span is called in a message.

    Returns:
      int32 [spans, 2]: `[first, last + 1)` token of each span. A last token that covers the span's closing punctuation and what
      follows it (".\\n\\n" is one token in many vocabularies) is not among them, if tokens are left without it.

    Raises:
      InputError: a token covers letters or digits of a span and what follows, or more than white space before it; or a span has
        no token.
    """
    found = np.empty((len(chars), 2), np.int32)
    token = 0
    for i, (a, b) in enumerate(chars):
        while token < len(offsets) and offsets[token][1] <= a:
            token += 1
        first = token
        while token < len(offsets) and offsets[token][0] < b:
            start, stop = offsets[token]
            if stop > b and token > first and not any(letter.isalnum() for letter in text[start:b]):
                break
            # A leading space is part of the token in most vocabularies ("Assistant:" + " Yes"): that one is
            # the answer's.
            if stop > b or text[start:a].strip():
                raise InputError(
                    f"{what} {i} {text[a:b]!r} tokenises across its boundary: the token {text[start:stop]!r}"
                    " also covers"
                    f" {(text[start:a] + text[b:stop])!r}; use another template or answer, so that they part"
                    " at a token"
                )
            token += 1
        if token == first:
            raise InputError(
                f"{what} {i} {text[a:b]!r} has no token of its own; is it empty or unknown to the tokenizer?"
            )
        found[i] = first, token
    return found
