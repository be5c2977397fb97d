"""Which choices of an example are right, read from its sample and checked against the harness's own judgement.

A sample names the right choice in ways that depend on the task: its place, its text, a place counted from one, a letter, a
list of several, or a field of the document. A reading is believed only if it reproduces the harness's judgement of
*every* sample: that the most probable choice is right (`acc`), or what share of the probability the right ones
have (`truthfulqa_mc2`). Where no reading does, or two do that give different probabilities, the task is refused.
"""

import ast
import dataclasses
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ..imports.lenient import number

Right = frozenset[int]
INSTEAD = "import accuracies (--value accuracy)"
ROUNDED = 2e-3  # how far a share that a file rounds may lie from the sum of probabilities
LABELS = re.compile(r"answer|label|gold|target|correct", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Sample:
    """An example: log likelihoods of its choices (nats), their texts (empty if not told), and the harness's judgement.

    `predicted` is the choice that the judgement was about, `greedy` whether a single choice was the most probable text.
    """

    loglik: np.ndarray
    contexts: tuple[str, ...]
    texts: tuple[str, ...]
    target: Any
    document: dict
    judged: float
    predicted: int
    greedy: bool | None

    def probability(self, right: Right) -> float:
        """Σ_{c right} exp(l_c) / Σ_c exp(l_c); of one choice, exp(l)."""
        if len(self.loglik) == 1:
            return float(np.exp(min(self.loglik[0], 0.0)))
        shares = np.exp(self.loglik - self.loglik.max())
        return float(min(1.0, shares[sorted(right)].sum() / shares.sum()))


def choice_probabilities(samples: Sequence[dict], name: str = "samples", delimiter: str = " ") -> np.ndarray:
    """Probability of the right choice, or choices, of every sample of one task, float64 [samples].

    With log likelihoods l_c (nats), p = Σ_{c right} exp(l_c) / Σ_c exp(l_c); of one choice, exp(l).

    Args:
      samples: lines of a samples file, of one task and filter.
      name: what messages call them.
      delimiter: what stands between context and choice (the task's `target_delimiter`).

    Raises:
      InputError: a sample has no log likelihoods or no judgement, or no reading of the right choices agrees with
        every judgement.
    """
    return right_probabilities(parse(samples, name, delimiter), name)


def parse(samples: Sequence[dict], name: str, delimiter: str = " ") -> list[Sample]:
    """The samples with their log likelihoods and judgements; errors as in `choice_probabilities`."""
    return [_parse(sample, i, name, delimiter) for i, sample in enumerate(samples)]


def right_probabilities(parsed: list[Sample], name: str) -> np.ndarray:
    """`choice_probabilities` of samples already parsed, of several runs in one go: more of them tell better what is right."""
    ties = sum(len(s.loglik) > 1 and np.ptp(s.loglik) == 0 for s in parsed)
    if 2 * ties > len(parsed):
        raise InputError(
            f"{name}: the log likelihoods of all choices are equal in {ties} of {len(parsed)} samples, so the back end"
            f" told none; {INSTEAD}"
        )
    if all(len(s.loglik) == 1 for s in parsed):
        if any(s.greedy is not None and s.judged != s.greedy for s in parsed):
            raise InputError(
                f"{name}: its accuracy is not whether the answer was the most probable text; {INSTEAD}"
            )
        return np.array([s.probability(frozenset([0])) for s in parsed])
    shares = any(s.judged not in (0, 1) for s in parsed)
    agrees = _agrees_as_share if shares else _agrees
    named = _consistent(parsed, _of_target, agrees)
    found = named.agreeing or _consistent(parsed, _of_document, agrees).agreeing
    if not found and (shares or not named.applying):
        found = _consistent(parsed, _first_ones if shares else _judged, agrees).agreeing
    if not found:
        raise InputError(
            f"{name}: no reading of its samples' right choice agrees with their accuracy in every sample; {INSTEAD}"
        )
    if any(np.abs(other - found[0]).max() > 1e-9 for other in found[1:]):
        raise InputError(
            f"{name}: its samples' right choice can be read in two ways that agree with their accuracy; {INSTEAD}"
        )
    return found[0]


@dataclasses.dataclass(frozen=True)
class _Readings:
    """Probabilities under the readings that agree with every judgement; whether any reading applied to all samples."""

    agreeing: list[np.ndarray]
    applying: bool


def _consistent(
    samples: list[Sample],
    readings: Callable[[Sample], Iterator[tuple[Hashable, Right]]],
    agrees: Callable[[Sample, Right], bool],
) -> _Readings:
    each = [dict(readings(sample)) for sample in samples]
    common = [name for name in each[0] if all(name in one for one in each)]
    kept = [name for name in common if all(agrees(s, one[name]) for s, one in zip(samples, each))]
    probs = [np.array([s.probability(one[name]) for s, one in zip(samples, each)]) for name in kept]
    return _Readings(probs, bool(common))


def _agrees(sample: Sample, right: Right) -> bool:
    return (sample.predicted in right) == (sample.judged == 1)


def _agrees_as_share(sample: Sample, right: Right) -> bool:
    return abs(sample.probability(right) - sample.judged) <= ROUNDED


def _of_target(sample: Sample) -> Iterator[tuple[Hashable, Right]]:
    yield from _meanings(sample.target, sample)


def _of_document(sample: Sample) -> Iterator[tuple[Hashable, Right]]:
    """Readings of the document's fields, and of fields inside these, whose names speak of answers."""
    for key, value in sample.document.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, content in inner:
            if LABELS.search(f"{key} {name}"):
                for meaning, right in _meanings(content, sample):
                    yield (key, name, meaning), right


def _judged(sample: Sample) -> Iterator[tuple[Hashable, Right]]:
    """What the judgement itself says: the predicted choice if it was right, of two the other if it was wrong."""
    if sample.judged == 1:
        yield "judged", frozenset([sample.predicted])
    elif len(sample.loglik) == 2:
        yield "judged", frozenset([1 - sample.predicted])


def _first_ones(sample: Sample) -> Iterator[tuple[Hashable, Right]]:
    """Several right choices come first, as in `truthfulqa_mc2`: so many that their share is the judged one."""
    firsts = [frozenset(range(n)) for n in range(1, len(sample.loglik) + 1)]
    yield "first", min(firsts, key=lambda right: abs(sample.probability(right) - sample.judged))


def _meanings(value: Any, sample: Sample) -> Iterator[tuple[str, Right]]:
    """What a label can mean: a place from zero or one, a letter, a choice's text, a list of these or of zeros and ones."""
    choices = len(sample.loglik)
    written = value if isinstance(value, str) else ""
    if written.strip().startswith("["):
        try:
            value = ast.literal_eval(written.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return
    if isinstance(value, list):
        if len(value) == choices and all(isinstance(x, int) and x in (0, 1) for x in value) and any(value):
            yield "zeros and ones", frozenset(c for c, x in enumerate(value) if x)
        parts = [dict(_meanings(x, sample)) for x in value if not isinstance(x, list)]
        for meaning in ("place", "text"):
            if parts and all(meaning in part for part in parts):
                yield f"{meaning}s", frozenset().union(*(part[meaning] for part in parts))
        return
    label = str(value).strip()
    if isinstance(value, (int, str)) and re.fullmatch(r"[0-9]{1,4}", label):
        if int(label) < choices:
            yield "place", frozenset([int(label)])
        if 1 <= int(label) <= choices:
            yield "place from one", frozenset([int(label) - 1])
    letter = label.strip("().: ")
    if re.fullmatch(r"[A-Z]", letter) and ord(letter) - ord("A") < choices:
        yield "letter", frozenset([ord(letter) - ord("A")])
    if len(set(sample.texts)) > 1 and label in sample.texts:
        yield "text", frozenset([sample.texts.index(label)])


def _parse(sample: dict, place: int, name: str, delimiter: str) -> Sample:
    answers = sample.get("filtered_resps")
    answers = answers if isinstance(answers, list) else []
    logs = [_loglik(answer) for answer in answers]
    if not logs or np.isnan(logs).any() or max(logs) > 1e-3 or max(logs) == -np.inf:
        above = f" ({max(logs):g} is above 0)" if logs and max(logs) > 1e-3 else ""
        raise InputError(f"{name}: sample {place} has no log likelihood of each choice{above}; {INSTEAD}")
    contexts, texts = _arguments(sample.get("arguments"), len(logs))
    half = len(logs) // 2
    if half >= 2 and len(logs) == 2 * half and texts[:half] == texts[half:] and set(contexts[half:]) == {""}:
        # The choices without their context come behind, for `acc_mutual_info`.
        logs, contexts, texts = logs[:half], contexts[:half], texts[:half]
    loglik = np.array(logs, np.float64)
    judged, predicted = number(sample.get("acc")), int(np.argmax(loglik))
    if judged is None:
        judged = number(sample.get("acc_norm"))
        lengths = np.array([len(text.removeprefix(delimiter)) for text in texts])
        if judged is None or len(set(texts)) < 2 or not lengths.all():
            raise InputError(
                f"{name}: sample {place} does not say whether it was answered rightly (acc); {INSTEAD}"
            )
        predicted = int(np.argmax(loglik / lengths))
    if not 0 <= judged <= 1:
        raise InputError(f"{name}: sample {place} has the accuracy {judged:g}; {INSTEAD}")
    said = str(answers[0][1]) if len(answers[0]) > 1 else ""
    document = sample.get("doc")
    return Sample(
        loglik,
        contexts,
        tuple(text.strip() for text in texts),
        sample.get("target"),
        document if isinstance(document, dict) else {},
        judged,
        predicted,
        {"True": True, "False": False}.get(said),
    )


def _loglik(answer: Any) -> float:
    """Log likelihood of an answer [log likelihood, greedy]; NaN if it is something else."""
    if not isinstance(answer, list) or not answer:
        return np.nan
    found = number(answer[0])
    return found if found is not None else -np.inf if str(answer[0]) in ("-inf", "-Infinity") else np.nan


def _arguments(given: Any, choices: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Contexts and continuations of the choices: dictionaries `gen_args_0`, …, or lists (0.4.2); empty where not told."""
    if isinstance(given, dict):
        given = [given.get(f"gen_args_{c}") for c in range(choices)]
        given = [[a.get("arg_0"), a.get("arg_1")] if isinstance(a, dict) else None for a in given]
    if not isinstance(given, list) or len(given) != choices:
        return (), ()
    pairs = [
        a for a in given if isinstance(a, list) and len(a) > 1 and all(isinstance(x, str) for x in a[:2])
    ]
    return (tuple(a[0] for a in pairs), tuple(a[1] for a in pairs)) if len(pairs) == choices else ((), ())
