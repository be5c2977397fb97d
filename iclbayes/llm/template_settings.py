"""What is given to a chat template beside the conversation: arguments of its author's choice, and the day."""

import datetime
import difflib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError

CLOCK = "strftime_now"  # what templates call to write the day


def read_arguments(words: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` words as arguments: true, false, null and numbers are such, anything else is text.

    >>> read_arguments(["enable_thinking=false", "date_string=26 Jul 2024"])
    {'enable_thinking': False, 'date_string': '26 Jul 2024'}

    Raises:
      InputError: a word without a name, or a name that is given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"--template-arg {word!r}: write NAME=VALUE, as in enable_thinking=false")
        if name in found:
            raise InputError(f"--template-arg {name} is given twice; give it once")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def check_arguments(arguments: Mapping[str, Any], tokenizer: Any, whose: str) -> None:
    """Raises InputError for an argument that the tokenizer's chat template never reads, or that is no matter of templates."""
    source = str(tokenizer.chat_template)
    ours = {*inspect.signature(tokenizer.apply_chat_template).parameters, "messages", CLOCK}
    words = sorted(set(re.findall(r"[A-Za-z_]\w*", source)))
    for name in arguments:
        if name in ours:
            raise InputError(
                f"--template-arg {name}: this is set here and is no argument of the template's own"
            )
        if name not in words:
            near = difflib.get_close_matches(name, words, 1, 0.75)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise InputError(f"--template-arg {name}: the chat template of {whose} does not read it; {hint}")


def read_day(text: str | None) -> datetime.date:
    """The day that is written YYYY-MM-DD; today for None.

    Raises:
      InputError: no such day.
    """
    try:
        return datetime.date.today() if text is None else datetime.date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--date {text!r} is no day; write YYYY-MM-DD, as in 2026-07-26") from None


def pinned(source: str, day: datetime.date) -> str | None:
    """A chat template to which it is always this day, at midnight; None where it asks for the time in a form that it works out.

    Templates call `strftime_now(FORM)`. `transformers` lets no function be given to them, so a macro of that name is put in
    front, with what each form that stands in the source is on that day.
    """
    forms = re.findall(CLOCK + r"""\s*\(\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\)""", source)
    if len(forms) < len(re.findall(CLOCK + r"\s*\(", source)):
        return None
    now = datetime.datetime.combine(day, datetime.time())
    known = json.dumps({form: now.strftime(form) for form in ("".join(pair) for pair in forms)})
    return (
        f"{{% macro {CLOCK}(form) %}}{{{{ {known}[form] }}}}{{% endmacro %}}\n{source}" if forms else source
    )


def behind_what(
    render: Callable[[str, str], str], ask: Callable[[str], str], mark: str = "\ue002"
) -> tuple[str, str] | None:
    """(what stands between a question and its answer, what the template writes there for a model to go on).

    Args:
      render: question, answer → the conversation's text.
      ask: question → the text with the generation prompt.

    Returns:
      The two, white space at their ends left out, or None where a text lacks the question or the answer.
    """
    question, answer = f"Q{mark}", f"A{mark}"
    whole, begun = render(question, answer), ask(question)
    start, stop = whole.find(question), whole.rfind(answer)
    if start < 0 or stop < start or question not in begun:
        return None
    shown = whole[start + len(question) : stop]
    return shown.rstrip(" "), begun[begun.rindex(question) + len(question) :].rstrip(" ")
