"""What a context holds: shuffled examples, flipped labels, and benign shots before the ones that are
studied.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .data import Example


@dataclasses.dataclass(frozen=True)
class Shot:
    """One turn of a context.

    Attributes:
      question: what the user says.
      shown: the answer in the context.
      right: the answers whose probabilities add up to `prob`: spellings of one answer.
      wrong: competing answers; their probabilities add up to `prob_other`. `shown` is the first of one of
        the two.
    """

    question: str
    shown: str
    right: tuple[str, ...]
    wrong: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Context:
    """All shots of one prompt. The first `skip` of them come from another source and are not part of the
    curve.
    """

    source: str
    shuffle: int
    shots: tuple[Shot, ...]
    skip: int = 0


def make_contexts(
    examples: Sequence[Example],
    shuffles: int = 50,
    max_shots: int | None = None,
    seed: int = 0,
    flip: float = 0.0,
    score: str = "shown",
    others: bool = False,
    benign_source: str | None = None,
    benign_shots: int = 0,
) -> list[Context]:
    """Draws `shuffles` contexts for every source.

    A context is the source's examples in random order, without replacement, `max_shots + 1` of them at most:
    the answer of example n, counted from 0, is predicted from n complete shots. Shuffle s has the same
    order in every source that has as many examples, so that sources can be compared shuffle by shuffle.

    Args:
      flip: each example shows a competing answer, drawn uniformly, instead of its own with this probability.
      score: `shown` scores the answer that the context shows, so that the curve is the probability of the
        next example of the noisy source; `true` scores the example's own answer, flipped or not.
      others: also score the competing answers.
      benign_source, benign_shots: put that many shots of that source before the shots of every other
        source. The curve counts only the shots after them; the benign source itself gets no curve.

    Raises:
      InputError: a number out of range, an unknown source, or a flip where an example has no competing
        answer.
    """
    if shuffles < 1 or (max_shots is not None and max_shots < 0) or benign_shots < 0:
        raise InputError("shuffles must be at least 1, max_shots and benign_shots at least 0")
    if not 0 <= flip <= 1:
        raise InputError(f"flip is a probability, and {flip} is not between 0 and 1")
    if score not in ("shown", "true"):
        raise InputError(f"score is {score!r}; known are shown and true")
    by_source: dict[str, list[Example]] = {}
    for example in examples:
        by_source.setdefault(example.source, []).append(example)
    calm = [] if benign_source is None else by_source.get(benign_source, [])
    if benign_shots and not calm:
        raise InputError(
            f"benign source {benign_source!r} is not in the data; it has {', '.join(map(repr, by_source))}"
        )
    if benign_shots and len(by_source) == 1:
        raise InputError(
            f"the data has no source but the benign one, {benign_source!r}; give it a column source"
        )

    contexts = []
    for source, pool in by_source.items():
        if benign_shots and source == benign_source:
            continue
        for shuffle in range(shuffles):
            rng = np.random.default_rng([seed, shuffle])
            count = len(pool) if max_shots is None else min(len(pool), max_shots + 1)
            chosen = [pool[i] for i in rng.permutation(len(pool))[:count]]
            shots = [_shot(example, flip, score, others, rng) for example in chosen]
            benign: list[Shot] = []
            if benign_shots:
                # A stream of its own, so that the studied shots are the same for every number of benign ones.
                rng = np.random.default_rng([seed, shuffle, 1])
                if len(calm) < benign_shots:
                    raise InputError(
                        f"source {benign_source!r} has {len(calm)} examples, fewer than {benign_shots} shots"
                    )
                benign = [
                    _shot(calm[i], 0.0, score, others, rng) for i in rng.permutation(len(calm))[:benign_shots]
                ]
            contexts.append(Context(source, shuffle, (*benign, *shots), len(benign)))
    return contexts


def _shot(example: Example, flip: float, score: str, others: bool, rng: np.random.Generator) -> Shot:
    answer, forms = example.answer, (example.answer, *example.forms)
    # Two draws whatever happens, so that the same examples meet the same luck at another flip probability.
    lucky, which = rng.random(), rng.random()
    if lucky >= flip:
        return Shot(example.question, answer, forms, example.others if others else ())
    if not example.others:
        raise InputError(
            f"label flips need a competing answer, and {example.question[:60]!r} has none; add answer_other"
        )
    shown = example.others[int(which * len(example.others))]
    if score == "shown":
        rest = tuple(x for x in example.others if x != shown)
        return Shot(example.question, shown, (shown,), (*forms[:1], *rest) if others else ())
    return Shot(example.question, shown, forms, (shown, *(x for x in example.others if x != shown)))
