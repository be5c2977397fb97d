"""From a context to tokens: one prompt that holds all shots, with the place of every answer."""

import dataclasses
import functools
import hashlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import CurvesWarning, InputError
from .contexts import Shot
from .spans import token_spans
from .templates import Template, render

RIGHT, WRONG, NONE = 0, 1, -1
# Characters behind an answer that are tokenised with it, so that it ends as it does in the prompt.
FOLLOWING = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
    """A tokenised prompt and what is asked of it. L tokens, n answers, F further spellings read in the same
    pass.

    Attributes:
      ids: int32 [L], the tokens.
      spans: int32 [n, 2], `[first, last + 1)` scored token of each answer.
      swaps: int32 [n, F, 2], (depth d, token t), -1 where there is none: a spelling made of the answer's
        first d tokens and then t, whose probability the same forward pass holds.
      shots: int32 [n], which shot of the context each answer is.
      roles: int8 [n, 1 + F], whether each scored spelling is `RIGHT` or `WRONG`; `NONE` pads.
      text: the text of the tokens; `chars` [n, 2] are the characters of the scored tokens in it, less a
        leading space, and the first `bos_chars` characters are the beginning-of-text token's.
    """

    ids: np.ndarray
    spans: np.ndarray
    swaps: np.ndarray
    shots: np.ndarray
    roles: np.ndarray
    text: str = ""
    chars: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.int32))
    bos_chars: int = 0

    @classmethod
    def plain(cls, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> "Prompt":
        """A prompt of bare tokens with answers at `spans`, for models without text (the synthetic world)."""
        n = len(spans)
        return cls(
            np.asarray(ids, np.int32),
            np.asarray(spans, np.int32).reshape(n, 2),
            np.full((n, 0, 2), -1, np.int32),
            np.arange(n, dtype=np.int32),
            np.zeros((n, 1), np.int8),
        )

    @functools.cached_property
    def key(self) -> str:
        """A name of the tokens and of everything asked of them; equal for equal prompts in every process."""
        digest = hashlib.sha256()
        for array in (self.ids, self.spans, self.swaps, self.shots, self.roles):
            digest.update(np.ascontiguousarray(array, np.int64).tobytes() + b"|")
        return digest.hexdigest()[:24]

    @functools.cached_property
    def reads(self) -> tuple[np.ndarray, np.ndarray]:
        """(positions, tokens), int32 [R] each: the log probability of that token after that position is
        needed.
        """
        positions, tokens = [], []
        for (first, stop), swaps in zip(self.spans, self.swaps):
            positions.append(np.arange(first - 1, stop - 1))
            tokens.append(self.ids[first:stop])
            used = swaps[swaps[:, 0] >= 0]
            positions.append(first - 1 + used[:, 0])
            tokens.append(used[:, 1])
        if not positions:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        return np.concatenate(positions).astype(np.int32), np.concatenate(tokens).astype(np.int32)

    def fold(self, values: ArrayLike) -> np.ndarray:
        """Log probabilities of `reads`, in nats -> log probability of every spelling, float64 [n, 1 + F],
        NaN pads.

        ln p(answer) = sum over its tokens of ln p(token | all before it).
        """
        logs = np.asarray(values, np.float64)
        scores = np.full(self.roles.shape, np.nan)
        at = 0
        for i, ((first, stop), swaps) in enumerate(zip(self.spans, self.swaps)):
            own = logs[at : at + stop - first]
            at += stop - first
            scores[i, 0] = own.sum()
            for j, (depth, _) in enumerate(swaps):
                if depth >= 0:
                    scores[i, 1 + j] = own[:depth].sum() + logs[at]
                    at += 1
        return scores


def bos_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text of its own accord: [] or its beginning-of-text token."""
    with_special = tokenizer("a").input_ids
    bos = tokenizer.bos_token_id
    plain = tokenizer("a", add_special_tokens=False).input_ids
    return [bos] if bos is not None and with_special[:1] == [bos] and plain[:1] != [bos] else []


def build_prompts(
    shots: Sequence[Shot],
    template: Template,
    tokenizer: Any,
    window: int | None = None,
    first_tokens: int | None = None,
    in_pass: bool = True,
    add_bos: bool = False,
    template_name: str = "the template",
) -> list[Prompt]:
    """One prompt with every shot that fits, and one short of it for each further spelling that needs its
    own pass.

    Rendered once and tokenised once; linear in the length of the conversation. An answer whose closing punctuation is one token
    with what follows it is scored up to that token.

    Args:
      window: tokens that the model can take; the prompt is cut at the last whole shot that fits.
      first_tokens: score only that many tokens at the start of each answer; None scores all.
      add_bos: put the beginning-of-text token in front if the tokenizer does so with plain text. Chat
        templates write it themselves.
      in_pass: the back end can give the probability of tokens other than the prompt's own, so that
        spellings that part from the answer at their last token need no further pass. Others cost one pass
        of the prompt up to that answer.

    Warns:
      CurvesWarning: answers are scored without their closing punctuation.

    Raises:
      InputError: the template or tokenizer cannot be used, not even one shot fits, or answers cannot be
        told apart.
    """
    if first_tokens is not None and first_tokens < 1:
        raise InputError(f"first_tokens is {first_tokens}; score at least one token of each answer")
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            "this tokenizer gives no character offsets; a fast tokenizer (tokenizer.json) is needed"
        )
    text, chars = render([(shot.question, shot.shown) for shot in shots], template, template_name)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    bos = tokenizer.bos_token
    bos_chars = len(bos) if bos and text.startswith(bos) else 0
    lead = bos_ids(tokenizer) if add_bos and not bos_chars else []
    ids = np.array([*lead, *encoded["input_ids"]], np.int32)
    offsets = encoded["offset_mapping"]
    spans = token_spans(text, offsets, chars) + len(lead)
    if spans[0, 0] == 0:
        raise InputError(
            "the prompt starts with an answer, and its first token has no probability; add a question"
        )

    whole, extra, ends, crossing = [], [], [], None
    for i, shot in enumerate(shots):
        (first, stop), (a, b) = spans[i], chars[i]
        shown = ids[first:stop]
        start = chars[i - 1][1] if i else 0
        spellings = _spellings(shot, text, start, a, b, shown, tokenizer)
        if window is not None and first + max(len(tokens) for _, _, tokens, *_ in spellings) > window:
            break
        swaps, roles = [], [NONE]
        scored = _cut(shown, first_tokens)
        for role, form, tokens, lead_chars, end in _distinct(spellings, first_tokens):
            depth = len(tokens) - 1
            if tokens == scored:
                roles[0] = role
            elif in_pass and depth <= len(scored) - 1 and tokens[:-1] == scored[:depth]:
                swaps.append((depth, tokens[-1]))
                roles.append(role)
            else:
                extra.append((i, first, role, text[:a] + form, (a - lead_chars, a + end), tokens))
        ends.append(int(offsets[stop - 1 - len(lead)][1]))
        if ends[-1] < b and crossing is None:
            crossing = text[slice(*offsets[stop - len(lead)])]
        b = min(b, offsets[first + len(scored) - 1 - len(lead)][1])
        whole.append((i, first, first + len(scored), swaps, roles, stop, (a, b)))
    if not whole:
        raise InputError(
            f"the context window of {window} tokens is too small for one shot, which needs {spans[0, 1]};"
            " use a model with"
            " a longer one, or drop long questions"
        )

    if crossing is not None:
        text_of = f"answers whose last token also covers what follows them, such as {crossing!r}, are scored up to that token"
        warnings.warn(text_of, CurvesWarning, stacklevel=2)
    width = max(len(swaps) for *_, swaps, _, _, _ in whole)
    swaps = np.full((len(whole), width, 2), -1, np.int32)
    roles = np.full((len(whole), 1 + width), NONE, np.int8)
    for row, (*_, found, kinds, _, _) in enumerate(whole):
        swaps[row, : len(found)] = np.array(found, np.int32).reshape(-1, 2)
        roles[row, : len(kinds)] = kinds
    last_shot, *_, last_token, _ = whole[-1]
    main = Prompt(
        ids[:last_token],
        np.array([(first, stop) for _, first, stop, *_ in whole], np.int32),
        swaps,
        np.array([i for i, *_ in whole], np.int32),
        roles,
        text[: min(chars[last_shot][1], ends[-1])],
        np.array([scored_chars for *_, scored_chars in whole], np.int32),
        bos_chars,
    )
    rest = [
        Prompt(
            np.array([*ids[:first], *tokens], np.int32),
            np.array([(first, first + len(tokens))], np.int32),
            np.full((1, 0, 2), -1, np.int32),
            np.array([i], np.int32),
            np.array([[role]], np.int8),
            form_text,
            np.array([span], np.int32),
            bos_chars,
        )
        for i, first, role, form_text, span, tokens in extra
    ]
    return [main, *rest]


def _cut(tokens: Iterable[int], first_tokens: int | None) -> tuple[int, ...]:
    return tuple(int(t) for t in tokens)[:first_tokens]


def _spellings(shot: Shot, text: str, start: int, a: int, b: int, shown: np.ndarray, tokenizer: Any) -> list:
    """(role, text, tokens, characters of white space before it, end of each token) of every spelling.

    The shown one's are those that stand in the prompt.

    Another spelling is tokenised in place, behind the text since `start` (the end of the answer before) and before what follows.
    That this short stretch is enough is checked on the shown answer; where it is not, the whole text before
    the answer is used.
    """
    roles = {form.strip(): RIGHT for form in reversed(shot.right)}
    for form in shot.wrong:
        if roles.setdefault(form.strip(), WRONG) == RIGHT:
            raise InputError(f"answer {form.strip()!r} is both right and wrong for {shot.question[:60]!r}")
    known = shot.shown.strip()
    forms = [form for form in roles if form != known]
    found: list[tuple] = [(roles[known], known, tuple(int(t) for t in shown), 0, ())]
    if not forms:
        return found
    before, after = text[start:a], text[b : b + FOLLOWING]
    head, _, own, _ = _tail(before, known, after, tokenizer)
    if own != list(shown):
        before = text[:a]
        head, *_ = _tail(before, known, after, tokenizer)
    for form in forms:
        other_head, starts, tokens, ends = _tail(before, form, after, tokenizer)
        # A space that is part of the shown answer's first token may be a token of its own before this one.
        extra = other_head[len(head) :]
        lead = len(before) - starts[len(head)] if extra else 0
        if other_head[: len(head)] != head or before[len(before) - lead :].strip():
            raise InputError(
                f"answer {form!r} tokenises across its boundary after {before[-20:]!r}; use another template"
            )
        found.append((roles[form], form, (*extra, *tokens), lead, [0] * len(extra) + ends))
    return found


def _tail(
    before: str, form: str, after: str, tokenizer: Any
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Tokens of `before` and where each starts; tokens of `form` between it and `after`, and where in it each ends."""
    text = before + form + after
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    span = (len(before), len(before) + len(form))
    (first, stop) = token_spans(text, encoded["offset_mapping"], [span])[0]
    ids = list(encoded["input_ids"])
    ends = [end - len(before) for _, end in encoded["offset_mapping"][first:stop]]
    return ids[:first], [start for start, _ in encoded["offset_mapping"][:first]], ids[first:stop], ends


def _distinct(spellings: Sequence, first_tokens: int | None) -> list:
    """(role, text, first tokens, white space before, last character) of spellings that are different events.

    A spelling that begins with all tokens of another is part of that event: "Yes" has happened when
    "Yes, sir" has, and counting both would count it twice.
    """
    cut = [(role, form, _cut(tokens, first_tokens), *rest) for role, form, tokens, *rest in spellings]
    kept = []
    for i, (role, form, tokens, lead, ends) in enumerate(cut):
        inside = False
        for j, (other_role, other_form, other, *_) in enumerate(cut):
            if i == j or tokens[: len(other)] != other:
                continue
            if role != other_role:
                raise InputError(
                    f"answers {form!r} and {other_form!r} start with the same tokens and cannot be told"
                    " apart; score more of their tokens (--first-tokens), or leave the competing answer out"
                )
            inside |= len(other) < len(tokens) or j < i
        if not inside:
            kept.append((role, form, tokens, lead, ends[len(tokens) - 1] if ends else len(form)))
    return kept
