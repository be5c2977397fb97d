"""Fitting laws to curves: losses, the Levenberg–Marquardt optimizer, the loop that serves every optimizer, the engine."""

from .batch import fit_batch as fit_batch
from .batch import fit_curve as fit_curve
from .batch import fit_group as fit_group
from .levenberg_marquardt import LevenbergMarquardtState as LevenbergMarquardtState
from .levenberg_marquardt import levenberg_marquardt as levenberg_marquardt
from .losses import LOSSES as LOSSES
from .losses import get_loss as get_loss
from .problem import Points as Points
from .problem import Problem as Problem
from .result import FitResult as FitResult
from .result import Status as Status
