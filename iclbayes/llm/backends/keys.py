"""The key of a server: read from the environment, checked before it is used, and hidden in all that is said."""

import base64
import json
import os
import re
from urllib.parse import quote

from ...errors import InputError

WINDOW = 8  # so many characters of a key in a row, in any of its forms, are hidden
HIDDEN = "<key>"


def read_key(variable: str) -> str | None:
    """The key in an environment variable, without white space around it; None if there is none.

    Raises:
      InputError: it cannot be the name of a variable, or what it holds cannot be sent as a key. Neither is said.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise InputError(
            "--key-variable is no name of an environment variable; give the variable that holds the key, not the key"
        )
    key = os.environ.get(variable, "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise InputError(
            f"{shown_variable(variable)} holds a line break, a space or another character that no key has; set it again"
        )
    return key or None


def shown_variable(variable: str) -> str:
    """The variable as it may be printed: one not written in capitals might be a key given by mistake."""
    return f"${variable}" if re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable) else "the variable of --key-variable"


class Hider:
    """Replaces keys in texts, whole or in part, as they are or quoted, escaped, in hexadecimal digits or in base64."""

    def __init__(self, *secrets: str | None):
        self._forms = [form for secret in secrets if secret for form in _forms(secret)]
        self._pieces = {form[i : i + WINDOW] for form in self._forms for i in range(len(form) - WINDOW + 1)}

    def hide(self, text: str) -> str:
        """The text with `<key>` where the key was."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        covered = bytearray(len(text))
        for i in range(len(text) - WINDOW + 1):
            if text[i : i + WINDOW] in self._pieces:
                covered[i : i + WINDOW] = b"\1" * WINDOW
        parts, end = [], 0
        for run in re.finditer(b"\1+", bytes(covered)):
            parts += [text[end : run.start()], HIDDEN]
            end = run.end()
        return "".join([*parts, text[end:]])


def _forms(key: str) -> list[str]:
    """The key in all its forms, longest first."""
    raw = key.encode()
    forms = {
        key,
        repr(key)[1:-1],
        json.dumps(key)[1:-1],
        quote(key, safe=""),
        quote(key),
        quote(key, safe="").lower(),
    }
    forms |= {
        raw.hex(),
        raw.hex().upper(),
        "".join(f"%{b:02X}" for b in raw),
        "".join(f"\\x{b:02x}" for b in raw),
    }
    forms |= {"".join(f"\\u{b:04x}" for b in raw), "".join(f"&#{b};" for b in raw), key[::-1]}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):  # where the key stands among the bytes that are encoded decides its letters
            first = -(-8 * shift // 6)
            for more in range(3):
                letters = encode(b"\0" * shift + raw + b"\0" * more).decode()
                whole = (8 * (shift + len(raw))) // 6
                forms.add(letters[first:whole])
    return sorted((form for form in forms if form), key=len, reverse=True)
