"""Posteriors over the parameters of any law: sampling, diagnostics, forecasts, averaging of laws."""

from .discrepancy import RandomWalk as RandomWalk
from .likelihoods import LIKELIHOODS as LIKELIHOODS
from .model import MODELS as MODELS
from .model import Spec as Spec
from .model import model as model
from .result import Posterior as Posterior
from .sample import PosteriorWarning as PosteriorWarning
from .sample import Sampling as Sampling
from .sample import posterior as posterior
