"""How a conversation becomes text: the model's own chat template, or `User:` / `Assistant:` lines."""

import contextlib
import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError, one_line
from .spans import CLOSE, OPEN, mark, unmark
from .template_settings import behind_what, check_arguments, pinned, read_day

Turns = Sequence[tuple[str, str]]  # (question, answer)
Template = Callable[[Turns], str]
# Days with no part in common: a template that writes the day, writes something else on one of them than on any other day.
OTHER_DAYS = (datetime.date(1999, 11, 23), datetime.date(2001, 5, 6))


def plain_template(system: str | None = None) -> Template:
    """`User: …` and `Assistant: …` lines, a blank line between turns; for base models."""

    def render(turns: Turns) -> str:
        head = f"{system.strip()}\n\n" if system else ""
        return (
            head
            + "\n\n".join(f"User: {question}\nAssistant: {answer}" for question, answer in turns)
            + "\n\n"
        )

    return render


def chat_template(
    tokenizer: Any,
    system: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    source: str | None = None,
    ask: bool = False,
) -> Template:
    """The chat template that the tokenizer carries.

    Args:
      system: a message in front of the conversation.
      arguments: further arguments of the template, such as `enable_thinking`.
      source: the text of the template, where it is not the tokenizer's own.
      ask: leave out the last answer and end with the template's generation prompt.

    Raises:
      InputError: the tokenizer has none, it does not read an argument, or it refuses the conversation.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"{_name(tokenizer)} has no chat template; use the plain one (--template plain)")
    more = dict(arguments or {})
    check_arguments(more, tokenizer, _name(tokenizer))

    def render(turns: Turns) -> str:
        messages = [{"role": "system", "content": system}] if system else []
        for question, answer in turns:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        messages = messages[:-1] if ask else messages
        try:
            return tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=ask, chat_template=source, **more
            )
        except Exception as error:
            # Templates raise whatever their author chose, mostly jinja2's TemplateError.
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"the chat template of {_name(tokenizer)} refuses the conversation: {reason}"
            ) from None

    return render


def choose_template(
    tokenizer: Any,
    kind: str = "auto",
    system: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    date: str | None = None,
) -> tuple[Template, dict]:
    """The template of that kind, and a description to keep beside the curves.

    `auto` is the model's own chat template if it has one, else the plain one.

    Args:
      arguments: further arguments of the chat template.
      date: the day that the chat template is told, YYYY-MM-DD, by default today.

    Returns:
      The template, and `kind, sha256, system, arguments`; of chat templates also `date`, None where the template writes none,
      and where answers are scored behind something else than the template's own generation prompt, `scored_behind` and
      `generation_prompt`.

    Raises:
      InputError: an unknown kind; arguments or a date for a template that takes none.
    """
    if kind not in ("auto", "chat", "plain"):
        raise InputError(f"unknown template {kind!r}: known are auto, chat and plain")
    if kind == "auto":
        kind = "chat" if getattr(tokenizer, "chat_template", None) else "plain"
    day, found = read_day(date), {}
    if kind == "plain":
        for option, given in (("--template-arg", arguments), ("--date", date)):
            if given:
                raise InputError(f"{option} is for chat templates, and the plain one is used; leave it out")
        template, source = plain_template(system), "User: {question}\nAssistant: {answer}\n\n"
    else:
        source = str(tokenizer.chat_template)
        template, found = _told_the_day(tokenizer, system, arguments, day)
        if date is not None and found["date"] != date:
            what = "writes no date" if found["date"] is None else "works out what it asks of the clock"
            raise InputError(f"--date: the chat template of {_name(tokenizer)} {what}; leave it out")
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    about = {"kind": kind, "sha256": digest, "system": system, "arguments": dict(arguments or {})}
    return template, about | found


def _told_the_day(
    tokenizer: Any, system: str | None, arguments: Mapping[str, Any] | None, day: datetime.date
) -> tuple[Template, dict]:
    """The chat template on that day; the day if it writes it, and what answers are scored behind, if that is something else."""
    chat_template(tokenizer, system, arguments)  # says what is missing
    try:
        source = tokenizer.get_chat_template()
    except ValueError as error:  # several templates, none of them the default
        raise InputError(f"{_name(tokenizer)} has no one chat template: {one_line(error)}") from None

    def on(day: datetime.date, ask: bool = False) -> Template:
        return chat_template(tokenizer, system, arguments, pinned(source, day), ask)

    found: dict[str, Any] = {"date": None}
    template = on(day)
    with contextlib.suppress(InputError):  # who renders the conversation says what is wrong
        probe = [("Why?", "So.")]
        if pinned(source, day) is None:
            found["date"] = datetime.date.today().isoformat()
        elif any(template(probe) != on(other)(probe) for other in OTHER_DAYS):
            found["date"] = day.isoformat()
        found |= _other_prefix(tokenizer, template, on(day, True))
    return template, found


def _other_prefix(tokenizer: Any, template: Template, ask: Template) -> dict[str, str]:
    """What answers are scored behind and the generation prompt, where a template has one and the two differ."""
    if "add_generation_prompt" not in str(tokenizer.chat_template):
        return {}
    pair = behind_what(  # of two turns, for some templates write the last one differently
        lambda question, answer: template([(question, answer), ("Why?", "So.")]),
        lambda question: ask([(question, "")]),
    )
    return (
        {} if pair is None or pair[0] == pair[1] else {"scored_behind": pair[0], "generation_prompt": pair[1]}
    )


def render(turns: Turns, template: Template, name: str = "the template") -> tuple[str, list[tuple[int, int]]]:
    """Renders a conversation and finds its answers.

    The last turn is rendered twice, and its second copy is no answer: templates of reasoning models write
    the last turn
    of a conversation differently, and every scored answer should be written the same way.

    Returns:
      The text, copy included, and the `[start, stop)` characters of every answer.

    Raises:
      InputError: the template does not contain the answers verbatim, or writes early turns differently
        later on.
    """
    for i, (question, answer) in enumerate(turns):
        if OPEN in question + answer or CLOSE in question + answer:
            raise InputError(
                f"example {i} contains the character U+E000 or U+E001, which marks answers here; take it out"
            )
    padded = [*turns, turns[-1]]
    plain = template(padded)
    marked = template([(question, mark(answer)) for question, answer in padded])
    try:
        text, spans = unmark(marked)
    except ValueError:
        text, spans = "", []
    if len(spans) != len(padded):
        missing = next((a.strip() for _, a in padded if mark(a).strip() not in marked), padded[0][1].strip())
        raise InputError(
            f"{name} cannot be used: it does not contain the answer {missing!r} verbatim ({len(spans)} of"
            f" {len(padded)}"
            " answers found; does it escape, shorten or drop earlier answers?); use --template plain"
        )
    if text != plain:
        place = next((i for i, (x, y) in enumerate(zip(text, plain)) if x != y), min(len(text), len(plain)))
        raise InputError(
            f"{name} cannot be used: it does not contain the answers verbatim, it writes"
            f" {plain[place : place + 20]!r}"
            f" where {text[place : place + 20]!r} was given; use --template plain"
        )
    for (a, b), (_, answer) in zip(spans, padded):
        if text[a:b] != answer.strip():
            raise InputError(
                f"{name} cannot be used: it writes {text[a:b]!r} where the answer is {answer.strip()!r}; use"
                " --template plain"
            )
    spans = spans[: len(turns)]
    if len(turns) > 1:
        first = template([turns[0], turns[0]])
        if first[: spans[0][1]] != text[: spans[0][1]]:
            raise InputError(
                f"{name} cannot be used: it writes the first turn differently when others follow"
            )
    return text, spans


def _name(tokenizer: Any) -> str:
    return getattr(tokenizer, "name_or_path", "") or "the tokenizer"
