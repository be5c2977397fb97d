"""What fine-tuning changed: laws fitted to all amounts at once that share some of their parameters, and how far each moved.

The finding under test (Arora et al. 2024, section 5): fine-tuning moves the prior over tasks and leaves the knowledge of them.
In the scoring law p_j(n) = β_j + (γ_j − β_j) σ( logit ρ_j + K n ln(γ_j / β_j) ) the prior is ρ, the knowledge γ and β, and K
the efficiency. Each hypothesis says which of them all amounts, the pretrained model among them, have in common.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..contrasts import where_open
from ..curves import Curves
from ..errors import InputError
from ..fit_blocks import left_open
from ..fits import Fits, fit
from ..reading import curves_from_frame
from .before_after import curves_of, q_of

FAMILY = ("method", "layers", "seed", "k")  # what the amounts are compared within
HYPOTHESES: Mapping[str, tuple[str, ...]] = {
    "all_free": (),
    "knowledge_shared": ("gamma", "beta"),  # the finding: ρ and K change
    "only_prior_free": ("gamma", "beta", "efficiency"),
    "prior_shared": ("prior", "efficiency"),  # the reverse: γ and β change
    "all_shared": ("prior", "efficiency", "gamma", "beta"),  # nothing changes
}
PARAMETERS = ("prior", "efficiency", "gamma", "beta")
PARTS = ("prior", "efficiency", "knowledge")
ROLE_OF_Q = (
    "knowledge",
    "knowledge",
    "efficiency",
    "prior",
)  # the part that each of q = (γ, β/γ, K, ρ) belongs to


def final_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Curves at the end of each amount, with the pretrained model's repeated under every method as amount 0.

    Args:
      frame: rows of curves with the columns of `FAMILY`, amount and step; method "none" is the pretrained model.
    """
    by = ["method", "layers", "seed", "amount"]
    before, after = frame[frame["method"] == "none"], frame[frame["method"] != "none"]
    after = after[after["step"] == after.groupby(by)["step"].transform("max")]
    repeated = []
    for method, part in after.groupby("method", sort=False):
        models = part[["layers", "seed"]].drop_duplicates()
        repeated.append(before.merge(models, on=["layers", "seed"]).assign(method=method))
    return pd.concat([*repeated, after], ignore_index=True)


def amount_curves(frame: pd.DataFrame) -> Curves:
    """`Curves` of the final steps, grouped by method, layers, seed, k and amount (0 is the pretrained model)."""
    final = final_steps(frame)
    if final.empty:
        raise InputError("suppression: there are no curves after fine-tuning; run an amount first")
    return curves_from_frame(final, group_by=[*FAMILY, "amount"], source="source", name="curves.csv")


def check_hypotheses(names: Sequence[str]) -> None:
    """Raises InputError for a name that is not in `HYPOTHESES`."""
    for name in names:
        if name not in HYPOTHESES:
            raise InputError(f"unknown hypothesis {name!r}; choose from {', '.join(HYPOTHESES)}")


def compare_sharing(
    curves: Curves,
    hypotheses: Sequence[str] = tuple(HYPOTHESES),
    *,
    fraction: float | None = None,
    **options: Any,
) -> tuple[pd.DataFrame, dict[str, Fits]]:
    """Fits the scoring law to all amounts of each family under each hypothesis.

    Args:
      curves: from `amount_curves`.
      hypotheses: names of `HYPOTHESES`; "all_free" is needed for the tests and added if absent.
      fraction: fit the first shots only and also judge the rest.
      **options: of `iclbayes.fit`.

    Returns:
      (table, fits by hypothesis). The table has a row for each family and hypothesis:
        n_points, n_params;
        rmse: of the probability over the fitted points; rmse_rest: over the others (`fraction`);
        chi2: mean of (residual / standard error)² over the points, 1 for a law that is true;
        aic: N ln(SSE / N) + 2 P, less that of the best hypothesis; fits are by least squares;
        f, p_value: of the F-test against all_free, F = (ΔSSE / ΔP) / (SSE_free / (N − P_free)). Shots of one prompt are
          correlated, so read p_value as a size beside others, not as a chance.
    """
    check_hypotheses(hypotheses)
    names = ["all_free", *(name for name in hypotheses if name != "all_free")]
    _, family, _ = curves.regroup(FAMILY)
    point_family = family[curves.group[curves.point_curve()]]
    n_families = family.max() + 1
    amounts = np.bincount(family)
    inside = (curves.weight > 0) & (curves.within(fraction) if fraction is not None else True)
    keys = curves.keys.iloc[[np.flatnonzero(family == f)[0] for f in range(n_families)]]
    keys = keys.drop(columns="amount").reset_index(drop=True)

    def total(values, where):
        return np.bincount(point_family[where], values[where], n_families)

    tables, all_fits = [], {}
    ones = np.ones(len(curves.prob))
    n_points = total(ones, inside)
    for name in names:
        share = HYPOTHESES[name]
        joint = {"share": share, "across": "amount"} if share else {}
        fits = all_fits[name] = fit(curves, "bayesian_scoring", fraction=fraction, **joint, **options)
        n_params = np.zeros(n_families, int)
        for block in fits.blocks:
            np.add.at(n_params, family[block.groups[:, 0]], block.problem.size)
        residual = fits.predict(curves) - curves.prob
        sse = total(residual**2, inside)
        with np.errstate(divide="ignore", invalid="ignore"):
            chi2 = total((residual / curves.stderr) ** 2, inside) / n_points
            rest = np.sqrt(total(residual**2, ~inside) / total(ones, ~inside))
            aic = n_points * np.log(sse / n_points) + 2 * n_params
        table = keys.assign(
            hypothesis=name, amounts=amounts, n_points=n_points.astype(int), n_params=n_params,
            rmse=np.sqrt(sse / n_points), rmse_rest=rest, chi2=chi2, aic=aic,
        )  # fmt: skip
        if name == "all_free":
            free_sse, free_params = sse, n_params
        gained, spare = free_params - n_params, n_points - free_params
        with np.errstate(divide="ignore", invalid="ignore"):
            f = np.where(gained > 0, (sse - free_sse) / gained / (free_sse / spare), np.nan)
            p_value = np.where(gained > 0, stats.f.sf(f, np.maximum(gained, 1), np.maximum(spare, 1)), np.nan)
        tables.append(table.assign(f=f, p_value=p_value))
    table = pd.concat(tables, ignore_index=True)
    table["aic"] -= table.groupby(list(FAMILY))["aic"].transform("min")
    return table, all_fits


def shifts(fits: Fits, favoured: int = 0) -> pd.DataFrame:
    """How far each parameter moved from the pretrained model's, with standard errors by the delta method.

    Args:
      fits: of `amount_curves`, all parameters free.
      favoured: the task that fine-tuning favoured.

    Returns:
      A row for each method, layers, seed, k, amount > 0, source and parameter: the values before and after, each with its
      standard error, the `shift` in the unconstrained scale (ln K; logit of ρ, γ, β) with `shift_se`, z = shift / shift_se,
      `role`, favoured or disfavoured, and `undetermined`: in which of the two fits the curves leave the parameter open ("",
      "before", "after" or "both"). Such a shift is no measurement: shift, shift_se and z are NaN.
    """
    frame = fits.to_frame(stderr=True)
    rows = []
    for name in PARAMETERS:
        value, error = frame[name].to_numpy(), frame[f"{name}_se"].to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            if name == "efficiency":
                scaled, scaled_se = np.log(value), error / value
            else:
                scaled, scaled_se = np.log(value) - np.log1p(-value), error / (value * (1 - value))
        columns = [*FAMILY, "amount", "source"]
        rows.append(
            frame[columns]
            .assign(parameter=name, value=value, value_se=error, raw=scaled, raw_se=scaled_se)
            .assign(open=left_open(frame, name))
        )
    long = pd.concat(rows, ignore_index=True)
    before = long[long["amount"] == 0].drop(columns="amount")
    after = long[long["amount"] > 0]
    table = after.merge(before, on=[*FAMILY, "source", "parameter"], suffixes=("", "_before"))
    table["shift"] = table["raw"] - table["raw_before"]
    table["shift_se"] = np.hypot(table["raw_se"], table["raw_se_before"])
    with np.errstate(divide="ignore", invalid="ignore"):
        table["z"] = table["shift"] / table["shift_se"]
    table["role"] = np.where(table["source"] == favoured, "favoured", "disfavoured")
    table["undetermined"] = where_open(table["open_before"], table["open"])
    moved = ["shift", "shift_se", "z"]
    table[moved] = table[moved].where(table["undetermined"] == "")
    columns = [*FAMILY, "amount", "source", "role", "parameter"]
    return table[[*columns, "value_before", "value_se_before", "value", "value_se", *moved, "undetermined"]]


def attribution(fits: Fits, favoured: int = 0) -> pd.DataFrame:
    """How much of the change of each curve the prior, the efficiency and the knowledge (γ, β) account for.

    Take the fitted curve before, and replace some parts of its parameters by those after: the part of the change that this
    explains is v = 1 − ‖p_mixed − p_after‖² / ‖p_before − p_after‖² over the curve's shots, shot n with weight 1 / (1 + n), so
    that shares hardly depend on how long after its rise a curve was measured. A part's share is its Shapley value, the mean of
    what it adds to v over all orders of replacing; the shares add up to 1, and may be negative.

    Args:
      fits: of `amount_curves`, all parameters free.
      favoured: the task that fine-tuning favoured.

    Returns:
      A row for each method, layers, seed, k, amount > 0 and source: role, change (root mean square change of the fitted
      probability, with these weights), prior, efficiency, knowledge (shares, NaN where nothing changed), and `undetermined`: in
      which of the two fits the curves leave a parameter open ("", "before", "after" or "both"). One parameter then stands in for
      another, and what each of them accounts for is no measurement: the shares are NaN.
    """
    frame = fits.to_frame(stderr=True)
    q = q_of(frame)
    names = [*FAMILY, "source"]
    index = pd.MultiIndex.from_frame(frame[names])
    first = frame["amount"].to_numpy() == 0
    after = np.flatnonzero(~first)
    old = pd.Series(np.flatnonzero(first), index=index[first]).loc[list(index[after])].to_numpy()

    # All curves to as many shots as the longest: points beyond a curve's own count nothing.
    sizes = np.diff(fits.curves.start)
    offset = np.minimum(np.arange(sizes.max()), sizes[after][:, None] - 1)
    shots = fits.curves.shots[fits.curves.start[after][:, None] + offset]
    real = np.arange(sizes.max()) < sizes[after][:, None]

    subsets = [frozenset(s) for size in range(4) for s in itertools.combinations(PARTS, size)]
    curve = {}
    for subset in subsets:
        taken = np.isin(ROLE_OF_Q, list(subset))
        curve[subset] = curves_of(np.where(taken, q[after], q[old]), shots)
    none, all_parts = frozenset(), frozenset(PARTS)

    weight = np.where(real, 1 / (1 + shots), 0.0)
    weight = weight / weight.sum(axis=1, keepdims=True)

    def distance(subset):
        return np.sum(weight * (curve[subset] - curve[all_parts]) ** 2, axis=1)

    change = distance(none)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = {s: np.where(change > 0, 1 - distance(s) / change, np.nan) for s in subsets}
    orders = list(itertools.permutations(PARTS))
    share = {
        part: sum(
            value[frozenset(order[: order.index(part) + 1])] - value[frozenset(order[: order.index(part)])]
            for order in orders
        )
        / len(orders)
        for part in PARTS
    }
    labels = frame.loc[after, [*FAMILY, "amount", "source"]].reset_index(drop=True)
    role = np.where(labels["source"] == favoured, "favoured", "disfavoured")
    opened = np.any([left_open(frame, name) for name in PARAMETERS], axis=0)
    undetermined = where_open(opened[old], opened[after])
    known = {part: np.where(undetermined == "", value, np.nan) for part, value in share.items()}
    return labels.assign(role=role, change=np.sqrt(change), **known, undetermined=undetermined)
