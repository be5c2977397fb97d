"""`sample`: one law, every group of curves, full uncertainty."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpyro.distributions as dist
import pandas as pd

from ..background import background_tasks, check_background
from ..curves import Curves
from ..deprecation import deprecated
from ..errors import InputError, check_fraction
from ..grouping import check_points
from ..laws import Law, get
from ..runtime import workers
from .model.discrepancy import RandomWalk
from .model.learned import LearnedPriors
from .model.likelihoods import Likelihood, choose
from .model.spec import make_spec
from .result import Posterior
from .sampling import kept
from .sampling.options import SamplerOptions
from .sampling.schedule import infer
from .seeds import stream
from .units import units_of

METHODS = ("auto", "nuts", "psis", "laplace")
TAKEN = {
    "law", "parameter", "index", "quantity", "shots", "level", "horizon", "observed", "prior_dominated", "latent_mean",
    "latent_median", "latent_lo50", "latent_hi50", "latent_lo90", "latent_hi90", "elpd", "mean", "sd", "median", "lo50", "hi50",
    "lo90", "hi90", "q05", "q25", "q50", "q75", "q95", "p_never", "p_positive", "method", "k_hat", "r_hat", "ess_bulk",
    "ess_tail", "e_bfmi", "divergences", "n_points", "n_params", "ok", "problem",
}  # columns of the tables that a posterior makes, beside the group columns  # fmt: skip


class PosteriorWarning(UserWarning):
    """Something about a posterior that its reader must know."""


class DiagnosticsWarning(PosteriorWarning):
    """Posteriors that `Posterior.diagnostics` finds wanting."""


def sample(
    curves: Curves,
    law: str | Law = "bayesian_heterogeneous_exact",
    *,
    fraction: float | None = None,
    likelihood: str | Likelihood = "auto",
    priors: Mapping[str, dist.Distribution] | LearnedPriors | None = None,
    discrepancy: RandomWalk | Literal["walk"] | None = "walk",
    hierarchy: Sequence[str] = (),
    method: Literal["auto", "nuts", "psis", "laplace"] = "auto",
    background: int | None = None,
    seed: int = 0,
    sampling: SamplerOptions | None = None,
    fits: Any = None,
    on_done: Callable[[int], None] = lambda n: None,
    kept_in: Path | None = None,
    **options: Any,
) -> Posterior:
    """The posterior of a law's parameters for every group of curves at once.

    Args:
      curves: from `iclbayes.read_curves` or `Curves.from_arrays`. A weight of 0 leaves a point out; other weights do not count.
      law: a name (see `iclbayes.laws.LAWS`) or a law. Laws that are not joint get a posterior per curve.
      fraction: use only shots ≤ fraction × the curve's largest number of shots, and forecast the rest.
      likelihood: "auto", "binomial", "beta_binomial", "quasi_binomial", "normal", "logit_normal" or "beta", see
        `posterior.model.likelihoods`.
      priors: distributions that replace the defaults, by parameter name, see `posterior.model.priors`; or those that
        `learn_priors` learned from past curves.
      discrepancy: "walk" (the default), a `RandomWalk`, or None to take the law as exactly true.
      hierarchy: names of the law's parameters that groups draw from a common distribution, which is inferred too.
      method: "auto" (or "psis", its former name): importance sampling from an adapted mixture, and NUTS for the units whose k̂ is
        above 0.7; "nuts" for all; or "laplace", the normal approximation, whose k̂ says whether it can be trusted.
      background: number of tasks that own no curve; default as in `iclbayes.fit`.
      seed: of all random numbers.
      sampling: chains, draws and the like; `options` (n_chains=…, n_draws=…) replace its fields.
      fits: not used any more: modes are sought from draws of the prior. It goes with the next version.
      on_done: called with the number of units after each finished chunk, for progress bars.
      kept_in: folder in which finished draws are kept, and found again by a call with the same arguments, see `sampling.kept`.

    Returns:
      `Posterior`.

    Raises:
      InputError: an unknown law, likelihood, method, prior or parameter; data that the likelihood cannot take; groups by a
        column whose name the tables need; no curves, or a group with no point to fit.

    Warns:
      PosteriorWarning: groups with fewer points than parameters (the prior then speaks), and groups whose diagnostics are
        poor, by name.
    """
    law = get(law)
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    known = {field.name for field in dataclasses.fields(SamplerOptions)}
    if set(options) - known:
        raise InputError(
            f"unknown option {sorted(set(options) - known)[0]!r}: choose from {', '.join(sorted(known))}"
        )
    sampling = dataclasses.replace(sampling or SamplerOptions(), **options)
    if seed < 0:
        raise InputError(f"seed {seed} is negative")
    taken = [str(name) for name in curves.keys if name in TAKEN]
    if taken:
        raise InputError(
            f"column {taken[0]!r} has a meaning of its own in the tables of a posterior: rename it before grouping by it"
        )
    if fits is not None:
        warnings.warn(
            "sample does not begin at point fits any more; its argument `fits` goes with the next version",
            DeprecationWarning,
            stacklevel=2,
        )
    discrepancy = RandomWalk() if discrepancy == "walk" else discrepancy
    if not isinstance(discrepancy, RandomWalk | None):
        raise InputError(f"unknown discrepancy {discrepancy!r}: give 'walk', a RandomWalk or None")
    hierarchy = (hierarchy,) if isinstance(hierarchy, str) else tuple(hierarchy)
    unknown = [name for name in hierarchy if name not in law.param_names]
    if unknown:
        raise InputError(
            f"hierarchy: unknown parameter {unknown[0]!r}; the law {law.name} has {', '.join(law.param_names)}"
        )
    used = curves.weight > 0
    if fraction is not None:
        check_fraction("fraction", fraction)
        used &= curves.within(fraction)
    if background is not None:
        check_background(background)
    fitted = curves.with_weight(used.astype(float))
    check_points(fitted, fraction)
    chosen = choose(likelihood, curves, used)
    if hierarchy and background is None and law.joint:  # one unit, hence the same tasks in every group
        background = int(background_tasks(fitted).max())
    blocks = []
    for number, units in enumerate(units_of(curves, law, chosen, used, bool(hierarchy), background)):
        n_curves = units.curves.shape[2]
        spec = make_spec(law, chosen, n_curves, units.background, discrepancy, priors, hierarchy)
        of_units = stream(seed, "sampling", number)
        arrays = (units.groups, units.curves, units.data, units.points, units.background)
        key = kept.key_of(spec, arrays, method, sampling, seed, number, workers()) if kept_in else None
        block = kept.read(kept_in, key, spec, units) if kept_in and key else None
        if block is None:
            block = infer(spec, units, method, sampling, of_units, on_done)
            if kept_in and key:
                kept.write(kept_in, key, block)
        else:
            on_done(len(block.theta))
        blocks.append(block)
    result = Posterior(law=law, curves=curves, used=used, blocks=tuple(blocks), seed=seed)
    _warn(result)
    return result


@deprecated("iclbayes.posterior.sample")
def posterior(curves: Curves, law: str | Law = "bayesian_heterogeneous_exact", **options: Any) -> Posterior:
    """The former name of `sample`."""
    return sample(curves, law, **options)


def _warn(result: Posterior) -> None:
    table = result.diagnostics()
    few = table[table["n_points"] < table["n_params"]]
    if len(few):
        warnings.warn(
            f"{len(few)} of {len(table)} posteriors have fewer points than parameters, so the prior speaks: "
            f"{_names(few, table)}",
            PosteriorWarning,
            stacklevel=3,
        )
    bad = table[~table["ok"]]
    if len(bad):
        warnings.warn(
            f"{len(bad)} of {len(table)} posteriors have poor diagnostics (see diagnostics(); more n_warmup and n_draws, or "
            f"retries, may help): {_names(bad, table, reason=True)}",
            DiagnosticsWarning,
            stacklevel=3,
        )


def _names(rows: pd.DataFrame, table: pd.DataFrame, most: int = 20, reason: bool = False) -> str:
    known = list(table.columns[: list(table.columns).index("method")])
    names = []
    for _, row in rows.head(most).iterrows():
        label = ", ".join(f"{c}={row[c]}" for c in known) or "the only group"
        names.append(f"({label}{': ' + row['problem'] if reason else ''})")
    return " ".join(names) + (f" and {len(rows) - most} more" if len(rows) > most else "")
