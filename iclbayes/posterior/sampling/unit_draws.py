"""`UnitDraws`: the draws of the units of one bucket, and whether they can be trusted."""

import dataclasses

import numpy as np
import pandas as pd

from ..model.spec import Spec
from ..units import Units
from . import diagnostics, psis
from .laplace import Mode


@dataclasses.dataclass(frozen=True)
class UnitDraws:
    """Posteriors of equal shape: U units of G groups of J curves.

    Attributes:
      spec, units: what was inferred, from which points.
      mode: best mode of each unit.
      theta: [U, C, D, P] draws of the latent vector.
      energy, diverging, n_steps: [U, C, D] of NUTS; NaN, False, 0 for the other methods.
      bfmi: [U, C] E-BFMI of each chain before thinning; NaN for the other methods.
      k_hat: [U] Pareto shape of the importance weights, of the normal draws for "laplace".
      method: [U] "nuts", "psis" or "laplace".
    """

    spec: Spec
    units: Units
    mode: Mode
    theta: np.ndarray
    energy: np.ndarray
    diverging: np.ndarray
    n_steps: np.ndarray
    bfmi: np.ndarray
    k_hat: np.ndarray
    method: np.ndarray

    def checks(self, which: slice | np.ndarray = slice(None)) -> pd.DataFrame:
        """A row per unit (all, or those of an index): method, k_hat, r_hat, ess_bulk, ess_tail, divergences, e_bfmi, n_points,
        n_params, ok, problem."""
        moved = np.moveaxis(self.theta[which], -1, 1)  # [U, P, C, D]
        n_chosen = len(moved)
        chained = self.method[which] == "nuts"
        columns = {"r_hat": np.full(n_chosen, np.nan), "ess_bulk": np.full(n_chosen, np.nan)}
        columns |= {name: np.full(n_chosen, np.nan) for name in ("ess_tail", "e_bfmi")}
        if chained.any():
            columns["r_hat"][chained] = diagnostics.rhat(moved[chained]).max(1)
            columns["ess_bulk"][chained] = diagnostics.ess_bulk(moved[chained]).min(1)
            columns["ess_tail"][chained] = diagnostics.ess_tail(moved[chained]).min(1)
            columns["e_bfmi"][chained] = self.bfmi[which][chained].min(1)
        table = pd.DataFrame({"method": self.method[which], "k_hat": self.k_hat[which], **columns})
        table["divergences"] = self.diverging[which].sum((1, 2))
        table["n_points"] = self.units.data.mask[which].sum((1, 2, 3))
        sizes = [int(np.prod(s)) for s in self.spec.shapes.values()]
        table["n_params"] = sum(sizes) * self.units.groups.shape[1]
        problems = [_problem(row) for _, row in table.iterrows()]
        return table.assign(ok=[not p for p in problems], problem=problems)


def _problem(row: pd.Series) -> str:
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
    elif not row["k_hat"] <= psis.GOOD:
        found.append(f"k-hat {row['k_hat']:.2f}")
    return ", ".join(found)
