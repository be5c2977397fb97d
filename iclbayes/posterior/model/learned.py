"""Priors learned from past curves, as they stand in a JSON file that a person can read.

    {"kind": "iclbayes priors", "version": 1,
     "laws": {"staged": {"t_format": {"raw": "ln", "mean": 0.4, "sd": 0.9, "median": 1.5, "lo90": 0.3, "hi90": 6.6,
                                      "learned": 0.8}, …}, …},
     "learned_from": {"groups": 18, "curves": 18, "points": 410, "digest": "…"},
     "versions": {"iclbayes": "…"}, "sha256": "…"}

Only `mean` and `sd`, of the normal prior of the raw parameter, are read again; median and 90 % range are the same on the natural
scale, for people. Parameters of the noise and of the discrepancy stand beside those of the law: they are used where the posterior
has them, since which of them there are depends on the likelihood.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpyro.distributions as dist

from ...digests import read_sealed, write_sealed
from ...errors import InputError
from ...laws import LAWS, Law, get
from .priors import normal, transform_of

KIND, VERSION = "iclbayes priors", 1
Z90 = NormalDist().inv_cdf(0.95)  # a normal holds 90 % within this many standard deviations


@dataclasses.dataclass(frozen=True)
class Normal:
    """The normal prior of one raw parameter (every entry of it).

    Attributes:
      mean, sd: on the raw scale.
      learned: share of the default prior's variance that the curves took away; 0: they said nothing.
    """

    mean: float
    sd: float
    learned: float = 0.0


@dataclasses.dataclass(frozen=True)
class LearnedPriors:
    """Normal priors of raw parameters by law, learned from past curves by `iclbayes.posterior.learn_priors`.

    Takes the place of a mapping wherever `priors=` is asked for.

    Attributes:
      laws: name of the law → name of the parameter → its prior; also the parameters of noise and discrepancy.
      learned_from: what it was learned from: curves, points, digest of the values, and what the caller adds.
    """

    laws: Mapping[str, Mapping[str, Normal]]
    learned_from: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def of(self, law: str | Law, extra: Collection[str] = ()) -> dict[str, dist.Distribution]:
        """The priors of a law as `iclbayes.posterior.sample` takes them, raw_NAME → distribution.

        Args:
          law: the law or its name.
          extra: parameters of the noise and of the discrepancy that the posterior has; others are left out.

        Raises:
          InputError: no priors of this law were learned.
        """
        law = get(law)
        if law.name not in self.laws:
            raise InputError(
                f"priors: none were learned for the law {law.name}, only for {', '.join(self.laws)}; "
                f"learn them too or choose among these"
            )
        wanted = {*law.param_names, *extra}
        return {
            f"raw_{name}": normal(one.mean, one.sd)
            for name, one in self.laws[law.name].items()
            if name in wanted
        }

    def write(self, path: str | os.PathLike) -> None:
        """Writes the priors as JSON, whole or not at all.

        Raises:
          InputError: a place that cannot be written.
        """
        from ... import __version__

        tables = {
            law: {name: _row(law, name, one) for name, one in found.items()}
            for law, found in self.laws.items()
        }
        fields = {"kind": KIND, "version": VERSION, "laws": tables, "learned_from": dict(self.learned_from)}
        write_sealed(fields | {"versions": {"iclbayes": __version__}}, path)


def read_priors(path: str | os.PathLike) -> LearnedPriors:
    """The priors of a file that `LearnedPriors.write` or `iclbayes learn-prior` wrote.

    Numbers may be changed by hand: take the line with the digest, "sha256", out then.

    Raises:
      InputError: there is no such file, or it holds no priors, or was damaged.
    """
    path = Path(path)
    try:
        fields = read_sealed(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; name a file that iclbayes learn-prior wrote"
        ) from None
    if fields.get("kind") != KIND or fields.get("version") != VERSION:
        raise InputError(
            f"{path}: holds no priors of version {VERSION}; name a file that iclbayes learn-prior wrote"
        )
    laws: dict[str, dict[str, Normal]] = {}
    tables = fields.get("laws")
    for law, table in (tables if isinstance(tables, dict) else {}).items():
        if law not in LAWS or not isinstance(table, dict):
            raise InputError(
                f"{path}: laws: {law!r} is no law of this package, or no table of priors; mend or remove it"
            )
        laws[law] = {str(name): _read(path, law, name, row) for name, row in table.items()}
    if not laws:
        raise InputError(f"{path}: holds priors of no law; name a file that iclbayes learn-prior wrote")
    about = fields.get("learned_from")
    return LearnedPriors(laws, about if isinstance(about, dict) else {})


def _read(path: Path, law: str, name: str, row: Any) -> Normal:
    try:
        mean, sd, learned = float(row["mean"]), float(row["sd"]), float(row.get("learned", 0.0))
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        mean = sd = learned = math.nan
    if not (math.isfinite(mean) and math.isfinite(sd) and sd > 0 and abs(mean) < 1e3 and sd < 1e3):
        raise InputError(f"{path}: {law}: {name}: wants a finite mean and a positive sd; mend or remove it")
    return Normal(mean, sd, learned)


def _row(law: str, name: str, one: Normal) -> dict[str, Any]:
    told = {key: float(f"{value:.4g}") for key, value in natural_quantiles(law, name, one).items()}
    numbers = {"mean": round(one.mean, 4), "sd": round(one.sd, 4)}
    return {"raw": _raw_scale(law, name)[0]} | numbers | told | {"learned": round(one.learned, 3)}


def natural_quantiles(law: str, name: str, one: Normal) -> dict[str, float]:
    """median, lo90 and hi90 of a parameter of the law, of its noise or of its discrepancy, on the natural scale."""
    _, back = _raw_scale(law, name)
    return {
        key: float(back(one.mean + z * one.sd)) for key, z in (("median", 0.0), ("lo90", -Z90), ("hi90", Z90))
    }


def _raw_scale(law: str, name: str) -> tuple[str, Callable[[float], float]]:
    """(name of the raw scale, function from raw to natural numbers)."""
    known = get(law)
    kind = transform_of(known, name) if name in known.param_names else "exp"
    return {
        "exp": ("ln", np.exp),
        "sigmoid": ("logit", lambda x: 1 / (1 + np.exp(-x))),
        "simplex": ("ln of the odds to the last task", np.exp),
        "identity": ("as it is", lambda x: x),
    }[kind]
