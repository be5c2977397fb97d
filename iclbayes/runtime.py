"""Settings of the JAX process that only entry points (scripts, command line, tests) may change."""

import os
from pathlib import Path

import jax


def use_compilation_cache(directory: str | os.PathLike | None = None) -> Path:
    """Turns on JAX's persistent compilation cache, so that a second run of the same job does not compile again.

    The folder is `directory`, else `$JAX_COMPILATION_CACHE_DIR`, else `~/.cache/iclbayes/jax`.
    Returns the folder.
    """
    chosen = directory or os.environ.get("JAX_COMPILATION_CACHE_DIR") or "~/.cache/iclbayes/jax"
    path = Path(chosen).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return path
