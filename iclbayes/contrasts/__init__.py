"""Base against instruct, before against after: which parameters of a Bayesian law moved, with uncertainty.

Everything here works on draws of the parameters: those of a `Posterior`, or, with `NormalDraws`, those of the normal
approximation around a point fit, whose covariance is the fit's (JᵀWJ)⁻¹ σ̂² on the raw (unconstrained) parameters.

A point fit's covariance is that of a linear law, and badly short where the points hardly tell two parameters apart. For point
fits, whether a parameter moved is therefore judged by `sharing_tests`: what the fit loses when both sides have it in common.

Shifts are on unconstrained scales, ln for the efficiency K and the spread s, logit for ρ, γ and β, so that a shift of 0.3 is a
factor of 1.35 of K or of odds wherever it happens.
"""

from .draws import NormalDraws as NormalDraws
from .draws import ParameterDraws as ParameterDraws
from .draws import check_law as check_law
from .draws import horizon_of as horizon_of
from .draws import horizons as horizons
from .draws import source_params as source_params
from .pairs import common_sources as common_sources
from .pairs import paired_groups as paired_groups
from .sharing import sharing_tests as sharing_tests
from .shifts import contrast as contrast
from .shifts import holm as holm
from .shifts import unconstrained as unconstrained
from .shifts import where_open as where_open
from .tables import parameter_table as parameter_table
from .tables import posterior_table as posterior_table
from .tables import reach_quantiles as reach_quantiles
from .tables import reach_table as reach_table
