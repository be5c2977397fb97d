"""Long-format tables of simulated curves, which several test files read."""

import numpy as np
import pandas as pd


def table(n_models=4, points=16, seed=0):
    """Long-format curves of two sources for each model."""
    rng = np.random.default_rng(seed)
    rows = []
    for model in range(n_models):
        for source in "ab":
            low, high, middle = rng.uniform(0.1, 0.3), rng.uniform(0.6, 0.9), rng.uniform(3, 8)
            for n in range(points):
                p = low + (high - low) / (1 + np.exp(-(n - middle) / 2)) + 0.01 * rng.standard_normal()
                rows.append((f"m{model}", source, n, float(np.clip(p, 0, 1))))
    return pd.DataFrame(rows, columns=["model", "source", "shots", "prob"])
