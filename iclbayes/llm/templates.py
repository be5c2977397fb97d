"""How a conversation becomes text: the model's own chat template, or `User:` / `Assistant:` lines."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InputError
from .spans import CLOSE, OPEN, mark, unmark

Turns = Sequence[tuple[str, str]]  # (question, answer)
Template = Callable[[Turns], str]


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


def chat_template(tokenizer: Any, system: str | None = None) -> Template:
    """The chat template that the tokenizer carries.

    Raises:
      InputError: the tokenizer has none, or the template refuses the conversation.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"{_name(tokenizer)} has no chat template; use the plain one (--template plain)")

    def render(turns: Turns) -> str:
        messages = [{"role": "system", "content": system}] if system else []
        for question, answer in turns:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        try:
            return tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:
            # Templates raise whatever their author chose, mostly jinja2's TemplateError.
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"the chat template of {_name(tokenizer)} refuses the conversation: {reason}"
            ) from None

    return render


def choose_template(tokenizer: Any, kind: str = "auto", system: str | None = None) -> tuple[Template, dict]:
    """The template of that kind, and a description to keep beside the curves.

    `auto` is the model's own chat template if it has one, else the plain one.
    """
    if kind not in ("auto", "chat", "plain"):
        raise InputError(f"unknown template {kind!r}: known are auto, chat and plain")
    if kind == "auto":
        kind = "chat" if getattr(tokenizer, "chat_template", None) else "plain"
    template = chat_template(tokenizer, system) if kind == "chat" else plain_template(system)
    source = str(tokenizer.chat_template) if kind == "chat" else "User: {question}\nAssistant: {answer}\n\n"
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    return template, {"kind": kind, "sha256": digest, "system": system}


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
