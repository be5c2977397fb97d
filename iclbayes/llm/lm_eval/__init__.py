"""Curves from the results of lm-evaluation-harness: a folder of runs, each at one number of shots."""

from .choices import choice_probabilities as choice_probabilities
from .results import read_results as read_results
from .samples import read_samples as read_samples
