"""Models as single GGUF files, which `transformers` reads with the packages gguf and accelerate: weights are turned back from
their quantised form into plain numbers, tokenizer and chat template come with them."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from ...errors import InputError

NEEDED = ("gguf", "accelerate")
MAGIC = b"GGUF"


def source(name: str) -> tuple[str, dict[str, Any]]:
    """Where `from_pretrained` finds a model: (folder or hub name, further arguments).

    Args:
      name: hub name, folder, GGUF file, or a folder that holds a GGUF file and no config.json.

    Raises:
      InputError: a file that is not GGUF, several to choose from, or a package that is not installed.
    """
    path = Path(name)
    if os.path.isdir(path):
        found = sorted(path.glob("*.gguf"))
        if not found or (path / "config.json").exists():
            return name, {}
        if len(found) > 1:
            raise InputError(
                f"{name}: holds {len(found)} GGUF files; name one, such as --model {path / found[0].name}"
            )
        path = found[0]
    elif path.suffix.lower() != ".gguf":
        if os.path.isfile(path):
            raise InputError(f"{name}: is a file; give a hub name, a folder, or a GGUF file (.gguf)")
        return name, {}
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; name a GGUF file") from None
    if magic != MAGIC:
        raise InputError(f"{path}: is no GGUF file (it does not begin with GGUF); fetch it again")
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"{path}: GGUF files need the package {package}; run: pip install 'iclbayes[llm]'"
            )
    return os.fspath(path.parent), {"gguf_file": path.name}
