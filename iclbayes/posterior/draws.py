"""`UnitDraws`: the draws of units of equal shape, and whether they can be trusted."""

import dataclasses

import numpy as np
import pandas as pd

from .model.model import Spec
from .sampling import diagnostics, psis
from .units import Units


@dataclasses.dataclass(frozen=True)
class UnitDraws:
    """Posteriors of equal shape: U units of G groups of J curves.

    Attributes:
      spec, layout: what was inferred, from which points.
      mode: `laplace.Mode` with leading axis [U].
      theta: [U, C, D, P] draws of the latent vector.
      energy, diverging, n_steps: [U, C, D] of NUTS; NaN, False, 0 for the other methods.
      bfmi: [U, C] E-BFMI of each chain before thinning; NaN for the other methods.
      k_hat: [U] Pareto shape of the importance weights; NaN where there were none.
      method: [U] "nuts", "psis" or "laplace".
    """

    spec: Spec
    layout: Units
    mode: object
    theta: np.ndarray
    energy: np.ndarray
    diverging: np.ndarray
    n_steps: np.ndarray
    bfmi: np.ndarray
    k_hat: np.ndarray
    method: np.ndarray

    def checks(self, units=slice(None)) -> pd.DataFrame:
        """A row per unit (all, or those of an index): method, k_hat, r_hat, ess_bulk, ess_tail, divergences, e_bfmi, n_points,
        n_params, ok, problem."""
        moved = np.moveaxis(self.theta[units], -1, 1)  # [U, P, C, D]
        n_units = len(moved)
        chained = self.method[units] == "nuts"
        columns = {"r_hat": np.full(n_units, np.nan), "ess_bulk": np.full(n_units, np.nan)}
        columns |= {name: np.full(n_units, np.nan) for name in ("ess_tail", "e_bfmi")}
        if chained.any():
            columns["r_hat"][chained] = diagnostics.rhat(moved[chained]).max(1)
            columns["ess_bulk"][chained] = diagnostics.ess_bulk(moved[chained]).min(1)
            columns["ess_tail"][chained] = diagnostics.ess_tail(moved[chained]).min(1)
            columns["e_bfmi"][chained] = self.bfmi[units][chained].min(1)
        table = pd.DataFrame({"method": self.method[units], "k_hat": self.k_hat[units], **columns})
        table["divergences"] = self.diverging[units].sum((1, 2))
        table["n_points"] = self.layout.data.mask[units].sum((1, 2, 3))
        sizes = [int(np.prod(s)) for s in self.spec.shapes.values()]
        table["n_params"] = sum(sizes) * self.layout.groups.shape[1]
        problems = [_problem(row) for _, row in table.iterrows()]
        return table.assign(ok=[not p for p in problems], problem=problems)


def _problem(row) -> str:
    found = []
    if row["method"] == "nuts":
        if row["divergences"]:
            found.append(f"{row['divergences']} divergence{'s' if row['divergences'] > 1 else ''}")
        if not row["r_hat"] <= diagnostics.MAX_RHAT:
            found.append(f"R-hat {row['r_hat']:.3f}")
        ess = min(row["ess_bulk"], row["ess_tail"])
        if not ess >= diagnostics.MIN_ESS:
            found.append(f"ESS {ess:.0f}")
        if not row["e_bfmi"] >= diagnostics.MIN_BFMI:
            found.append(f"E-BFMI {row['e_bfmi']:.2f}")
    elif row["method"] == "psis" and not row["k_hat"] <= psis.GOOD:
        found.append(f"k-hat {row['k_hat']:.2f}")
    return ", ".join(found)
