"""iclbayes: Bayesian scaling laws for in-context learning."""

from .files import InputError as InputError
