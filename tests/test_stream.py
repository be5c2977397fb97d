"""Files fitted in chunks: as the whole file, stopped and resumed, with their mistakes named."""

import numpy as np
import optax
import pandas as pd
import pytest
from curve_tables import table

import iclbayes
from iclbayes import stream
from iclbayes.chunks import chunks, uncompressed_bytes
from iclbayes.cli import fit as fit_command
from iclbayes.cli.main import main
from iclbayes.errors import InputError


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_stream_gives_what_the_whole_file_gives_and_survives_a_kill(tmp_path, suffix, monkeypatch):
    frame = table(n_models=6)
    path, out = tmp_path / f"big.{suffix}", tmp_path / f"fits.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    options = {"laws": ["power"], "group_by": ["model"], "source": "source", "chunk_rows": 50}

    fitted = []
    real = stream.fit
    monkeypatch.setattr(stream, "fit", lambda *a, **named: fitted.append(1) or real(*a, **named))
    stream.fit_stream(path, tmp_path / f"other.{suffix}", **options)
    chunks = len(fitted)
    assert chunks > 2

    def dies_at_the_second_chunk(*arguments, **named):
        if len(fitted) == chunks + 1:
            raise KeyboardInterrupt
        fitted.append(1)
        return real(*arguments, **named)

    monkeypatch.setattr(stream, "fit", dies_at_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        stream.fit_stream(path, out, **options)
    assert not out.exists() and (tmp_path / f"fits.{suffix}.parts").is_dir()
    with pytest.raises(InputError, match=r"left by another command \(laws"):
        stream.fit_stream(path, out, **(options | {"laws": ["logistic"]}))

    monkeypatch.setattr(stream, "fit", lambda *a, **named: fitted.append(1) or real(*a, **named))
    seen = []
    stream.fit_stream(path, out, on_progress=seen.append, **options)
    assert len(fitted) == 2 * chunks  # the finished chunk was not fitted again
    assert seen[-1].rows == len(frame)
    assert not (tmp_path / f"fits.{suffix}.parts").exists()
    streamed = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    whole = iclbayes.fit(
        iclbayes.curves_from_frame(frame, group_by=["model"], source="source"), "power"
    ).to_frame()
    assert list(streamed["model"]) == list(whole["model"])
    np.testing.assert_allclose(streamed["loss"], whole["loss"], rtol=1e-6)


@pytest.mark.parametrize("suffix", ["csv.gz", "parquet"])
def test_compressed_files_are_measured_unpacked_and_fitted_in_chunks(tmp_path, suffix, monkeypatch):
    frame = pd.concat([table(n_models=2).assign(run=run) for run in range(40)], ignore_index=True)
    frame["run"] = "a long name of the run that packs well " + frame["run"].astype(str)
    path, plain, out = tmp_path / f"packed.{suffix}", tmp_path / "plain.csv", tmp_path / "fits.csv"
    frame.to_csv(plain, index=False)
    frame.to_csv(path, index=False) if suffix == "csv.gz" else frame.to_parquet(path, compression="zstd")
    on_disk, unpacked = path.stat().st_size, uncompressed_bytes(path)
    assert unpacked > on_disk
    if suffix == "csv.gz":
        assert unpacked == plain.stat().st_size

    asked = []
    real = stream.fit_stream
    monkeypatch.setattr(stream, "fit_stream", lambda *a, **named: asked.append(1) or real(*a, **named))
    monkeypatch.setattr(fit_command, "STREAM_BYTES", (on_disk + unpacked) // 2)
    options = [
        "--group-by",
        "model",
        "--group-by",
        "run",
        "--source",
        "source",
        "--law",
        "power",
        "--starts",
        "2",
    ]
    assert main(["fit", str(path), *options, "--out", str(out)]) == 0 and asked
    assert (
        main(["fit", str(plain), *options, "--chunk-rows", "900", "--out", str(tmp_path / "other.csv")]) == 0
    )
    pd.testing.assert_frame_equal(pd.read_csv(out), pd.read_csv(tmp_path / "other.csv"), rtol=1e-6)


def test_what_cannot_be_measured_counts_as_it_lies_on_the_disk(tmp_path):
    for name in ("noise.csv.gz", "noise.parquet", "short.csv.gz", "noise.csv"):
        (tmp_path / name).write_bytes(b"\0" * (9 if name.startswith("short") else 99))
        assert uncompressed_bytes(tmp_path / name) == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("n_models", [8, 9, 10])
def test_the_last_chunk_of_a_stream_is_no_shape_of_its_own(tmp_path, n_models):
    frame = table(n_models=n_models)  # 32 rows each, so that chunks of 96 rows leave 2, 0 or 1 models over
    frame.to_csv(tmp_path / "f.csv", index=False)
    sizes = [len(f) for f in chunks(tmp_path / "f.csv", {"model": None}, ["model"], 96, skip=0)]
    assert sum(sizes) == len(frame) and all(48 <= size <= 144 for size in sizes)
    assert len(sizes) > 1


def test_a_stream_keeps_the_chunk_before_a_row_that_cannot_be_read(tmp_path):
    lines = table(n_models=8).to_csv(index=False).splitlines()
    (tmp_path / "f.csv").write_text("\n".join([*lines[:150], "1,2,3,4,5,6,7", *lines[150:]]))
    seen = []
    with pytest.raises(InputError, match="cannot be read"):
        for frame in chunks(tmp_path / "f.csv", {"model": None}, ["model"], 96, skip=0):
            seen.append(len(frame))
    assert seen == [64]


@pytest.mark.parametrize(
    "names",
    [
        ["001", "002", "003", "00a"],
        ["7", "8", "9", "010"],
        ["0.50", "1", "2", "3"],
        ["True", "False", "1", "x"],
    ],
)
def test_labels_of_a_stream_are_those_of_the_whole_file(tmp_path, names):
    frame = table(n_models=4)
    labels = dict(zip(frame["model"].unique(), names, strict=True))
    path = tmp_path / "named.csv"
    frame.assign(model=frame["model"].map(labels)).to_csv(path, index=False)
    options = {"group_by": ["model"], "source": "source"}
    whole = iclbayes.fit(iclbayes.read_curves(path, **options), "power").to_frame()
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        out, expected = tmp_path / f"out.{suffix}", tmp_path / f"whole.{suffix}"
        stream.fit_stream(path, out, ["power"], chunk_rows=40, **options)
        whole.to_csv(expected, index=False) if suffix == "csv" else whole.to_parquet(expected, index=False)
        pd.testing.assert_series_equal(read(out)["model"], read(expected)["model"])


def test_stream_refuses_scattered_groups_and_names_rows(tmp_path):
    frame = table(n_models=3)
    frame.sample(frac=1.0, random_state=0).to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(InputError, match="do not stand together"):
        stream.fit_stream(
            tmp_path / "mixed.csv",
            tmp_path / "o.csv",
            ["power"],
            group_by=["model"],
            source="source",
            chunk_rows=20,
        )
    bad = table(n_models=3)
    bad.loc[70, "prob"] = 1.5
    bad.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(InputError, match="column 'prob', row 72"):
        stream.fit_stream(
            tmp_path / "bad.csv",
            tmp_path / "o2.csv",
            ["power"],
            group_by=["model"],
            source="source",
            chunk_rows=33,
        )


def test_stream_aligns_columns_of_chunks_and_keeps_families_together(tmp_path):
    ragged = table(n_models=4)
    ragged = ragged[(ragged["model"] > "m1") | (ragged["source"] == "a")]
    path, out = tmp_path / "ragged.csv", tmp_path / "fits.csv"
    ragged.to_csv(path, index=False)
    options = {"group_by": ["model"], "source": "source", "chunk_rows": 20}
    stream.fit_stream(path, out, ["bayesian_scoring"], **options)
    streamed = pd.read_csv(out)
    whole = iclbayes.fit(iclbayes.curves_from_frame(ragged, group_by=["model"], source="source")).to_frame()
    assert set(streamed.columns) == set(whole.columns)
    np.testing.assert_allclose(streamed["loss"], whole["loss"], rtol=1e-5)
    done = (
        whole["status"] == "converged"
    ).to_numpy()  # the others end where the step limit finds them, which rounding moves
    assert done.sum() >= 2
    for rows, rtol in ((done, 1e-4), (~done, 2e-3)):
        np.testing.assert_allclose(streamed["efficiency"][rows], whole["efficiency"][rows], rtol=rtol)
    np.testing.assert_allclose(streamed["prior_background"], whole["prior_background"], rtol=1e-3)
    assert streamed["prior_background"].isna().sum() == 4

    family = pd.concat([table(n_models=2).assign(amount=a) for a in (1, 2)]).sort_values(
        "model", kind="stable"
    )
    family.to_csv(path, index=False)
    shared = {"share": ("gamma", "beta"), "across": "amount"}
    options = options | {"group_by": ["model", "amount"]}
    stream.fit_stream(path, out, ["bayesian_scoring"], **options, **shared)
    gamma = pd.read_csv(out).groupby(["model", "source"])["gamma"]
    assert (gamma.nunique() == 1).all()
    with pytest.raises(InputError, match="all groups share"):
        stream.fit_stream(path, out, ["bayesian_scoring"], **(options | {"group_by": ["amount"]}), **shared)


def test_stream_with_blank_or_broken_lines_leaves_no_trace_and_resumes(tmp_path):
    path, out = tmp_path / "blank.csv", tmp_path / "fits.csv"
    lines = table(n_models=4).to_csv(index=False).splitlines()
    blank = [lines[0]]
    for i, line in enumerate(lines[1:]):
        blank += [line] + [""] * (i % 32 == 31)
    broken = [*lines[:40], "m1,b,3", "1,2,3,4,5,6,7", *lines[40:]]
    options = {"group_by": ["model"], "source": "source", "chunk_rows": 33}
    path.write_text("\n".join(broken))
    with pytest.raises(InputError, match=r"blank\.csv: "):
        stream.fit_stream(path, out, ["power"], **(options | {"chunk_rows": 500}))
    assert [p.name for p in tmp_path.iterdir()] == ["blank.csv"]

    path.write_text("\n".join(blank))
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    def adam():  # as another process would make it: at other addresses
        return {"optimizer": optax.adam(0.05), "max_steps": 20}

    with pytest.raises(KeyboardInterrupt):
        stream.fit_stream(path, out, ["power"], on_progress=stop, **options, **adam())
    ends = stream.fit_stream(path, out, ["power"], **options, **adam())
    found = pd.read_csv(out)
    assert list(found["model"]) == [f"m{i}" for i in range(4) for _ in "ab"]
    assert ends == {"power": found["status"].value_counts().to_dict()}
