"""GPT-2 in Flax NNX: pre-norm blocks, gelu_new, learned positions, tied embeddings.

Radford et al., "Language models are unsupervised multitask learners" (2019). Weights are stored as in the
published checkpoints ([inputs, outputs], queries, keys and values side by side), so
`iclbayes.models.exchange` only renames them. Letters in shapes: B sequences, L tokens, D width, H heads, Dh
= D / H, F = 4 D, V vocabulary.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from ..errors import InputError
from .attention import ATTENTION, resolve_attention

LAYER_NORM_EPSILON = 1e-5  # GPT-2's layer_norm_epsilon
INIT_STD = 0.02  # GPT-2's initializer_range
FEED_FORWARD = 4  # F / D


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """Sizes and numerics of a GPT-2."""

    vocab_size: int = 52  # V: symbols of the tokenizer, specials included
    context: int = 1024  # longest sequence, the number of learned positions
    n_layers: int = 12  # blocks
    n_heads: int = 12  # H: must divide width
    width: int = 768  # D: size of the residual stream
    dtype: str = (
        "float32"  # of activations and matrix products: "float32" or "bfloat16"; parameters stay float32
    )
    attention: str = (
        "auto"  # a key of `attention.ATTENTION`; "auto" takes flash attention where the backend has it
    )
    remat: bool = False  # recompute blocks in the backward pass: less memory, a third more arithmetic

    def __post_init__(self):
        for name in ("vocab_size", "context", "n_layers", "n_heads", "width"):
            if getattr(self, name) < 1:
                raise InputError(f"GPT2Config.{name} is {getattr(self, name)}; it must be at least 1")
        if self.width % self.n_heads:
            raise InputError(
                f"GPT2Config.width {self.width} is not a multiple of n_heads {self.n_heads}; change one"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"GPT2Config.dtype {self.dtype!r} is unknown; choose float32 or bfloat16")
        resolve_attention(self.attention, jnp.dtype(self.dtype), self.head_dim, backend="cpu")

    @property
    def head_dim(self) -> int:
        """Dh, the width of one attention head."""
        return self.width // self.n_heads


def gelu_new(x: jax.Array) -> jax.Array:
    """GPT-2's GELU, ½ x (1 + tanh u) with u = √(2/π) (x + 0.044715 x³), as its equal x · sigmoid(2u)."""
    return x * jax.nn.sigmoid(x * (2 * math.sqrt(2 / math.pi)) * (1 + 0.044715 * x * x))


class LayerNorm(nnx.Module):
    """(x − mean) / √(variance + 1e-5) · scale + bias over the last axis, in float32; returns `dtype`."""

    def __init__(self, width: int, dtype: jnp.dtype):
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32))
        self.dtype = dtype

    def __call__(self, x_BxLxD: jax.Array) -> jax.Array:
        x_BxLxD = x_BxLxD.astype(jnp.float32)
        mean_BxLx1 = jnp.mean(x_BxLxD, axis=-1, keepdims=True)
        centred_BxLxD = x_BxLxD - mean_BxLx1
        variance_BxLx1 = jnp.mean(centred_BxLxD * centred_BxLxD, axis=-1, keepdims=True)
        normed_BxLxD = centred_BxLxD * jax.lax.rsqrt(variance_BxLx1 + LAYER_NORM_EPSILON)
        return (normed_BxLxD * self.scale[...] + self.bias[...]).astype(self.dtype)


class Linear(nnx.Module):
    """x W + b with W [inputs, outputs] ~ Normal(0, std²), b = 0; the product runs in `dtype`."""

    def __init__(self, inputs: int, outputs: int, std: float, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        # In two dimensions, because XLA's CPU back end then transposes nothing to make the kernel's gradient.
        rows = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        out = rows @ self.kernel[...].astype(self.dtype) + self.bias[...].astype(self.dtype)
        return out.reshape(*x.shape[:-1], -1)


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPT2Config, rngs: nnx.Rngs):
        width, dtype = config.width, jnp.dtype(config.dtype)
        # 2·n_layers projections add to the residual stream; scaled so, its variance is independent of depth.
        residual_std = INIT_STD / math.sqrt(2 * config.n_layers)
        self.norm_1 = LayerNorm(width, dtype)
        self.qkv = Linear(width, 3 * width, INIT_STD, dtype, rngs)
        self.attention_out = Linear(width, width, residual_std, dtype, rngs)
        self.norm_2 = LayerNorm(width, dtype)
        self.mlp_in = Linear(width, FEED_FORWARD * width, INIT_STD, dtype, rngs)
        self.mlp_out = Linear(FEED_FORWARD * width, width, residual_std, dtype, rngs)
        self.config = config

    def __call__(self, x_BxLxD: jax.Array) -> jax.Array:
        config = self.config
        batch, length, width = x_BxLxD.shape
        qkv_BxLx3D = self.qkv(self.norm_1(x_BxLxD))
        qkv_BxLx3xHxDh = qkv_BxLx3D.reshape(batch, length, 3, config.n_heads, config.head_dim)
        attend = ATTENTION[resolve_attention(config.attention, qkv_BxLx3D.dtype, config.head_dim)]
        mixed_BxLxHxDh = attend(qkv_BxLx3xHxDh[:, :, 0], qkv_BxLx3xHxDh[:, :, 1], qkv_BxLx3xHxDh[:, :, 2])
        x_BxLxD = x_BxLxD + self.attention_out(mixed_BxLxHxDh.reshape(batch, length, width))
        return x_BxLxD + self.mlp_out(gelu_new(self.mlp_in(self.norm_2(x_BxLxD))))


class GPT2(nnx.Module):
    """GPT-2: tokens int32[B, L] to next-token logits float32[B, L, V].

    Args:
      config: sizes and numerics.
      rngs: source of the initial weights, `nnx.Rngs(seed)`; the stream `params` is used.

    Example:
      >>> model = GPT2(GPT2Config(vocab_size=26, context=8, n_layers=1, n_heads=2, width=4), rngs=nnx.Rngs(0))
      >>> model(jnp.zeros((3, 8), jnp.int32)).shape
      (3, 8, 26)
    """

    def __init__(self, config: GPT2Config, *, rngs: nnx.Rngs):
        self.config = config
        dtype = jnp.dtype(config.dtype)
        self.token_embedding = nnx.Param(
            INIT_STD * jax.random.normal(rngs.params(), (config.vocab_size, config.width), jnp.float32)
        )
        self.position_embedding = nnx.Param(
            INIT_STD * jax.random.normal(rngs.params(), (config.context, config.width), jnp.float32)
        )
        self.blocks = nnx.List([Block(config, rngs) for _ in range(config.n_layers)])
        self.final_norm = LayerNorm(config.width, dtype)

    def hidden(self, tokens_BxL: jax.Array) -> jax.Array:
        """The residual stream after the last block and the final layer norm, [B, L, D] in the compute dtype.

        Raises:
          InputError: the sequences are longer than the context.
        """
        length, config = tokens_BxL.shape[1], self.config
        if length > config.context:
            raise InputError(
                f"sequences of {length} tokens exceed the model's context {config.context}; shorten them"
            )
        x_BxLxD = embed(tokens_BxL, self.token_embedding[...]) + self.position_embedding[...][:length]
        x_BxLxD = x_BxLxD.astype(config.dtype)
        run_block = nnx.remat(Block.__call__) if config.remat else Block.__call__
        for block in self.blocks:
            x_BxLxD = run_block(block, x_BxLxD)
        return self.final_norm(x_BxLxD)

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits float32[..., V] of hidden states [..., D]: the product with the (tied) token embeddings."""
        embedding_VxD = self.token_embedding[...].astype(hidden.dtype)
        return jnp.einsum("...d,vd->...v", hidden, embedding_VxD, preferred_element_type=jnp.float32)

    def __call__(self, tokens_BxL: jax.Array) -> jax.Array:
        """Next-token logits, float32[B, L, V]."""
        return self.unembed(self.hidden(tokens_BxL))


# A vocabulary of at most this many symbols is embedded by a matrix product with one-hot rows: its gradient
# is a matrix product as well, where the gradient of a gather is a scatter-add, which is slow and, on GPUs,
# not deterministic.
ONE_HOT_VOCABULARY = 256


def embed(tokens_BxL: jax.Array, embedding_VxD: jax.Array) -> jax.Array:
    """Rows of the embedding table, float32[B, L, D]."""
    if embedding_VxD.shape[0] > ONE_HOT_VOCABULARY:
        return embedding_VxD[tokens_BxL]
    one_hot_BxLxV = jax.nn.one_hot(tokens_BxL, embedding_VxD.shape[0], dtype=embedding_VxD.dtype)
    return jnp.matmul(one_hot_BxLxV, embedding_VxD, precision=jax.lax.Precision.HIGHEST)


def count_params(model: GPT2) -> dict[str, int]:
    """Numbers of parameters.

    Returns:
      `total`: every parameter, tied embeddings counted once;
      `token_embedding`: V·D; `position_embedding`: context·D;
      `non_embedding`: total less both embeddings (N of Kaplan et al. 2020, with biases and norms).
    """
    total = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    token, position = model.token_embedding[...].size, model.position_embedding[...].size
    return {
        "total": total,
        "token_embedding": token,
        "position_embedding": position,
        "non_embedding": total - token - position,
    }


def flops_per_token(config: GPT2Config, length: int | None = None, backward: bool = True) -> float:
    """Model floating-point operations per token of a training step, for model FLOPs utilisation.

    Forward, per token: 2 per weight of the matrices (12 D² per block, V·D to unembed; embeddings are
    look-ups) and 2·2·L·D per block for scores and mixing over all L keys, as is customary (Chowdhery et al.
    2022, PaLM, appendix B, does not halve it for causality). The backward pass costs twice the forward pass.
    Recomputation is not counted.

    Args:
      config: sizes.
      length: tokens per sequence, L; the whole context unless given.
      backward: count the backward pass too.
    """
    length = config.context if length is None else length
    per_block = 2 * (4 + 2 * FEED_FORWARD) * config.width**2 + 4 * length * config.width
    forward = config.n_layers * per_block + 2 * config.vocab_size * config.width
    return float(forward * (3 if backward else 1))
