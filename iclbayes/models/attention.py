"""Causal self-attention, in the formulations that this library chooses among.

Every function takes q, k, v of shape [B, L, H, Dh] and returns [B, L, H, Dh]:

    out_i = Σ_{j ≤ i} softmax_j(q_i · k_j / √Dh) v_j,   softmax in float32.
"""

import itertools

import jax
import jax.numpy as jnp

from ..errors import InputError


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


@jax.custom_vjp
def blocked_attention(q_BxLxHxDh: jax.Array, k_BxLxHxDh: jax.Array, v_BxLxHxDh: jax.Array) -> jax.Array:
    """Plain matrix products over blocks of queries, each with only the keys that it sees; made for the CPU.

    With n blocks, (n + 1) / 2n of the [L, L] scores are ever computed. The softmax stays unnormalised,
    exp(s − max s), and its sum divides the [L, Dh] output instead. The backward pass is written out, so that
    it makes no [L, L] array but dP and dS (the sums over keys of P · dP are those of out · dout over Dh, as
    in Dao et al. 2022, FlashAttention, appendix B.4).
    """
    return _blocked_forward(q_BxLxHxDh, k_BxLxHxDh, v_BxLxHxDh)[0]


BLOCK_LENGTH, MOST_BLOCKS = 64, 4


def query_blocks(length: int) -> list[tuple[int, int]]:
    """First and last + 1 query of each block: blocks of 64, or 4 longer ones."""
    number = max(1, min(MOST_BLOCKS, length // BLOCK_LENGTH))
    edges = [length * i // number for i in range(number + 1)]
    return list(itertools.pairwise(edges))


def _blocked_forward(q_BxLxHxDh, k_BxLxHxDh, v_BxLxHxDh):
    q, k, v = (x.swapaxes(1, 2) for x in (q_BxLxHxDh, k_BxLxHxDh, v_BxLxHxDh))  # BxHxLxDh
    q = q * q.shape[-1] ** -0.5
    outs, exps, sums = [], [], []
    for lo, hi in query_blocks(q.shape[2]):
        scores = jnp.einsum(
            "bhid,bhjd->bhij", q[:, :, lo:hi], k[:, :, :hi], preferred_element_type=jnp.float32
        )
        seen = jnp.arange(hi)[None, :] <= jnp.arange(lo, hi)[:, None]
        scores = jnp.where(seen, scores, -jnp.inf)
        exp = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
        total = jnp.sum(exp, axis=-1, keepdims=True)
        exp = exp.astype(v.dtype)
        out = jnp.einsum("bhij,bhjd->bhid", exp, v[:, :, :hi], preferred_element_type=jnp.float32) / total
        outs, exps, sums = [*outs, out.astype(v.dtype)], [*exps, exp], [*sums, total]
    out = jnp.concatenate(outs, axis=2)
    return out.swapaxes(1, 2), (q, k, v, out, exps, sums)


def _blocked_backward(residuals, dout_BxLxHxDh):
    q, k, v, out, exps, sums = residuals
    dtype, length = q.dtype, q.shape[2]
    dout = dout_BxLxHxDh.swapaxes(1, 2).astype(jnp.float32)
    delta = jnp.sum(dout * out.astype(jnp.float32), axis=-1, keepdims=True)  # BxHxLx1
    dqs, dk, dv = [], 0.0, 0.0
    for (lo, hi), exp, total in zip(query_blocks(length), exps, sums, strict=True):
        rest = ((0, 0), (0, 0), (0, length - hi), (0, 0))
        dout_block, delta_block = (dout[:, :, lo:hi] / total).astype(dtype), delta[:, :, lo:hi] / total
        dprobs = jnp.einsum("bhid,bhjd->bhij", dout_block, v[:, :, :hi], preferred_element_type=jnp.float32)
        dscores = (exp * (dprobs - delta_block)).astype(dtype)
        dqs.append(jnp.einsum("bhij,bhjd->bhid", dscores, k[:, :, :hi]))
        dk = dk + jnp.pad(jnp.einsum("bhij,bhid->bhjd", dscores, q[:, :, lo:hi]), rest)
        dv = dv + jnp.pad(jnp.einsum("bhij,bhid->bhjd", exp, dout_block), rest)
    dq = jnp.concatenate(dqs, axis=2) * q.shape[-1] ** -0.5
    return tuple(jnp.asarray(x).astype(dtype).swapaxes(1, 2) for x in (dq, dk, dv))


blocked_attention.defvjp(_blocked_forward, _blocked_backward)


ATTENTION = {
    "blocked": blocked_attention,
    "einsum": einsum_attention,
    "flash": flash_attention,
    "xla": xla_attention,
}


def resolve_attention(name: str, dtype: jnp.dtype, head_dim: int, backend: str | None = None) -> str:
    """The formulation that "auto" stands for: "blocked" on a CPU, "flash" on a GPU in 16 bits, else "xla".

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
    return "blocked" if backend == "cpu" else "xla"
