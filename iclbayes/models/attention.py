"""Causal self-attention, in the formulations that this library chooses among.

Every function takes q, k, v of shape [B, L, H, Dh] and returns [B, L, H, Dh]:

    out_i = Σ_{j ≤ i} softmax_j(q_i · k_j / √Dh) v_j,   softmax in float32.
"""

import jax
import jax.numpy as jnp

from ..files import InputError


def einsum_attention(q_BxLxHxDh: jax.Array, k_BxLxHxDh: jax.Array, v_BxLxHxDh: jax.Array) -> jax.Array:
    """The definition, written with einsum; XLA differentiates it. The reference for the others."""
    length, head_dim = q_BxLxHxDh.shape[1], q_BxLxHxDh.shape[3]
    scores_BxHxLxL = jnp.einsum("bihd,bjhd->bhij", q_BxLxHxDh, k_BxLxHxDh, preferred_element_type=jnp.float32)
    causal_LxL = jnp.tril(jnp.ones((length, length), bool))
    scores_BxHxLxL = jnp.where(causal_LxL, scores_BxHxLxL * head_dim**-0.5, -jnp.inf)
    probs_BxHxLxL = jax.nn.softmax(scores_BxHxLxL, axis=-1).astype(v_BxLxHxDh.dtype)
    return jnp.einsum("bhij,bjhd->bihd", probs_BxHxLxL, v_BxLxHxDh)


def flash_attention(q_BxLxHxDh: jax.Array, k_BxLxHxDh: jax.Array, v_BxLxHxDh: jax.Array) -> jax.Array:
    """cuDNN's flash attention: never stores the [L, L] probabilities. GPU and 16-bit inputs only."""
    return jax.nn.dot_product_attention(
        q_BxLxHxDh, k_BxLxHxDh, v_BxLxHxDh, is_causal=True, implementation="cudnn"
    )


def xla_attention(q_BxLxHxDh: jax.Array, k_BxLxHxDh: jax.Array, v_BxLxHxDh: jax.Array) -> jax.Array:
    """`jax.nn.dot_product_attention` as XLA compiles it."""
    return jax.nn.dot_product_attention(
        q_BxLxHxDh, k_BxLxHxDh, v_BxLxHxDh, is_causal=True, implementation="xla"
    )


ATTENTION = {"einsum": einsum_attention, "flash": flash_attention, "xla": xla_attention}


def resolve_attention(name: str, dtype: jnp.dtype, head_dim: int, backend: str | None = None) -> str:
    """The name of the formulation that "auto" stands for: "flash" on a GPU in 16 bits, "einsum" elsewhere.

    Args:
      name: "auto" or a key of `ATTENTION`.
      dtype: the compute dtype.
      head_dim: width of a head; cuDNN needs a multiple of 8, at most 128.
      backend: `jax.default_backend()` unless given.

    Raises:
      InputError: the name is unknown.
    """
    if name in ATTENTION:
        return name
    if name != "auto":
        raise InputError(f"attention {name!r} is unknown; choose auto, {', '.join(sorted(ATTENTION))}")
    backend = backend or jax.default_backend()
    sixteen_bits = jnp.dtype(dtype) in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
    if backend == "gpu" and sixteen_bits and head_dim % 8 == 0 and head_dim <= 128:
        return "flash"
    return "einsum"
