"""Programs on disk, so that a new process need not trace, lower and compile again what an earlier one did.

Of a short job such as six posteriors, tracing and lowering are most of the time, and JAX's compilation cache spares only what
comes after them. What is kept here is, on a CPU, what the compiler made of a program (`executables`), elsewhere the result of
`jax.export`, a program in portable form (StableHLO). A file's name is a digest of all that the program depends on: the sources of
iclbayes, the versions of Python, JAX, NumPy, numpyro and optax, the platform, the precision, the name of the program with
everything that it closes over, and the shapes of its arguments; of a compiled one the processor and the compiler's options too.
What cannot be described without doubt (a law or an optimizer from elsewhere) is not kept. No fault of a file is more than a lost
shortcut: damaged files and those that another user may write are passed over and replaced, old ones are removed.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import marshal
import os
import platform
import stat
import time
import types
from collections.abc import Callable, Hashable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import executables
from .errors import InputError
from .files import atomic_path

KNOWN = (
    "builtins",
    "collections",
    "functools",
    "iclbayes",
    "jax",
    "jaxlib",
    "numpy",
    "numpyro",
    "optax",
)  # their code has a version
MAGIC = b"iclbayes program 1\n"
LONG = 60 * 86_400  # seconds that a file is kept
# Settings of JAX that change what is traced.
TRACED_WITH = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_threefry_partitionable",
)


class NotStable(Exception):
    """A value that has no description by which another process would know it again."""


class ProgramStore:
    """A folder of programs.

    Attributes:
      folder: where they are; made when the first one is written.
      loaded, written: how many this process read and wrote.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.loaded = self.written = 0

    def program(
        self,
        name: Hashable,
        function: Callable,
        arguments: Any,
        settings: Hashable,
        compiled: Callable[[jax.stages.Lowered], jax.stages.Compiled],
        options: Hashable = None,
    ) -> tuple[Callable[..., list], Any] | None:
        """`function` compiled for the shapes of `arguments`, from disk as far as it is there, else traced and put there.

        Args:
          name: stands for the function and all that it closes over.
          function: takes and returns pytrees of arrays.
          arguments: pytree of `jax.ShapeDtypeStruct`.
          settings: what else the program depends on (its precision).
          compiled: compiles a lowered program.
          options: what the compiled program depends on beside that: how it is compiled.

        Returns:
          (the program of the flat arrays, the structure of what it returns), or None for one that cannot be kept.
        """
        leaves, structure = jax.tree.flatten(arguments)
        try:
            shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
            settings = (settings, *(str(getattr(jax.config, known, None)) for known in TRACED_WITH))
            key = described((code_version(), jax.default_backend(), settings, name, str(structure), shapes))
        except NotStable:
            return None
        portable = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.program"
        ready = self.folder / f"{executables.name(key + described(options))}.machine"
        usable = executables.usable()

        def make() -> tuple[Callable[..., list], Any] | None:
            jitted, outcome = _flat(function, structure)
            lowered = jitted.lower(*leaves)
            try:
                text = encoded(_numbered(outcome()))
            except NotStable:
                return None
            if not usable or "custom_call" in lowered.as_text():
                exported = self._export(portable, jitted, leaves, text)
                return exported and (compiled(jax.jit(exported.call).lower(*leaves)), outcome())
            with executables.kept_elsewhere():
                program = compiled(lowered)
            with contextlib.suppress(ValueError):
                self.written += self._write(ready, text, executables.to_bytes(program))
            return program, outcome()

        found = _read(ready, functools.partial(_loaded, len(leaves))) if usable else None
        if found is not None:
            self.loaded += 1
            return executables.or_else(found[0], lambda: (make() or found)[0]), found[1]
        exported = _read(portable, _exported)
        if exported is None:
            return make()
        self.loaded += 1
        return compiled(jax.jit(exported[0].call).lower(*leaves)), exported[1]

    def _export(self, path: Path, jitted: Any, leaves: list, text: Any) -> Any:
        """The program in portable form, kept in a file; None if it has no such form."""
        from jax import export  # as long to import as a program takes to read

        try:
            exported = export.export(jitted)(*leaves)
            body = bytes(exported.serialize())
        except (NotImplementedError, ValueError):
            return None
        self.written += self._write(path, text, body)
        return exported

    def _write(self, path: Path, text: Any, body: bytes) -> bool:
        """A file for `_read`, and whether it could be written: a full disk or a locked folder costs the next process its time."""
        content = json.dumps(text).encode() + b"\n" + body
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.written:
                _forget(path.parent)
            with atomic_path(path, private=True) as temporary:
                temporary.write_bytes(MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        except (OSError, InputError):
            return False
        return True


def _forget(folder: Path) -> None:
    """Removes files of the store that were written long ago: of programs that are still in use new ones are soon there."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.suffix in (".machine", ".program") and path.stat().st_mtime < time.time() - LONG:
                path.unlink()


def _flat(function: Callable, structure: Any) -> tuple[Any, Callable[[], Any]]:
    """The jitted function of flat arrays, and what gives the structure of its result once it was traced."""
    outcome: list = []

    def flat(*leaves: Any) -> list:
        found, shape = jax.tree.flatten(function(*jax.tree.unflatten(structure, leaves)))
        outcome[:] = [shape]
        return found

    # No other program has this name: from JAX's own cache XLA returns one that it cannot write as bytes again.
    flat.__name__ = f"flat_{os.urandom(8).hex()}"
    return jax.jit(flat), lambda: outcome[0]


def _numbered(structure: Any) -> Any:
    """A pytree of the structure whose leaves are 0, 1, …"""
    return jax.tree.unflatten(structure, range(structure.num_leaves))


def _read(path: Path, made: Callable[[Any, bytes], Any]) -> Any:
    """`made(text, body)` of a file; None if there is none that can be trusted: whole, and of this user, written by no other."""
    try:
        with open(path, "rb") as file:
            if not _private(os.fstat(file.fileno())):
                return None
            content = file.read()
        magic, digest, rest = content[: len(MAGIC)], content[len(MAGIC) :][:64], content[len(MAGIC) + 65 :]
        if magic != MAGIC or hashlib.sha256(rest).hexdigest().encode() != digest:
            return None
        text, _, body = rest.partition(b"\n")
        return made(json.loads(text), body)
    except Exception:  # whatever is wrong with it, tracing gives the same program
        return None


def _private(found: os.stat_result) -> bool:
    """Whether a file belongs to this user (or the system's), and no other may write it; where files have no owners, always."""
    if not hasattr(os, "getuid"):
        return True
    return found.st_uid in (os.getuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _exported(text: Any, body: bytes) -> tuple[Any, Any]:
    """The exported program and the structure of what it returns."""
    from jax import export

    return export.deserialize(bytearray(body)), jax.tree.structure(decoded(text))


def _loaded(n_arguments: int, text: Any, body: bytes) -> tuple[Callable[..., list], Any]:
    """The compiled program and the structure of what it returns."""
    outcome = jax.tree.structure(decoded(text))
    return executables.from_bytes(body, n_arguments, outcome.num_leaves), outcome


@functools.cache
def code_version() -> str:
    """A digest of this package's sources and of the versions of what it traces with."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    versions = [f"{name} {metadata.version(name)}" for name in ("jax", "jaxlib", "numpy", "numpyro", "optax")]
    return " ".join([digest.hexdigest(), platform.python_version(), platform.machine(), *versions])


def described(value: Any) -> str:
    """A text that two values share only if programs made with them are the same.

    Raises:
      NotStable: the value, or something in it, is of no kind that is known here.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes):
        return f"{kind.__name__} {value!r}"
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise NotStable(kind)
        return f"array {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, jax.Device):
        return f"device {value.platform} {value.device_kind} {value.id}"
    if isinstance(
        value, types.FunctionType
    ):  # its globals are of a package whose code has a version; what it closes over is not
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        code = hashlib.sha256(marshal.dumps(value.__code__)).hexdigest()
        return f"{_module(value)} {code} {described((value.__defaults__, value.__kwdefaults__, cells))}"
    if isinstance(value, types.BuiltinFunctionType | type):
        return f"named {_named(value)}"
    label = _named(kind)
    if kind in (tuple, list) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return f"{label}({', '.join(map(described, value))})"
    if kind in (dict, collections.OrderedDict, types.MappingProxyType):
        return f"{label}({', '.join(sorted(f'{described(k)}: {described(v)}' for k, v in value.items()))})"
    if kind in (set, frozenset):
        return f"{label}({', '.join(sorted(map(described, value)))})"
    if isinstance(value, functools.partial):
        return f"{label}({described((value.func, value.args, value.keywords))})"
    if dataclasses.is_dataclass(value):
        return f"{label}({described({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})})"
    if hasattr(
        value, "gather_pytree_data_fields"
    ):  # a distribution of numpyro; their order is not the same in all processes
        names = {*value.gather_pytree_data_fields(), *value.gather_pytree_aux_fields()}
        return f"{label}({described({name: vars(value).get(name) for name in names})})"
    if hasattr(value, "tree_flatten"):  # transforms and constraints of numpyro
        return f"{label}({described(value.tree_flatten())})"
    raise NotStable(kind)


def _named(thing: Any) -> str:
    """Module and name of a class or function that has one, in a package whose code has a version."""
    name = getattr(thing, "__qualname__", "<")
    if "<" in name:
        raise NotStable(thing)
    return f"{_module(thing)}.{name}"


def _module(thing: Any) -> str:
    module = getattr(thing, "__module__", None) or ""
    if module.partition(".")[0] not in KNOWN:
        raise NotStable(thing)
    return module


def encoded(tree: Any) -> Any:
    """A pytree of whole numbers as JSON: a number, null, or [class, names of its fields or None, parts].

    Raises:
      NotStable: a node that is no tuple, list, dict or named tuple of this package.
    """
    if tree is None or isinstance(tree, int):
        return tree
    kind = type(tree)
    if kind in (tuple, list):
        return [kind.__name__, None, [encoded(part) for part in tree]]
    if kind is dict and all(isinstance(key, str) for key in tree):
        return ["dict", list(tree), [encoded(part) for part in tree.values()]]
    if isinstance(tree, tuple) and hasattr(tree, "_fields") and kind.__module__.startswith("iclbayes."):
        return [
            f"{kind.__module__}:{_named(kind)[len(kind.__module__) + 1 :]}",
            None,
            list(map(encoded, tree)),
        ]
    raise NotStable(kind)


def decoded(text: Any) -> Any:
    """What `encoded` was given."""
    if text is None or isinstance(text, int):
        return text
    label, keys, parts = text
    parts = [decoded(part) for part in parts]
    if label == "dict":
        return dict(zip(keys, parts, strict=True))
    if label in ("tuple", "list"):
        return tuple(parts) if label == "tuple" else parts
    module, _, name = label.partition(":")
    if not module.startswith("iclbayes."):
        raise ValueError(label)
    kind: Any = importlib.import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    if not (
        isinstance(kind, type)
        and issubclass(kind, tuple)
        and hasattr(kind, "_fields")
        and kind.__module__ == module
    ):
        raise ValueError(label)
    return kind(*parts)
