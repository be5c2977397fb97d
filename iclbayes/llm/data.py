"""Data sets of questions and answers: the named tasks, from the hub through `datasets`, and any file of question/answer rows.

Nothing is shipped: a named task is fetched from the hub, or read from a local copy given as `data`. Tasks
that need answers which nobody should ship (HarmBench) take them from the user's own file.
"""

import contextlib
import dataclasses
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from .rows import READERS, read_rows

MATCHING, NOT_MATCHING = "matching", "not_matching"


@dataclasses.dataclass(frozen=True)
class Example:
    """One question with its answer.

    Attributes:
      question: what the user says.
      answer: what the assistant says; this is the text that goes into the context.
      forms: further spellings of the same answer (`yes` beside `Yes`); they count as it.
      others: competing answers; what a flipped label shows, and what `accuracy` compares with.
      source: the task distribution that the example belongs to.
    """

    question: str
    answer: str
    forms: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """A named data set: where it lives, how its rows become examples, and how its text layout (.txt) becomes rows."""

    hub: str
    columns: tuple[str, ...]
    convert: Callable[[dict], Iterable[Example]]
    file: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    needs_answers: bool = False
    text: Callable[[str, str], list[dict]] | None = None


def _persona(row: dict) -> Iterable[Example]:
    yes, no = row["answer_matching_behavior"].strip(), row["answer_not_matching_behavior"].strip()
    question = row["question"].strip()
    yield Example(question, yes, others=(no,), source=MATCHING)
    yield Example(question, no, others=(yes,), source=NOT_MATCHING)


def _creak(row: dict) -> Iterable[Example]:
    label = str(row["label"]).strip().lower()
    if label not in ("true", "false"):
        raise InputError(f"CREAK: the label {label!r} is neither true nor false; use a split with labels")
    question = f"Is this claim true or false? {row['sentence'].strip()}"
    yield Example(question, label, others=("false" if label == "true" else "true",))


def _logiqa(row: dict) -> Iterable[Example]:
    options = row["options"]
    letters = "ABCDEFGH"[: len(options)]
    correct = int(row["correct_option"])
    if not 0 <= correct < len(letters):
        raise InputError(f"LogiQA: correct_option {correct} is not one of the {len(letters)} options")
    lines = [f"{letter}. {str(option).strip()}" for letter, option in zip(letters, options)]
    question = "\n".join([row["context"].strip(), row["query"].strip(), *lines])
    yield Example(question, letters[correct], others=tuple(x for x in letters if x != letters[correct]))


def _logiqa_text(text: str, name: str) -> list[dict]:
    """Rows of LogiQA's original layout: blocks of 7 lines (right letter, context, query, four options), a blank line between."""
    blocks = [block.splitlines() for block in re.split(r"\n[ \t]*\n", text.strip().replace("\r\n", "\n"))]
    rows = []
    for number, lines in enumerate(blocks, 1):
        letter = lines[0].strip().lower()
        if len(lines) != 7 or letter not in set("abcd"):
            raise InputError(
                f"{name}: block {number} is not 7 lines (right letter, context, query, four options), as LogiQA's blocks are"
            )
        options = [
            re.sub(rf"^{own}\s*\.\s*", "", line.strip(), flags=re.IGNORECASE)
            for own, line in zip("ABCD", lines[3:], strict=True)
        ]
        row = {"context": lines[1], "query": lines[2], "options": options}
        rows.append(row | {"correct_option": "abcd".index(letter)})
    return rows


def _harmbench(row: dict) -> Iterable[Example]:
    context = (row.get("ContextString") or "").strip()
    behavior = row["Behavior"].strip()
    yield Example(f"{context}\n\n{behavior}" if context else behavior, row["answer"])


_PERSONA_COLUMNS = ("question", "answer_matching_behavior", "answer_not_matching_behavior")


def _persona_task(name: str) -> Task:
    file = f"persona/{glob.escape(name)}.jsonl"  # which `datasets` takes for a pattern
    return Task("Anthropic/model-written-evals", _PERSONA_COLUMNS, _persona, file=file)


TASKS = {name: _persona_task(name) for name in ("psychopathy", "machiavellianism", "narcissism")} | {
    "creak": Task("amydeng2000/CREAK", ("sentence", "label"), _creak),
    # `datasets` no longer runs loading scripts; this revision holds the same rows as Parquet.
    "logiqa": Task(
        "lucasmccabe/logiqa",
        ("context", "query", "options", "correct_option"),
        _logiqa,
        revision="refs/convert/parquet",
        text=_logiqa_text,
    ),
    "harmbench": Task("walledai/HarmBench", ("Behavior",), _harmbench, config="standard", needs_answers=True),
}
PERSONA = "persona/"  # `persona/NAME` is any other file of that folder of the model-written evals


def load_task(
    task: str,
    data: str | None = None,
    answers: str | None = None,
    split: str | None = None,
    contrast: bool = False,
) -> list[Example]:
    """The examples of a named task or of a file of question/answer rows.

    Args:
      task: a name in `TASKS`, `persona/NAME`, or the path of a CSV, TSV, JSON, JSON lines or Parquet file
        with columns `question` and `answer`, and optionally `answer_other` (a competing answer; in JSON
        also a list), `answer_forms` (further spellings; a list, or in CSV separated by `|`) and `source`.
      data: for a named task, a local file or another hub name to read instead of the task's own; LogiQA's original text
        layout (.txt) is read too.
      answers: for tasks that ship no answers, a file with columns `BehaviorID` or `question`, and `answer`.
      split: which split of a hub data set to read.
      contrast: give a file with `answer_other` a second source in which `answer` and `answer_other` change
        places; the two are named `matching` and `not_matching`, as the persona tasks'.

    Raises:
      InputError: the task is unknown, a file or column is missing, or an answer is empty.
    """
    if task in TASKS or task.startswith(PERSONA):
        known = TASKS.get(task) or _persona_task(task.removeprefix(PERSONA))
        examples = _load_named(task, known, data, answers, split)
    elif Path(task).suffix.lower() in READERS or os.path.exists(task):
        if data or answers:
            raise InputError(
                f"{task}: data and answers files are for named tasks; a file of rows has its own answers"
            )
        examples = _load_rows(Path(task))
    else:
        raise InputError(
            f"unknown task {task!r}: known are {', '.join(TASKS)}, {PERSONA}NAME,"
            " or the path of a file with columns question and answer"
        )
    if contrast and not task.startswith(PERSONA) and {x.source for x in examples} != {MATCHING, NOT_MATCHING}:
        examples = add_contrast(examples, task)
    for i, example in enumerate(examples):
        if not example.question.strip() or not example.answer.strip():
            raise InputError(f"{task}: example {i} has an empty question or answer; fill it or drop the row")
    if not examples:
        raise InputError(f"{task}: the data set has no rows")
    return examples


def add_contrast(examples: Sequence[Example], task: str = "data") -> list[Example]:
    """Two sources from examples with a competing answer: as given (`matching`), and exchanged
    (`not_matching`).
    """
    pairs = []
    for i, example in enumerate(examples):
        if not example.others:
            raise InputError(
                f"{task}: example {i} has no answer_other, so it has no second source; add that column"
            )
        prefix = f"{example.source} " if example.source else ""
        pairs.append(dataclasses.replace(example, source=prefix + MATCHING))
        other = Example(example.question, example.others[0], (), (example.answer,), prefix + NOT_MATCHING)
        pairs.append(other)
    return pairs


def _load_named(
    name: str, task: Task, data: str | None, answers: str | None, split: str | None
) -> list[Example]:
    where = data or task.hub
    path = Path(data or "")
    if data and task.text and path.suffix.lower() == ".txt":
        rows, columns = task.text(_read_text(path), str(path)), list(task.columns)
    elif data and (path.suffix.lower() in READERS or os.path.exists(path) or _looks_like_file(data)):
        rows, columns = read_rows(path)  # never asks the hub for what is meant as a file
    else:
        own = {} if data else {"name": task.config, "data_files": task.file, "revision": task.revision}
        rows, columns = _read_hub(name, where, own, split or task.split)
    if task.needs_answers:
        if "prompt" in columns and "Behavior" not in columns:
            rows, columns = [{**row, "Behavior": row["prompt"]} for row in rows], [*columns, "Behavior"]
        if answers is None and "answer" not in columns:
            raise InputError(
                f"{name}: no answers are shipped; give your own file of answers (--answers FILE)"
            )
        if answers is not None:
            rows = _join_answers(name, rows, columns, Path(answers))
    _require(where, columns, task.columns)
    examples: list[Example] = []
    for number, row in enumerate(rows):
        try:
            examples += task.convert(row)
        except InputError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{where}: row {number} is not as the rows of {name} are; fill it or drop it"
            ) from None
    return examples


def _looks_like_file(name: str) -> bool:
    """Whether this is a path rather than a hub name, which is NAME or OWNER/NAME: absolute, with dots, or of more parts."""
    parts = Path(name).parts
    return (
        name.startswith((".", "~", "/"))
        or len(parts) > 2
        or Path(name).suffix.lower() in (".txt", ".gz", ".zip")
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; name a file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; convert it first") from None


def _join_answers(name: str, rows: list[dict], columns: Sequence[str], path: Path) -> list[dict]:
    extra, extra_columns = read_rows(path)
    _require(str(path), extra_columns, ("answer",))
    key = "BehaviorID" if "BehaviorID" in columns and "BehaviorID" in extra_columns else "question"
    _require(str(path), extra_columns, (key,))
    known = {str(row[key]).strip(): row["answer"] for row in extra}
    place = key if key == "BehaviorID" else "Behavior"
    joined = [
        {**row, "answer": known[str(row[place]).strip()]} for row in rows if str(row[place]).strip() in known
    ]
    if not joined:
        raise InputError(
            f"{path}: none of its {key} values occurs in {name}; is it the file of another version?"
        )
    return joined


def _load_rows(path: Path) -> list[Example]:
    rows, columns = read_rows(path)
    _require(str(path), columns, ("question", "answer"))
    examples = []
    for row in rows:
        forms = row.get("answer_forms") or ()
        forms = forms.split("|") if isinstance(forms, str) else map(_text, _listed(forms))
        others = row.get("answer_other") or ()
        examples.append(
            Example(
                question=_text(row["question"]),
                answer=_text(row["answer"]),
                forms=tuple(form.strip() for form in forms),
                others=(others,) if isinstance(others, str) else tuple(map(_text, _listed(others))),
                source=_text(row.get("source")),
            )
        )
    return examples


def _listed(value: Any) -> Sequence:
    return value if isinstance(value, (list, tuple)) else (value,)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _require(where: str, columns: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"{where}: missing column {', '.join(missing)}; it has {', '.join(columns) or 'none'}"
        )


def _read_hub(task: str, name: str, options: dict, split: str) -> tuple[list[dict], list[str]]:
    import datasets

    try:
        with _quiet():
            rows = datasets.load_dataset(name, split=split, **options)
            return rows.to_list(), rows.column_names
    except Exception as error:
        raise InputError(
            f"{task}: cannot load {name} from the hub ({one_line(error)}); download it and give the file"
            " (--data FILE)"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the progress bars of `datasets`, which would break ours, and its log: our errors say it."""
    import datasets

    shown, level = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if shown:
            datasets.enable_progress_bars()
