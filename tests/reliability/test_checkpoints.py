"""Damaged checkpoints are found when they are read; exports take the place of older ones whole."""

import json
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from campaign_parts import full_disk
from flax import nnx

from iclbayes import InputError, training
from iclbayes.files import replace_folder
from iclbayes.models import GPT2, GPT2Config, export_gpt2, import_gpt2

# Orbax leaves its event loop where it fails, and that is found whenever memory is collected: in any later test of this file.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MODEL = GPT2Config(vocab_size=12, context=8, n_layers=1, n_heads=1, width=8)
CONFIG = training.TrainConfig(
    steps=12,
    batch_size=2,
    warmup_steps=1,
    log_every=3,
    checkpoint_every=3,
    keep_checkpoints=3,
    steps_per_dispatch=3,
)


def counting(key, step):
    del step
    return (jax.random.randint(key, (CONFIG.batch_size, 1), 0, 11) + jnp.arange(MODEL.context)) % 11


def run(folder, **options):
    return training.train(MODEL, CONFIG, counting, folder, progress=False, **options)


def values(model):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(model))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole") / "run")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 16
    path.write_bytes(bytes(content))


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip, remove])
def test_training_goes_on_from_the_checkpoint_before(whole, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(whole.run_dir, folder)
    shutil.rmtree(folder / "checkpoints" / "12")
    shutil.copytree(whole.run_dir / "checkpoints" / "12", folder / "checkpoints" / "12")
    for path in (folder / "checkpoints" / "12").rglob("*"):
        if path.is_file() and path.stat().st_size > 40:
            damage(path)
    with pytest.raises(InputError, match="step 12 is damaged") as caught:
        training.load_model(folder)
    assert "\n" not in str(caught.value)
    with pytest.warns(training.TrainWarning, match="step 12 is damaged, so training goes on from step 9"):
        result = run(folder, resume=True)
    for a, b in zip(values(result.model), values(whole.model), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(values(training.load_model(folder)), values(whole.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_single_file_matters_or_does_no_harm(whole, tmp_path):
    """Whichever one file is damaged: the right bits, or the damage is told; never other numbers."""
    files = [
        p.relative_to(whole.run_dir) for p in (whole.run_dir / "checkpoints" / "12").rglob("*") if p.is_file()
    ]
    told = 0
    for number, name in enumerate(sorted(files)):
        folder = tmp_path / f"run{number}"
        shutil.copytree(whole.run_dir, folder)
        flip(folder / name)
        try:
            found = values(training.load_model(folder))
        except InputError:
            told += 1
            continue
        for a, b in zip(found, values(whole.model), strict=True):
            np.testing.assert_array_equal(a, b)
    assert told > 0


def test_with_all_damaged_it_begins_anew(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole.run_dir, folder)
    for path in (folder / "checkpoints").rglob("*"):
        if path.is_file():
            truncate(path)
    with pytest.warns(training.TrainWarning, match="begins anew"):
        result = run(folder, resume=True)
    assert list(result.metrics["step"]) == [3, 6, 9, 12]
    for a, b in zip(values(result.model), values(whole.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoints_without_digests_are_read(whole, tmp_path):
    """Those of earlier versions."""
    folder = tmp_path / "run"
    shutil.copytree(whole.run_dir, folder)
    shutil.rmtree(folder / "checkpoints" / "12" / "digests")
    for a, b in zip(values(training.load_model(folder)), values(whole.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_metrics_of_the_user_are_not_written_over(tmp_path):
    (tmp_path / "metrics.csv").write_text("mine")
    with pytest.raises(InputError, match=r"holds metrics\.csv but no config\.json"):
        run(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == "mine"


def test_a_changed_config_is_found(whole, tmp_path):
    shutil.copytree(whole.run_dir, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    stored = json.loads(path.read_text())
    stored["train"]["learning_rate"] *= 2
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match="digest"):
        training.load_model(tmp_path / "run")


def test_there_is_an_export_at_every_moment(tmp_path):
    """A reader that looks all the time never finds the folder missing or half written."""
    model = GPT2(MODEL, rngs=nnx.Rngs(0))
    export_gpt2(model, tmp_path / "model")
    stop, faults = threading.Event(), []

    def look():
        while not stop.is_set():
            if not (tmp_path / "model").is_dir():
                faults.append("missing")

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(10):
        export_gpt2(model, tmp_path / "model")
    stop.set()
    reader.join()
    assert not faults
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    import_gpt2(tmp_path / "model")


def test_a_replacement_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_text("old")
    monkeypatch.setattr("iclbayes.files.ctypes.CDLL", lambda *_, **__: None)  # a system that cannot exchange
    with pytest.raises(OSError):
        replace_folder(tmp_path / "absent", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "old"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("new")
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_full_disk_is_one_line_leaves_no_half_and_is_gone_on_from(whole, tmp_path, capfd):
    with full_disk.file_size_limit(4096), pytest.raises(InputError, match="cannot be written") as error:
        run(tmp_path / "run")
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # no thread has told of itself either
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    again = run(tmp_path / "run", resume=True)
    for one, other in zip(values(again.model), values(whole.model), strict=True):
        np.testing.assert_array_equal(one, other)
