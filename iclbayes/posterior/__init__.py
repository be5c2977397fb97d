"""Posteriors over the parameters of any law: sampling, diagnostics, forecasts, averaging of laws."""

from .discrepancy import RandomWalk as RandomWalk
from .exchange import read_netcdf as read_netcdf
from .exchange import to_inference_data as to_inference_data
from .exchange import write_netcdf as write_netcdf
from .likelihoods import LIKELIHOODS as LIKELIHOODS
from .models import MODELS as MODELS
from .models import Spec as Spec
from .models import model as model
from .result import Posterior as Posterior
from .sample import PosteriorWarning as PosteriorWarning
from .sample import Sampling as Sampling
from .sample import posterior as posterior
from .stacking import STACK as STACK
from .stacking import forecast_weights as forecast_weights
from .stacking import leave_future_out as leave_future_out
from .stacking import loo as loo
from .stacking import stacked_draws as stacked_draws
from .stacking import stacked_forecast as stacked_forecast
from .stacking import stacking_weights as stacking_weights
