"""Model FLOPs utilisation: what a training does of what the device can, against a matrix product measured on the spot."""

import time

import jax
import jax.numpy as jnp
import pandas as pd

from ..models import GPT2Config
from ..models.gpt2 import flops_per_token


def matrix_rate(dtype: str) -> float:
    """Floating-point operations a second of a product of square matrices, the best of ten, after warming up."""
    size = 1024 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    times = []
    for _ in range(12):
        began = time.perf_counter()
        jax.block_until_ready(product(x, x))
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times[2:])


def utilisation(log: pd.DataFrame, model: GPT2Config, rate: float) -> dict[str, float]:
    """Tokens/s (the median of a training log's rows) × FLOPs a token / the measured matrix rate, and these numbers.

    Args:
      log: rows of metrics.csv.
      model: sizes.
      rate: from `matrix_rate`, in the dtype of the model.
    """
    speed = log["tokens_per_s"].median()
    flops = speed * flops_per_token(model)
    return {
        "tokens_per_s": speed,
        "tflops": flops / 1e12,
        "matrix_tflops": rate / 1e12,
        "utilisation": flops / rate,
    }
