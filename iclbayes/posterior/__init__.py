"""Posteriors over the parameters of any law: sampling, diagnostics, forecasts, averaging of laws."""

from .arviz import read_netcdf as read_netcdf
from .arviz import to_inference_data as to_inference_data
from .arviz import write_netcdf as write_netcdf
from .model.discrepancy import RandomWalk as RandomWalk
from .model.likelihoods import LIKELIHOODS as LIKELIHOODS
from .model.model import MODELS as MODELS
from .model.model import Spec as Spec
from .model.model import model as model
from .result import Posterior as Posterior
from .sample import PosteriorWarning as PosteriorWarning
from .sample import SamplerOptions as SamplerOptions
from .sample import posterior as posterior
from .stacking import STACK as STACK
from .stacking import forecast_weights as forecast_weights
from .stacking import leave_future_out as leave_future_out
from .stacking import loo as loo
from .stacking import stacked_draws as stacked_draws
from .stacking import stacked_forecast as stacked_forecast
from .stacking import stacking_weights as stacking_weights
