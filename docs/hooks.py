"""Fills pages that show what stands elsewhere, so that they cannot fall behind it.

`<!-- all of PACKAGE -->` becomes an entry for every name that PACKAGE's `__init__` lists,
`<!-- help of all commands -->` the help of each command of `iclbayes`.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_) -> str:
    """Called by MkDocs for every page."""
    markdown = re.sub(r"^<!-- all of ([\w.]+) -->$", lambda m: entries(m[1]), markdown, flags=re.MULTILINE)
    return re.sub("^<!-- help of all commands -->$", lambda m: helps(), markdown, flags=re.MULTILINE)


def entries(package: str) -> str:
    """Entries of a package: its docstring, then each public name but constants."""
    parts = [f"::: {package}\n    options:\n      members: []\n"]
    parts += [f"::: {package}.{name}\n" for name in listed(package) if not name.isupper()]
    return "\n".join(parts)


def listed(package: str) -> list[str]:
    """Names that a package's `__init__` takes from its modules, in their order."""
    path = ROOT / package.replace(".", "/")
    stub = path / "__init__.pyi"
    source = (stub if stub.exists() else path / "__init__.py").read_text()
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    return [name.asname or name.name for node in imports if node.module for name in node.names]


def helps() -> str:
    """A section with the help of each command, as the terminal shows it."""
    sys.path.insert(0, str(ROOT))
    from iclbayes.cli.main import COMMANDS

    return "\n".join(f"## {name}\n\n```text\n{told(name)}```\n" for name in COMMANDS)


def told(command: str) -> str:
    """What `iclbayes COMMAND --help` prints on a terminal of 72 columns."""
    environment = {**os.environ, "COLUMNS": "72", "NO_COLOR": "1", "TERM": "dumb"}
    words = [sys.executable, "-m", "iclbayes", command, "--help"]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
