"""Simulated base and instruct models whose prior moved and whose γ, β did not."""

import numpy as np
import pandas as pd

SHOTS = np.unique(np.round(np.expm1(np.linspace(0, np.log1p(400), 24))))
# task: (γ, β, K); the unsafe prior of each model
TASKS = {"pursuit": (0.85, 0.3, 0.12), "deceit": (0.7, 0.15, 0.1)}
PRIORS = {"base": 0.4, "chat": 0.05}


def simulate(seed, priors=PRIORS, gamma=None, noise=0.005):
    """Curves of two sources for every model and task by the scoring law, written out in NumPy."""
    rng = np.random.default_rng(seed)
    rows = []
    for model, unsafe in priors.items():
        for task, (g, b, k) in TASKS.items():
            g = g if gamma is None else gamma[model]
            for source, rho in (("safe", 1 - unsafe), ("unsafe", unsafe)):
                w = rho / (rho + (1 - rho) * (b / g) ** (k * SHOTS))
                p = b + (g - b) * w + noise * rng.standard_normal(len(SHOTS))
                table = pd.DataFrame({"shots": SHOTS, "prob": np.clip(p, 0, 1), "stderr": noise})
                rows.append(table.assign(model=model, task=task, source=source))
    return pd.concat(rows, ignore_index=True)
