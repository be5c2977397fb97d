"""Disks that are full: a limit on the size of the files that a process may write, and every command that writes under it.

Beyond the limit the system refuses further bytes (EFBIG), just as a full disk does (ENOSPC). Python ignores the signal that comes
with it (SIGXFSZ).
"""

import contextlib
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

GOOD = ("good.csv", "--group-by", "model")
QUICK = ("--law", "power", "--method", "laplace", "--draws", "50")
WRITERS: dict[
    str, tuple[tuple[str, ...], tuple[str, ...]]
] = {  # the arguments, and the files that they write
    "fit to CSV": (("fit", *GOOD, "--law", "power", "--out", "f.csv"), ("f.csv",)),
    "fit to Parquet": (("fit", *GOOD, "--law", "power", "--out", "f.parquet"), ("f.parquet",)),
    "fit in chunks to CSV": (
        ("fit", *GOOD, "--law", "power", "--chunk-rows", "6", "--out", "k.csv"),
        ("k.csv",),
    ),
    "fit in chunks to Parquet": (
        ("fit", *GOOD, "--law", "power", "--chunk-rows", "6", "--out", "k.parquet"),
        ("k.parquet",),
    ),
    "fit to PNG": (("fit", *GOOD, "--law", "power", "--out", "g.csv", "--plot", "g.png"), ("g.csv", "g.png")),
    "fit to PDF": (("fit", *GOOD, "--law", "power", "--out", "h.csv", "--plot", "h.pdf"), ("h.csv", "h.pdf")),
    "fit to SVG": (("fit", *GOOD, "--law", "power", "--out", "i.csv", "--plot", "i.svg"), ("i.csv", "i.svg")),
    "compare": (
        ("compare", *GOOD, "--law", "power", "--out", "t.csv", "--plot", "t.png"),
        ("t.csv", "t.png"),
    ),
    "posterior to netCDF": (("posterior", *GOOD, *QUICK, "--out", "d.nc"), ("d.nc",)),
    "posterior": (
        ("posterior", *GOOD, *QUICK, "--level", "0.5", "--forecast", "p.csv", "--plot", "p.pdf"),
        ("shots_to_reach.csv", "p.csv", "p.pdf"),
    ),
    "contrast": (
        ("contrast", "good.csv", "--pair", "variant", "base", "chat", *QUICK[2:], "--out", "m.csv"),
        ("m.csv", "m_shots.csv"),
    ),
    "report": (("report", *GOOD, *QUICK, "--out", "r.html"), ("r.html",)),
    "example": (("example", "ex"), ("ex/synthetic.csv", "ex/unsafe_answers.csv")),
    "import-lm-eval": (("import-lm-eval", "ex/lm_eval", "--out", "e.csv"), ("e.csv", "e.json")),
}


@contextlib.contextmanager
def file_size_limit(most: int) -> Iterator[None]:
    """While the block runs, no file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder: Path, names: Sequence[str]) -> dict[str, bytes | None]:
    """Bytes of files by name, None for those that are not there."""
    paths = {name: folder / name for name in names}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def changed(before: dict[str, bytes | None], after: dict[str, bytes | None], limit: int) -> list[str]:
    """Names of files that are neither as they were nor, within the limit, written anew and whole."""
    return [
        name
        for name, content in after.items()
        if content != before[name] and (content is None or len(content) > limit or not _whole(name, content))
    ]


def _whole(name: str, content: bytes) -> bool:
    """Whether a file that differs at each writing (it holds the time) has its end."""
    ends = {".pdf": b"%%EOF", ".svg": b"</svg>", ".html": b"</html>"}
    return content.rstrip().endswith(ends.get(Path(name).suffix, b"\0"))
