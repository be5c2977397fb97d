"""Fills the API pages: a line `<!-- all of PACKAGE -->` becomes an entry for every name that PACKAGE's `__init__` lists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_) -> str:
    """Called by MkDocs for every page."""
    return re.sub(r"^<!-- all of ([\w.]+) -->$", lambda m: entries(m[1]), markdown, flags=re.MULTILINE)


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
