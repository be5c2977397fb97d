"""Which parameters moved, by how much, and how sure that is."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .draws import NormalDraws, ParameterDraws, open_in_fits, source_params
from .pairs import common_sources, paired_groups

# In which of two groups a parameter is not determined, by (before, after).
UNDETERMINED = {(False, False): "", (True, False): "before", (False, True): "after", (True, True): "both"}


def contrast(
    one: ParameterDraws,
    pairs: Sequence[tuple[str, str]],
    *,
    column: str = "model",
    tests: pd.DataFrame | None = None,
    tolerance: float = 0.3,
    alpha: float = 0.05,
    unknown: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Which parameters moved from the first to the second of each pair.

    Args:
      one: draws.
      pairs: (before, after), values of `column` (base and instruct models); compared under every other condition both have.
      tests: from `sharing_tests`; their p-values then decide what moved, instead of the draws.
      tolerance: shifts (of ln or logit) up to this count as none.
      alpha: chance of calling anything moved in a pair where nothing did (Holm's correction over its parameters).

      unknown: by parameter, [G] or [G, J], which the data do not determine (of `Posterior`s: `posterior.undetermined`; of draws
        around point fits it is known without). Such a parameter gets no numbers, is "unclear", and does not count in Holm's
        correction.

    Returns:
      A row per pair, condition, parameter and source ("" for the group's own), with these columns behind their names.
      value_before, value_after: medians on the natural scale;
      shift, shift_sd, lo90, hi90: median, standard deviation and 90 % interval on the unconstrained scale;
      p_value: two-sided, corrected; with `tests` that of all sources together;
      undetermined: with `unknown`, in which of the two it is so: "", "before", "after" or "both";
      moved: "same" where the interval lies within ± tolerance; "up" or "down" where it does not, nor does it hold 0, and
        p_value < alpha; "unclear" where none of these.

    Raises:
      InputError: as `source_params` and `paired_groups`; no source in common.
    """
    curves = one.curves
    params = source_params(one)
    if unknown is None and isinstance(one, NormalDraws):
        unknown = open_in_fits(one.fits, params)
    labels = [list(curves.source[curves.group == g]) for g in range(curves.n_groups)]
    rest = [name for name in map(str, curves.keys) if name != column]
    tables = []
    for number, (a, b, (before, after)) in enumerate(paired_groups(curves, pairs, column)):
        common = [(s, labels[a].index(s), labels[b].index(s)) for s in common_sources(curves, a, b)]
        rows = []
        for name, value in params.items():
            once = value.ndim == 2
            for source, i, j in [("", None, None)] if once else common:
                x, y = (value[:, a], value[:, b]) if once else (value[:, a, i], value[:, b, j])
                shift = unconstrained(name, y) - unconstrained(name, x)
                vague = (False, False)
                if unknown is not None:
                    place = unknown[name]
                    x_open, y_open = (place[a], place[b]) if once else (place[a, i], place[b, j])
                    vague = (bool(x_open), bool(y_open))
                    shift = np.full_like(shift, np.nan) if any(vague) else shift
                low, middle, high = np.quantile(shift, [0.05, 0.5, 0.95])
                tail = min((shift > 0).sum(), (shift < 0).sum())
                p = np.nan if np.isnan(shift).any() else min(1.0, 2 * (tail + 1) / (len(shift) + 1))
                rows.append(
                    {
                        **{n: curves.keys[n].iloc[b] for n in rest},
                        "before": before, "after": after, "parameter": name, "source": source,
                        "value_before": np.nan if vague[0] else np.median(x), "value_after": np.nan if vague[1] else np.median(y),
                        "shift": middle, "shift_sd": shift.std(), "lo90": low, "hi90": high, "p_value": p,
                    }
                    | ({} if unknown is None else {"undetermined": UNDETERMINED[vague]})
                )  # fmt: skip
        table = pd.DataFrame(rows)
        if tests is None:
            table["p_value"] = holm(table["p_value"].to_numpy())
        else:
            mine = tests[tests["pair"] == number]
            corrected = dict(zip(mine["parameter"], holm(mine["p_value"].to_numpy()), strict=True))
            table["p_value"] = table["parameter"].map(corrected)
        table["moved"] = _verdicts(table, tolerance, alpha)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _verdicts(table: pd.DataFrame, tolerance: float, alpha: float) -> np.ndarray:
    significant = table["p_value"] < alpha
    apart = (table["lo90"] > 0) | (table["hi90"] < 0)
    near = (table["lo90"] > -tolerance) & (table["hi90"] < tolerance)
    sign = np.where(table["shift"] > 0, "up", "down")
    return np.where(near, "same", np.where(significant & apart, sign, "unclear"))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number by Holm's step-down method; NaN stays NaN and does not count."""
    p = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return out


def unconstrained(name: str, value: np.ndarray) -> np.ndarray:
    """A parameter on its scale without ends: ln for the efficiency and the spread, logit for the others."""
    return np.log(value) if name in ("efficiency", "spread") else _logit(value)


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-300, 1 - 1e-16)
    return np.log(p) - np.log1p(-p)
