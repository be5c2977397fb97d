"""Checkpoints of a training run in its folder: config.json beside checkpoints/<step>/ written by orbax."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from flax import nnx

from ..digests import arrays_digest, read_sealed, write_sealed
from ..errors import InputError
from ..models import GPT2, GPT2Config
from .config import TrainConfig
from .step import TrainState

CONFIG_FILE = "config.json"
CHECKPOINT_FOLDER = "checkpoints"
# Fields that change how a run is carried out, not what it computes: they may differ on resume.
FREE_FIELDS = frozenset({"train.checkpoint_every", "train.keep_checkpoints", "train.steps_per_dispatch"})


class Damaged(Exception):
    """A checkpoint that cannot be read, or does not hold what was written."""


class Checkpoints:
    """The checkpoints of one run. Each appears whole or not at all, and only the last `keep` stay.

    Each holds digests of its arrays, which are compared when it is read; those of earlier versions hold none.
    """

    def __init__(self, run_dir: str | os.PathLike, keep: int = 2, read_only: bool = False):
        self.folder = Path(run_dir).absolute() / CHECKPOINT_FOLDER
        with _quiet():
            options = ocp.CheckpointManagerOptions(
                max_to_keep=None if read_only else keep,
                create=not read_only,
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
                enable_async_checkpointing=False,
            )
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, rising."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState) -> None:
        """Writes the whole state under its step."""
        params, rest = _flat_parts(state)
        digests = {"params": arrays_digest(params), "rest": arrays_digest(rest)}
        try:
            _check_room(self.folder, sum(x.nbytes for x in (*params.values(), *rest.values())))
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(params),
                    rest=ocp.args.StandardSave(rest),
                    digests=ocp.args.JsonSave(digests),
                ),
            )
        except (OSError, ValueError) as error:  # TensorStore's errors, such as a full disk, are ValueErrors
            for half in self.folder.glob(f"{int(state.step)}.orbax-checkpoint-tmp*"):
                shutil.rmtree(half, ignore_errors=True)
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]
            raise InputError(
                f"{self.folder}: the checkpoint of step {int(state.step)} cannot be written ({reason}); the one before is whole, "
                "and the same command with resume goes on from it"
            ) from None

    def restore(self, like: TrainState, step: int) -> TrainState:
        """The state at `step`, with the structure of `like`. Raises `Damaged`."""
        params, rest = _flat_parts(like)
        restored = self._restore(step, {"params": params, "rest": rest})
        return _from_flat_parts(like, restored["params"], restored["rest"])

    def restore_last(self, like: TrainState) -> tuple[TrainState | None, list[int]]:
        """The state of the newest checkpoint that is whole, or None if there is none; and the steps of damaged ones above it.

        The damaged ones are removed, so that their steps can be written again.
        """
        damaged = []
        found = None
        for step in reversed(self.steps()):
            try:
                found = self.restore(like, step)
                break
            except Damaged:
                damaged.append(step)
        for step in damaged:
            self._manager.delete(step)
        return found, damaged

    def restore_params(self, like: nnx.State, step: int) -> nnx.State:
        """The parameters alone. Raises `Damaged`."""
        return _unflatten(like, self._restore(step, {"params": _flatten(like)})["params"])

    def _restore(self, step: int, parts: dict[str, dict]) -> dict[str, dict]:
        args: dict[str, ocp.args.CheckpointArgs] = {}
        args |= {name: ocp.args.StandardRestore(_abstract(flat)) for name, flat in parts.items()}
        if (self.folder / str(step) / "digests").exists():
            args["digests"] = ocp.args.JsonRestore()
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**args))
            found = {name: restored[name] for name in parts}
            digests = restored["digests"] if "digests" in args else {}
            differ = [
                name for name in digests if name in found and digests[name] != arrays_digest(found[name])
            ]
        except Exception as error:  # whatever orbax, TensorStore, zstd or JSON find wrong with the files
            raise Damaged(" ".join(str(error).split())[:160]) from None
        if differ:
            raise Damaged(f"the digest of its {differ[0]} differs")
        return found

    def close(self) -> None:
        """Releases what orbax holds."""
        self._manager.close()


def load_model(
    run_dir: str | os.PathLike,
    step: int | None = None,
    dtype: str | None = None,
    attention: str | None = None,
) -> GPT2:
    """The model of a training run, from its last checkpoint.

    Args:
      run_dir: folder of the run.
      step: another checkpoint that is still there.
      dtype, attention: instead of those that the model was trained with.

    Raises:
      InputError: the folder holds no checkpoint, none of that step, or a damaged one.
    """
    run_dir = Path(run_dir)
    stored = read_config(run_dir)
    if stored is None or not (run_dir / CHECKPOINT_FOLDER).is_dir():
        raise InputError(f"{run_dir}: holds no checkpoint; give the folder of a training run")
    changes = {k: v for k, v in (("dtype", dtype), ("attention", attention)) if v is not None}
    config = dataclasses.replace(GPT2Config(**stored["model"]), **changes)
    checkpoints = Checkpoints(run_dir, read_only=True)
    try:
        steps = checkpoints.steps()
        if not steps:
            raise InputError(f"{run_dir}: holds no checkpoint; give the folder of a training run")
        if step is not None and step not in steps:
            raise InputError(f"{run_dir}: holds no checkpoint of step {step}; choose from {steps}")
        graph, abstract = nnx.split(nnx.eval_shape(lambda: GPT2(config, rngs=nnx.Rngs(0))))
        chosen = steps[-1] if step is None else step
        try:
            return nnx.merge(graph, checkpoints.restore_params(abstract, chosen))
        except Damaged as error:
            raise InputError(
                f"{run_dir}: the checkpoint of step {chosen} is damaged ({error}); resume the run to write it again, "
                f"or choose another step of {steps}"
            ) from None
    finally:
        checkpoints.close()


def read_config(run_dir: str | os.PathLike) -> dict | None:
    """config.json of a run: {"model": …, "train": …, "extra": …}; None where there is none.

    Raises:
      InputError: the file is no such config.
    """
    path = Path(run_dir) / CONFIG_FILE
    try:
        stored = read_sealed(path)
        GPT2Config(**stored["model"])
        TrainConfig(**stored["train"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is no config of a training run ({error}); choose another folder") from None
    return stored


def write_config(run_dir: str | os.PathLike, model: GPT2Config, train: TrainConfig, extra: dict) -> None:
    """Writes config.json."""
    write_sealed(_as_json(model, train, extra), Path(run_dir) / CONFIG_FILE)


def check_config(
    run_dir: str | os.PathLike, stored: dict, model: GPT2Config, train: TrainConfig, extra: dict
) -> None:
    """Raises `InputError` naming the first field in which a run's config differs from its beginning's."""
    before, now = (_dotted(c) for c in (stored, json.loads(json.dumps(_as_json(model, train, extra)))))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name) and name not in FREE_FIELDS:
            raise InputError(
                f"{Path(run_dir) / CONFIG_FILE}: {name} is {before.get(name)!r} there and {now.get(name)!r} "
                "now; resume with the same value or choose another folder"
            )


@contextlib.contextmanager
def _quiet():
    """Holds back what orbax logs about a folder that is opened to read."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_room(folder: Path, size: int) -> None:
    """Raises OSError where a file of `size` bytes does not fit in the folder.

    A save that fails halfway leaves threads of TensorStore behind that print tracebacks of their own.
    """
    if not hasattr(os, "posix_fallocate") or size == 0:
        return
    with tempfile.TemporaryFile(dir=folder) as probe:
        os.posix_fallocate(probe.fileno(), 0, size)


def _as_json(model, train, extra) -> dict:
    return {"model": dataclasses.asdict(model), "train": dataclasses.asdict(train), "extra": extra}


def _dotted(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _dotted(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _flatten(tree) -> dict[str, jax.Array]:
    """Arrays by their path, for instance "blocks.0.qkv.kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _unflatten(like, flat: dict[str, jax.Array]):
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    return jax.tree.unflatten(structure, [flat[name] for name in names])


def _flat_parts(state: TrainState) -> tuple[dict, dict]:
    rest = state._replace(params=None, key=jax.random.key_data(state.key))
    return _flatten(state.params), _flatten(rest)


def _from_flat_parts(like: TrainState, params: dict, rest: dict) -> TrainState:
    raw = _unflatten(like._replace(params=None, key=jax.random.key_data(like.key)), rest)
    key = jax.random.wrap_key_data(raw.key, impl=jax.random.key_impl(like.key))
    return raw._replace(params=_unflatten(like.params, params), key=key)


def _abstract(flat: dict) -> dict:
    """Shapes and dtypes, to be placed on the default device wherever they were saved."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return {n: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place) for n, x in flat.items()}
