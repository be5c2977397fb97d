"""The laws: formulas from shots to the expected probability of the right answer."""

import dataclasses

from ..files import InputError
from .base import Law as Law
from .baselines import BoundedPower as BoundedPower
from .baselines import Logistic as Logistic
from .baselines import Power as Power
from .bayesian import Scoring as Scoring
from .heterogeneous import Heterogeneous as Heterogeneous
from .heterogeneous import HeterogeneousExact as HeterogeneousExact
from .mixture import Mixed as Mixed
from .mixture import Original as Original
from .mixture import Sampling as Sampling
from .mixture import mean_mixed as mean_mixed
from .mixture import task_weights as task_weights

bayesian_original = Original()
bayesian_sampling = Sampling()
bayesian_scoring = Scoring()
bayesian_heterogeneous = Heterogeneous()
bayesian_heterogeneous_exact = HeterogeneousExact()
power = Power()
bounded_power = BoundedPower()
logistic = Logistic()

BAYESIAN = (bayesian_original, bayesian_sampling, bayesian_scoring)
BASELINES = (power, bounded_power, logistic)
SIX = BAYESIAN + BASELINES  # the laws of the paper
HETEROGENEOUS = (bayesian_heterogeneous, bayesian_heterogeneous_exact)
_LOG = tuple(
    dataclasses.replace(law, name=law.name + "_log", log_shots=True) for law in (*BAYESIAN, *HETEROGENEOUS)
)
LAWS: dict[str, Law] = {law.name: law for law in (*SIX, *HETEROGENEOUS, *_LOG)}


def get(law: "str | Law", *, shot_offset: float = 0.0) -> Law:
    """A law by name; `NAME_log` is the log-shot reading of a Bayesian law.

    Args:
      law: a name from `LAWS`, or a law.
      shot_offset: added to the shots of a Bayesian law (1 meets the published code's numbers).

    Raises:
      InputError: the name is unknown; the message lists the known ones.
    """
    if not (isinstance(shot_offset, (int, float)) and shot_offset >= 0):
        raise InputError(f"shot_offset is {shot_offset}; give a number of shots ≥ 0")
    if not isinstance(law, Law) and law not in LAWS:
        raise InputError(f"unknown law {law!r}: choose one of {', '.join(LAWS)}")
    found = law if isinstance(law, Law) else LAWS[law]
    return dataclasses.replace(found, shot_offset=shot_offset) if shot_offset and found.joint else found
