"""Which parameters moved, by how much, and how sure that is."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .draws import ParameterDraws, source_params
from .pairs import common_sources, paired_groups

# Which of two is so, by (first, second).
WHICH = {(False, False): "", (True, False): "before", (False, True): "after", (True, True): "both"}


def contrast(
    one: ParameterDraws,
    pairs: Sequence[tuple[str, str]],
    *,
    column: str = "model",
    tests: pd.DataFrame | None = None,
    tolerance: float = 0.3,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Which parameters moved from the first to the second of each pair.

    Args:
      one: draws.
      pairs: (before, after), values of `column` (base and instruct models); compared under every other condition both have.
      tests: from `sharing_tests`; their p-values then decide what moved, instead of the draws.
      tolerance: shifts (of ln or logit) up to this count as none.
      alpha: chance of calling anything moved in a pair where nothing did (Holm's correction over its parameters).

    Returns:
      A row per pair, condition, parameter and source ("" for the group's own), with these columns behind their names.
      value_before, value_after: medians on the natural scale;
      shift, shift_sd, lo90, hi90: median, standard deviation and 90 % interval on the unconstrained scale;
      p_value: two-sided, corrected; with `tests` that of all sources together;
      undetermined: in which of the two the data leave the parameter open (`one.undetermined()`): "", "before", "after" or
        "both"; it has no value there, its shift no numbers and no say in the correction, and it is "unclear";
      moved: "same" where the interval lies within ± tolerance; "up" or "down" where it does not, nor does it hold 0, and
        p_value < alpha; "unclear" where none of these.

    Raises:
      InputError: as `source_params` and `paired_groups`; no source in common.
    """
    curves = one.curves
    params = source_params(one)
    opened = one.undetermined()
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
                place = opened[name]
                vague = (bool(place[a]), bool(place[b])) if once else (bool(place[a, i]), bool(place[b, j]))
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
                        "undetermined": WHICH[vague],
                    }
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


def where_open(before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """[n] "", "before", "after" or "both": in which of two something is not determined, from whether it is so [n] in each."""
    pairs = zip(np.asarray(before, bool).tolist(), np.asarray(after, bool).tolist(), strict=True)
    return np.array([WHICH[pair] for pair in pairs], dtype=object)


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
