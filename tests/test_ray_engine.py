"""Fits on Ray: the results of one process, also where groups lie across files and workers die."""

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_partitions import BY, rows, same, whole

from iclbayes import partitions, ray_engine
from iclbayes.errors import InputError

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'iclbayes[ray]'")
# Ray starts its processes by fork and exec, here beside a JAX that other tests have started; the child runs none of it.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
KEYS = [*BY, "source"]
OPTIONS = {"group_by": BY, "source": "source"}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two workers on this machine, which find the tests and the package where this process does."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(partitions.__file__).parents[1])])
    try:
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            object_store_memory=200 * 2**20, runtime_env={"env_vars": {"PYTHONPATH": path}},
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        pytest.skip(f"Ray does not start on this machine: {error}")
    yield
    ray.shutdown()


@pytest.fixture
def files(tmp_path):
    """A folder with a file for each model, groups whole in one file."""
    folder = tmp_path / "curves"
    folder.mkdir()
    for model, part in rows().groupby("model"):
        part.to_parquet(folder / f"{model}.parquet", index=False)
    return folder


def read(parts: list[Path]) -> pd.DataFrame:
    assert len({str(pq.read_schema(part)) for part in parts}) == 1
    return pd.read_parquet(parts[0].parent).sort_values(KEYS, ignore_index=True)


def equal(found: pd.DataFrame, law: str) -> None:
    same(found, whole(rows(), law))


def test_files_of_whole_groups_give_the_fits_of_one_process(files, tmp_path):
    parts = ray_engine.fit_with_ray(
        str(files / "*.parquet"), tmp_path / "fits", ("bayesian_scoring",), **OPTIONS
    )
    assert [part.name for part in parts] == [f"part-{i:05d}.parquet" for i in range(3)]
    equal(read(parts), "bayesian_scoring")


def test_groups_that_lie_across_files_are_brought_together(tmp_path):
    frame = rows()
    for number in range(3):
        frame.iloc[number::3].to_parquet(tmp_path / f"{number}.parquet", index=False)
    out = tmp_path / "fits"
    out.mkdir()
    (out / "part-00099.parquet").write_bytes(b"of an earlier call")
    parts = ray_engine.fit_with_ray(
        [tmp_path / f"{i}.parquet" for i in range(3)], out, ("logistic",), **OPTIONS
    )
    assert len(parts) > 1
    equal(read(parts), "logistic")
    assert sorted(out.iterdir()) == parts


def killed_once(table: pa.Table, *, marker: str, **options) -> pa.Table:
    """Kills the worker that comes first."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return partitions.fit_partition(table, ("logistic",), **options)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_killed_worker_costs_a_retry_and_no_row(files, tmp_path):
    marker = tmp_path / "killed"
    parts = ray_engine.run(killed_once, files / "*.parquet", tmp_path / "fits", marker=str(marker), **OPTIONS)
    assert marker.exists()
    equal(read(parts), "logistic")


def cores_seen(table: pa.Table, **options) -> pa.Table:
    from iclbayes.runtime import cores

    return pa.table({"cores": [cores()], "rows": [len(table)]})


def test_a_worker_uses_the_cores_that_it_is_given(files, tmp_path):
    parts = ray_engine.run(cores_seen, files / "*.parquet", tmp_path / "out", **OPTIONS)
    found = pd.read_parquet(parts[0].parent)
    np.testing.assert_array_equal(found["cores"], 1)
    assert found["rows"].sum() == len(rows())


def test_a_mistake_in_a_partition_is_one_line_and_leaves_nothing(files, tmp_path):
    part = pd.read_parquet(files / "m1.parquet")
    part.assign(prob=2.0).to_parquet(files / "m1.parquet", index=False)
    with pytest.raises(InputError, match=r"m1\.parquet.*prob") as error:
        ray_engine.fit_with_ray(files / "*.parquet", tmp_path / "fits", **OPTIONS)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "fits").iterdir()) == []


def test_what_cannot_work_is_said_before_any_work(files, tmp_path):
    for wanted, options, message in [
        (tmp_path / "none*.parquet", {}, "no such file"),
        (files / "*.parquet", {"group_by": ("nix",)}, "no column 'nix'"),
        (files / "*.parquet", {"group_by": ()}, "nothing to part"),
    ]:
        with pytest.raises(InputError, match=message):
            ray_engine.fit_with_ray(wanted, tmp_path / "fits", **(OPTIONS | options))
    with pytest.raises(InputError, match=r"holds m0\.parquet, which is no part of a result"):
        ray_engine.fit_with_ray(files / "*.parquet", files, **OPTIONS)
    for number in range(3):
        (files / f"m{number}.parquet").rename(files / f"part-{number}.parquet")
    with pytest.raises(InputError, match="holds the curves themselves"):
        ray_engine.fit_with_ray(files / "*.parquet", files, **OPTIONS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt"):
        ray_engine.fit_with_ray(files / "*.parquet", tmp_path / "mine", **OPTIONS)
