"""Shared set-up of the tests: the persistent compilation cache and the folder of real curves."""

from pathlib import Path

import pytest

from iclbayes.runtime import programs, use_compilation_cache

ROOT = Path(__file__).resolve().parent.parent
use_compilation_cache(ROOT / ".jax_cache")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m smoke`, files without such a test are not even imported: what they need (torch, ...) may not be installed."""
    alone = config.option.markexpr == "smoke" and collection_path.suffix == ".py"
    return True if alone and "pytest.mark.smoke" not in collection_path.read_text(encoding="utf-8") else None


@pytest.fixture(scope="session")
def real_curves() -> Path:
    """The CSV of real long-context ICL curves; skips where the shared folder is absent."""
    path = ROOT.parent / "shared" / "data" / "long_context_icl.csv"
    if not path.exists():
        pytest.skip("the folder of real curves (../shared/data) is not here")
    return path


@pytest.fixture(autouse=True, scope="module")
def drop_programs():
    """Lets go of the compiled programs of a file's tests: thousands in one process exhaust its memory maps, and XLA crashes."""
    yield
    import gc

    import jax

    programs.clear()
    jax.clear_caches()
    gc.collect()
