"""Public functions say the types of what they take and give; a type checker cannot tell that they do not."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import iclbayes

PACKAGE = Path(iclbayes.__file__).parent


def public_functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """(name, definition, whether it is a method) of what is public, less methods that take their types from a base class."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            own = all(ast.unparse(base) in ("NamedTuple", "Protocol") for base in node.bases)
            yield from public_functions(node.body, f"{node.name}.") if own else ()
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield prefix + node.name, node, bool(prefix)


def bare(function: ast.FunctionDef, method: bool) -> list[str]:
    """What has no annotation: arguments, and `return`."""
    a = function.args
    arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    static = any(ast.unparse(d) == "staticmethod" for d in function.decorator_list)
    found = [x.arg for x in arguments[method and not static :] if x.annotation is None]
    return found + ["return"] * (function.returns is None)


def test_bare_arguments_are_found():
    text = "class A:\n  def f(self, x, *, y: int, **more): ...\nclass B(A):\n  def f(self, x): ...\ndef g(x: int) -> int: ..."
    found = [(name, bare(f, method)) for name, f, method in public_functions(ast.parse(text).body)]
    assert found == [("A.f", ["x", "more", "return"]), ("g", [])]


@pytest.mark.parametrize(
    "folder", sorted({p.parent.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")})
)
def test_public_functions_are_annotated(folder):
    for path in (PACKAGE / folder).glob("*.py"):
        for name, function, method in public_functions(ast.parse(path.read_text(encoding="utf-8")).body):
            assert not bare(function, method), f"{path.relative_to(PACKAGE)}: {name}"
