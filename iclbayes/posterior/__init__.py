"""Posteriors over the parameters of any law: sampling, diagnostics, forecasts, averaging of laws."""

from .answers import diagnostics_sentence as diagnostics_sentence
from .answers import forecast_sentences as forecast_sentences
from .answers import reach_sentences as reach_sentences
from .arviz import read_netcdf as read_netcdf
from .arviz import to_arviz as to_arviz
from .arviz import to_arviz as to_inference_data  # the former name
from .arviz import write_netcdf as write_netcdf
from .contrast_answers import MEANING as MEANING
from .contrast_answers import contrast_sentences as contrast_sentences
from .learning import learn_priors as learn_priors
from .learning import learned_table as learned_table
from .model.discrepancy import RandomWalk as RandomWalk
from .model.learned import LearnedPriors as LearnedPriors
from .model.learned import read_priors as read_priors
from .model.likelihoods import LIKELIHOODS as LIKELIHOODS
from .model.numpyro_model import model as numpyro_model
from .model.spec import Spec as Spec
from .model.spec import UnitData as UnitData
from .model.spec import make_spec as make_spec
from .moved import curve_pairs as curve_pairs
from .moved import times_table as times_table
from .predictive import even_shots as even_shots
from .result import Posterior as Posterior
from .sampler import DiagnosticsWarning as DiagnosticsWarning
from .sampler import PosteriorWarning as PosteriorWarning
from .sampler import posterior as posterior
from .sampler import sample as sample
from .sampling.options import SamplerOptions as SamplerOptions
from .stacking import STACK as STACK
from .stacking import Stack as Stack
from .stacking import forecast_weights as forecast_weights
from .stacking import leave_future_out as leave_future_out
from .stacking import loo as loo
from .stacking import stack as stack
from .stacking import stacking_weights as stacking_weights
