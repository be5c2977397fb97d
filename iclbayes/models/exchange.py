"""Exchange of GPT-2 checkpoints with `transformers`: a folder with config.json and model.safetensors."""

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import InputError
from ..files import replace_folder
from ..locks import locked
from .gpt2 import FEED_FORWARD, GPT2, INIT_STD, LAYER_NORM_EPSILON, GPT2Config

# Our names within a block -> names within `transformer.h.<i>` of GPT2LMHeadModel.
_BLOCK_NAMES = {
    "norm_1.scale": "ln_1.weight",
    "norm_1.bias": "ln_1.bias",
    "qkv.kernel": "attn.c_attn.weight",
    "qkv.bias": "attn.c_attn.bias",
    "attention_out.kernel": "attn.c_proj.weight",
    "attention_out.bias": "attn.c_proj.bias",
    "norm_2.scale": "ln_2.weight",
    "norm_2.bias": "ln_2.bias",
    "mlp_in.kernel": "mlp.c_fc.weight",
    "mlp_in.bias": "mlp.c_fc.bias",
    "mlp_out.kernel": "mlp.c_proj.weight",
    "mlp_out.bias": "mlp.c_proj.bias",
}


def _paths(n_layers: int) -> dict[str, tuple]:
    """Names in `transformers` -> paths in `nnx.state(model)`."""
    names = {
        "transformer.wte.weight": ("token_embedding",),
        "transformer.wpe.weight": ("position_embedding",),
        "transformer.ln_f.weight": ("final_norm", "scale"),
        "transformer.ln_f.bias": ("final_norm", "bias"),
    }
    for layer in range(n_layers):
        for ours, theirs in _BLOCK_NAMES.items():
            names[f"transformer.h.{layer}.{theirs}"] = ("blocks", layer, *ours.split("."))
    return names


def export_gpt2(model: GPT2, folder: str | os.PathLike, bos_token_id: int | None = None) -> Path:
    """Writes a folder that `transformers.GPT2LMHeadModel.from_pretrained` loads, with equal logits.

    The folder appears whole or not at all: it is written beside its place and renamed. An earlier export
    there is replaced; any other folder is left alone.

    Args:
      model: the model; its parameters are written in float32.
      folder: where to.
      bos_token_id: recorded in config.json for generation; none unless given.

    Returns: the folder.

    Raises:
      InputError: the folder exists and is no earlier export, another process exports to it, or it cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot write there: {error.strerror}; choose another place") from None
    with locked(folder.with_name(f".{folder.name}.lock"), folder):
        _export(model, folder, bos_token_id)
    return folder


def _export(model: GPT2, folder: Path, bos_token_id: int | None) -> None:
    config = model.config
    contents = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and (not folder.is_dir() or contents - {"config.json", "model.safetensors"}):
        raise InputError(f"{folder}: exists and is not an exported model; choose another folder")
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise InputError(f"{folder}: cannot write there: {error.strerror}; choose another place") from None
    try:
        flat = dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))
        tensors = {
            name: np.asarray(flat[path][...], np.float32) for name, path in _paths(config.n_layers).items()
        }
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        description = {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": config.vocab_size,
            "n_positions": config.context,
            "n_ctx": config.context,
            "n_embd": config.width,
            "n_layer": config.n_layers,
            "n_head": config.n_heads,
            "n_inner": None,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": LAYER_NORM_EPSILON,
            "initializer_range": INIT_STD,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "tie_word_embeddings": True,
            "bos_token_id": bos_token_id,
            "eos_token_id": None,
            "dtype": "float32",
        }
        (temporary / "config.json").write_text(json.dumps(description, indent=2) + "\n")
        temporary.chmod(0o755)
        replace_folder(temporary, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{folder}: cannot be written: {reason}; what was there before is unchanged"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def import_gpt2(folder: str | os.PathLike, dtype: str = "float32", attention: str = "auto") -> GPT2:
    """Reads a GPT-2 saved by `transformers` (or by `export_gpt2`): config.json and model.safetensors.

    Args:
      folder: the checkpoint; names with or without the prefix `transformer.` (the published files have none).
      dtype: compute dtype of the model; parameters become float32.
      attention: see `GPT2Config.attention`.

    Raises:
      InputError: a file is missing or unreadable, the architecture differs from GPT-2's, or a tensor is missing or has the
        wrong shape.
    """
    folder = Path(folder)
    config = dataclasses.replace(_read_config(folder / "config.json"), dtype=dtype, attention=attention)
    weights_path = folder / "model.safetensors"
    try:
        tensors = load_file(weights_path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{weights_path}: cannot be read ({error}); save the model with safetensors"
        ) from None
    tensors = {
        name if name.startswith("transformer.") else f"transformer.{name}": t for name, t in tensors.items()
    }
    head = tensors.get("transformer.lm_head.weight", tensors.get("lm_head.weight"))
    if head is not None and not np.array_equal(head, tensors.get("transformer.wte.weight")):
        raise InputError(
            f"{weights_path}: lm_head.weight differs from wte.weight; only tied embeddings are supported"
        )

    abstract = nnx.eval_shape(lambda: GPT2(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(abstract)
    flat = dict(nnx.to_flat_state(state))
    for name, path in _paths(config.n_layers).items():
        tensor, shape = tensors.get(name), flat[path].shape
        if tensor is None:
            raise InputError(f"{weights_path}: tensor {name} is missing; is this a whole GPT-2 checkpoint?")
        if tensor.shape != shape:
            raise InputError(
                f"{weights_path}: tensor {name} has shape {tensor.shape}, config.json says {shape}"
            )
        flat[path] = flat[path].replace(jnp.asarray(tensor, jnp.float32))
    return nnx.merge(graph, nnx.from_flat_state(flat))


def _read_config(path: Path) -> GPT2Config:
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a folder saved by transformers") from None
    # What this GPT-2 cannot represent, and the value that it assumes for each.
    required = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": LAYER_NORM_EPSILON,
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }
    for name, value in required.items():
        if raw.get(name, value) != value:
            raise InputError(f"{path}: {name} is {raw[name]!r}; only {value!r} is supported")
    try:
        config = GPT2Config(
            vocab_size=raw["vocab_size"],
            context=raw["n_positions"],
            n_layers=raw["n_layer"],
            n_heads=raw["n_head"],
            width=raw["n_embd"],
        )
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]} is missing; give a folder saved by transformers") from None
    if raw.get("n_inner") not in (None, FEED_FORWARD * config.width):
        raise InputError(f"{path}: n_inner is {raw['n_inner']}; only 4 · n_embd is supported")
    return config
