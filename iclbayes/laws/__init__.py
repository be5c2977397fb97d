"""The laws: formulas from shots to the expected probability of the right answer."""

import dataclasses

from ..errors import InputError
from .base import Law as Law
from .baselines import BoundedPowerLaw as BoundedPowerLaw
from .baselines import LogisticLaw as LogisticLaw
from .baselines import PowerLaw as PowerLaw
from .heterogeneous import HeterogeneousExactLaw as HeterogeneousExactLaw
from .heterogeneous import HeterogeneousLaw as HeterogeneousLaw
from .mixture import MixedLaw as MixedLaw
from .mixture import OriginalLaw as OriginalLaw
from .mixture import SamplingLaw as SamplingLaw
from .mixture import mean_mixed as mean_mixed
from .mixture import task_weights as task_weights
from .scoring import ScoringLaw as ScoringLaw
from .staged import BayesianStagedLaw as BayesianStagedLaw
from .staged import StagedLaw as StagedLaw

bayesian_original = OriginalLaw()
bayesian_sampling = SamplingLaw()
bayesian_scoring = ScoringLaw()
bayesian_heterogeneous = HeterogeneousLaw()
bayesian_heterogeneous_exact = HeterogeneousExactLaw()
power = PowerLaw()
bounded_power = BoundedPowerLaw()
logistic = LogisticLaw()
staged = StagedLaw()
bayesian_staged = BayesianStagedLaw()

BAYESIAN = (bayesian_original, bayesian_sampling, bayesian_scoring)
BASELINES = (power, bounded_power, logistic)
SIX = BAYESIAN + BASELINES  # the laws of the paper
HETEROGENEOUS = (bayesian_heterogeneous, bayesian_heterogeneous_exact)
STAGED = (staged, bayesian_staged)  # recognition, then learning; fitted curve by curve
_LOG = tuple(
    dataclasses.replace(law, name=law.name + "_log", log_shots=True) for law in (*BAYESIAN, *HETEROGENEOUS)
)
LAWS: dict[str, Law] = {law.name: law for law in (*SIX, *HETEROGENEOUS, *_LOG, *STAGED)}


def get(law: "str | Law", *, shot_offset: float = 0.0, baseline_offset: float = 1.0) -> Law:
    """A law by name; `NAME_log` is the log-shot reading of a Bayesian law.

    Args:
      law: a name from `LAWS`, or a law.
      shot_offset: added to the shots of a Bayesian law (1 meets the published code's numbers).
      baseline_offset: o in t = n + o of the laws fitted curve by curve (0 meets the published code's numbers).

    Raises:
      InputError: the name is unknown; the message lists the known ones.
    """
    for name, offset in (("shot_offset", shot_offset), ("baseline_offset", baseline_offset)):
        if not (isinstance(offset, (int, float)) and 0 <= offset < float("inf")):
            raise InputError(f"{name} is {offset}; give a number of shots ≥ 0")
    if not isinstance(law, Law) and law not in LAWS:
        raise InputError(f"unknown law {law!r}: choose one of {', '.join(LAWS)}")
    found = law if isinstance(law, Law) else LAWS[law]
    if found.joint:
        return dataclasses.replace(found, shot_offset=shot_offset) if shot_offset else found
    return dataclasses.replace(found, shot_offset=baseline_offset) if baseline_offset != 1 else found
