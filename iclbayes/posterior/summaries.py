"""Tables of a posterior as a whole: its parameters, and whether its draws can be trusted."""

import numpy as np
import pandas as pd

from .draws import PosteriorDraws


def summary(posterior: PosteriorDraws) -> pd.DataFrame:
    """Moments and quantiles of every parameter of every group; see `Posterior.summary`."""
    rows = []
    for name, value in posterior.params.items():
        flat = value.reshape(-1, *value.shape[2:])
        for at in np.ndindex(*value.shape[2:]):
            draws = flat[(slice(None), *at)]
            if np.isnan(draws).all():
                continue
            key = posterior.curves.keys.iloc[at[0]].to_dict()
            low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
            stats = {"mean": draws.mean(), "sd": draws.std(), "median": middle, "lo90": low, "hi90": high}
            rows.append({**key, "parameter": name, "index": ",".join(map(str, at[1:])), **stats})
    return pd.DataFrame(rows)


def diagnostics(posterior: PosteriorDraws) -> pd.DataFrame:
    """A row per unit, in the order of the curves; see `Posterior.diagnostics`."""
    tables = []
    for block in posterior.blocks:
        first = block.units.groups[:, 0]
        keys = posterior.curves.keys.iloc[first].reset_index(drop=True)
        if block.spec.hierarchy:
            keys = keys.iloc[:, :0]
        elif not posterior.law.joint and "source" not in keys:
            keys["source"] = posterior.curves.source[block.units.curves[:, 0, 0]]
        tables.append(pd.concat([keys, block.checks()], axis=1).assign(_order=block.units.curves[:, 0, 0]))
    return pd.concat(tables).sort_values("_order").drop(columns="_order").reset_index(drop=True)
