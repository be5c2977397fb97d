"""Posteriors over the parameters of any law: sampling, diagnostics, forecasts, averaging of laws."""

from .discrepancy import RandomWalk as RandomWalk
from .likelihoods import LIKELIHOODS as LIKELIHOODS
from .models import MODELS as MODELS
from .models import Spec as Spec
from .models import model as model
from .result import Posterior as Posterior
from .sample import PosteriorWarning as PosteriorWarning
from .sample import Sampling as Sampling
from .sample import posterior as posterior
