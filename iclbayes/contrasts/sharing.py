"""Tests of point fits: what is lost if before and after have a parameter in common."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from ..curves import Curves, concatenate
from ..errors import InputError
from ..fits import fit
from ..laws import Law, ScoringLaw, bayesian_scoring, get
from ..laws.base import Params
from ..nested import f_test, pooled
from ..runtime import cores
from .draws import PARAMETERS
from .pairs import common_sources, only, paired_groups


@dataclasses.dataclass(frozen=True)
class _BetaAlone(Law):
    """The scoring law or its heterogeneous kin with β as a raw parameter of its own, so that it can be shared without γ.

    Raw: beta = logit β, gamma = logit((γ − β)/(1 − β)); the others as in `base`.
    """

    base: Law = bayesian_scoring

    # Of a class in `Law`, of the law `base` here.
    param_names = property(lambda self: self.base.param_names)  # pyright: ignore[reportAssignmentType]
    per_source = property(lambda self: self.base.per_source)  # pyright: ignore[reportAssignmentType]
    ridge = property(lambda self: self.base.ridge)  # pyright: ignore[reportAssignmentType]
    needs: ClassVar[dict] = {}

    @property
    def ridge_at(self) -> dict[str, tuple[float, float]]:
        return {name: at for name, at in self.base.ridge_at.items() if name not in ("gamma", "beta")}

    def _raw(self, raw):
        """Raw parameters of `base`."""
        rise = jax.nn.log_sigmoid(raw["gamma"])
        log_gamma = jnp.logaddexp(jax.nn.log_sigmoid(raw["beta"]), jax.nn.log_sigmoid(-raw["beta"]) + rise)
        log_rest = jax.nn.log_sigmoid(-raw["beta"]) + jax.nn.log_sigmoid(-raw["gamma"])  # ln(1 − γ)
        return raw | {"gamma": log_gamma - log_rest, "beta": raw["beta"] - rise}

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        return self.base.raw_shapes(n_curves, background)

    def constrain(self, raw: Params) -> Params:
        return self.base.constrain(self._raw(raw))

    def local(self, raw: Params) -> Array:
        return self.base.local(self._raw(raw))

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        return self.base.point_and_jacobian(q, x)

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        raw = self.base.guess(x, y, w, n_starts, key, background)
        log_beta = jax.nn.log_sigmoid(raw["gamma"]) + jax.nn.log_sigmoid(raw["beta"])
        gamma = raw["gamma"] + jax.nn.log_sigmoid(-raw["beta"])
        return raw | {"gamma": gamma, "beta": log_beta - jnp.log1p(-jnp.exp(log_beta))}


def sharing_tests(
    curves: Curves, law: str | Law, pairs: Sequence[tuple[str, str]], *, column: str = "model", **options: Any
) -> pd.DataFrame:
    """For every pair and condition: how much worse is the law if before and after have one parameter in common?

    The F-test of `iclbayes.nested` on least-squares fits to both sides at once.

    Args:
      curves, pairs, column: as for `contrast`.
      law: the scoring or the heterogeneous law, or one of their log readings.
      **options: of `iclbayes.fit`.

    Returns:
      A row per pair, condition and parameter: pair (number), parameter, f, p_value. Points of one prompt are correlated, so
      p_value is somewhat too small for curves from few prompts. NaN without spare points.
    """
    law = get(law)
    if not isinstance(law, ScoringLaw):
        raise InputError(
            f"point fits of the law {law.name} cannot be contrasted; take posteriors, or bayesian_scoring"
        )
    parts, rows = [], []
    for number, (a, b, _) in enumerate(paired_groups(curves, pairs, column)):
        common = common_sources(curves, a, b)
        for role, group in enumerate((a, b)):
            parts.append(only(curves, group, common))
            rows.append((number, role))
    both = concatenate(parts, pd.DataFrame(rows, columns=["pair", "role"]))
    alone = _BetaAlone(f"{law.name}_beta", law.log_shots, law.shot_offset, base=law)

    pair = both.keys["pair"].to_numpy()

    def judged(name):
        share = {"share": (name,), "across": "role"} if name else {}
        return pooled(fit(both, alone if name == "beta" else law, **share, **options), pair)

    names = [name for name in PARAMETERS if name in law.param_names]
    with ThreadPoolExecutor(min(cores(), len(names) + 1)) as pool:  # compilation runs on one core
        free, *shared = pool.map(judged, ["", *names])
    tables = []
    for name, one in zip(names, shared, strict=True):
        f, p = f_test(free, one)
        tables.append(pd.DataFrame({"pair": np.arange(len(f)), "parameter": name, "f": f, "p_value": p}))
    return pd.concat(tables, ignore_index=True)
