"""Files of the user are never written over, and folders of the user never removed, without being asked to."""

import json
import os

import pandas as pd
import pytest

from iclbayes import InputError
from iclbayes.cli.main import main
from iclbayes.outputs import FITS, FORECAST, MARKED, check_outputs, is_ours
from iclbayes.plots import save
from iclbayes.stream import fit_stream

ROWS = {
    "model": ["a"] * 4 + ["b"] * 4,
    "shots": [0, 1, 2, 4] * 2,
    "prob": [0.1, 0.3, 0.4, 0.6, 0.2, 0.3, 0.3, 0.5],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(ROWS).to_csv("curves.csv", index=False)
    return tmp_path


def fails(capsys, *arguments):
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("iclbayes: error: ") and error.count("\n") == 1, error
    return error


COMMANDS = {
    "fits.csv": ["fit", "curves.csv"],
    "mine.parquet": ["fit", "curves.csv", "--out", "mine.parquet"],
    "picture.png": ["fit", "curves.csv", "--plot", "picture.png"],
    "table.csv": ["compare", "curves.csv"],
    "draws.nc": ["posterior", "curves.csv", "--law", "power", "--out", "draws.nc"],
    "forecast.csv": ["posterior", "curves.csv", "--law", "power", "--forecast", "forecast.csv"],
    "shots_to_reach.csv": ["posterior", "curves.csv", "--law", "power", "--level", "0.5"],
    "moved_shots.csv": ["contrast", "curves.csv", "--pair", "model", "a", "b", "--out", "moved.csv"],
    "x.json": ["import-lm-eval", ".", "--out", "x.csv"],
    "imported.csv": ["import-lm-eval", ".", "--out", "imported.csv"],
    "c.csv": ["collect", "--model", "m", "--task", "curves.csv", "--out", "c.csv"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_we_did_not_write_is_refused(here, capsys, name):
    pd.DataFrame(ROWS).to_csv(name, index=False)  # the user's own, whatever it is called
    before = (here / name).read_bytes()
    assert "--force" in fails(capsys, *COMMANDS[name])
    assert (here / name).read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == sorted({"curves.csv", name})


def test_our_own_outputs_are_written_again(here, capsys):
    command = [
        "fit",
        "curves.csv",
        "--group-by",
        "model",
        "--law",
        "power",
        "--starts",
        "1",
        "--plot",
        "f.png",
    ]
    for out in ("f.csv", "f.parquet"):
        for _ in range(2):
            assert main([*command, "--out", out]) == 0, capsys.readouterr().err
    pd.DataFrame(ROWS).to_csv("f.csv", index=False)
    fails(capsys, *command, "--out", "f.csv")
    assert main([*command, "--out", "f.csv", "--force"]) == 0
    assert "law" in pd.read_csv("f.csv")
    fails(capsys, "compare", "curves.csv", "--out", "f.csv")  # ours, but what another command wrote


def test_example_files_that_were_changed_stay(here, capsys):
    for _ in range(2):
        assert main(["example", "ex"]) == 0
    path = here / "ex" / "synthetic.csv"
    path.write_text("mine\n")
    fails(capsys, "example", "ex")
    assert path.read_text() == "mine\n"
    assert main(["example", "ex", "--force"]) == 0
    assert path.read_text() != "mine\n"


def test_imported_curves_are_known_by_what_stands_beside_them(here, capsys):
    main(["example", "ex"])
    command = ["import-lm-eval", "ex/lm_eval", "--out", "lm.csv"]
    for _ in range(2):
        assert main(command) == 0, capsys.readouterr().err
    os.remove("lm.json")
    fails(capsys, *command)


def test_two_outputs_of_one_name(here, capsys):
    error = fails(
        capsys,
        "posterior",
        "curves.csv",
        "--law",
        "power",
        "--level",
        "0.5",
        "--forecast",
        "./shots_to_reach.csv",
    )
    assert "two outputs" in error


def test_pictures_carry_our_mark(tmp_path):
    from matplotlib.figure import Figure

    for suffix in ("png", "pdf", "svg"):
        save(Figure(), tmp_path / f"ours.{suffix}")
        assert is_ours(tmp_path / f"ours.{suffix}")
        Figure().savefig(tmp_path / f"theirs.{suffix}")
        assert not is_ours(tmp_path / f"theirs.{suffix}")


def test_what_is_odd_is_not_ours(tmp_path):
    for name, content in {
        "a.csv": b"\xff\xfe\x00",
        "b.parquet": b"PAR1",
        "c.csv.gz": b"no gzip",
        "d.json": b"[" * 99999,
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not is_ours(tmp_path / name, MARKED if name == "d.json" else FITS)
    (tmp_path / "empty.csv").touch()
    assert is_ours(tmp_path / "empty.csv", FITS) and is_ours(tmp_path / "absent.csv", FITS)
    for name in ("x" * 300 + ".csv", "null\0byte.csv", "."):
        with pytest.raises(InputError) as caught:
            check_outputs([(tmp_path / name, FORECAST)])
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def big(path):
    """A file of 30 groups, which are read in chunks of 10."""
    rows = [
        (f"g{g:02d}", n, min(0.9, 0.1 + 0.05 * n + 0.001 * g)) for g in range(30) for n in (0, 1, 2, 4, 8)
    ]
    pd.DataFrame(rows, columns=["model", "shots", "prob"]).to_csv(path, index=False)


def stream(here, **options):
    chosen = {"laws": ["power"], "group_by": "model", "chunk_rows": 50, "n_starts": 1, "max_steps": 20}
    return fit_stream(here / "big.csv", here / "out.csv", **chosen | options)


class Stopped(Exception):
    pass


def stop_after(chunks):
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == chunks:
            raise Stopped

    return stop


def test_a_folder_of_the_user_is_not_taken_for_parts(here):
    big("big.csv")
    parts = here / "out.csv.parts"
    parts.mkdir()
    (parts / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="did not write"):
        stream(here)
    (parts / "request.json").write_text(json.dumps({"file": "x"}))  # of another program
    with pytest.raises(InputError, match="no folder of parts"):
        stream(here)
    assert (parts / "thesis.tex").read_text() == "years of work"


def test_what_is_put_among_the_parts_stays(here):
    big("big.csv")
    with pytest.raises(Stopped):
        stream(here, on_progress=stop_after(1))
    (here / "out.csv.parts" / "thesis.tex").write_text("years of work")
    stream(here)
    assert [path.name for path in (here / "out.csv.parts").iterdir()] == ["thesis.tex"]
    assert len(pd.read_csv("out.csv")) == 30


@pytest.mark.parametrize("damage", ["note", "part", "gone"])
def test_damaged_parts_are_fitted_again(here, damage):
    big("big.csv")
    stream(here)
    expected = (here / "out.csv").read_bytes()
    with pytest.raises(Stopped):
        stream(here, on_progress=stop_after(2))
    part = here / "out.csv.parts" / ("000001.json" if damage == "note" else "000001.parquet")
    content = part.read_bytes()
    if damage == "gone":
        part.unlink()
    else:
        half = len(content) // 2
        part.write_bytes(content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :])
    with pytest.warns(UserWarning, match="part 1 is damaged"):
        stream(here)
    assert (here / "out.csv").read_bytes() == expected
