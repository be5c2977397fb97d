"""How to sample."""

import dataclasses

import numpy as np

from ...errors import InputError, check_whole
from . import psis

MOST = 2**31 - 1  # draws are counted in 32 bits


@dataclasses.dataclass(frozen=True)
class SamplerOptions:
    """How to sample.

    Attributes:
      n_chains, n_warmup, n_draws: chains of a unit, adaptation steps, draws kept of each chain.
      target_accept, max_tree_depth: of NUTS.
      n_importance: proposals of a unit for importance sampling, twice as many without a discrepancy; whole thousands for each
        look, of which the later half count.
      max_k_hat: with "auto", NUTS takes over the units whose k̂ is above this (inf: never).
      min_share: and those whose weighted proposals are worth fewer independent draws than this share of their number. Of curves
        simulated with small noise, parameters whose k̂ is good are calibrated above it; below, arms of the posterior may be
        missing all the same. Not looked at where max_k_hat is inf.
      retries: times that units with poor diagnostics are sampled again: with smaller steps (1 − target_accept over 4) where there
        were divergences, and chains twice as long, thinned, where R-hat or the effective sample size was poor. Not where the
        draws are too few for either, however they are made.
    """

    n_chains: int = 4
    n_warmup: int = 300
    n_draws: int = 500
    target_accept: float = 0.9
    max_tree_depth: int = 8
    n_importance: int = 6000
    max_k_hat: float = psis.GOOD
    min_share: float = 0.05
    retries: int = 3

    def __post_init__(self):
        for name in ("n_chains", "n_warmup", "n_draws", "n_importance"):
            check_whole(name, getattr(self, name), 1, MOST)
        check_whole("max_tree_depth", self.max_tree_depth, 1, 30)
        check_whole("n_chains times n_draws", self.n_chains * self.n_draws, 1, MOST)
        if self.retries < 0:
            raise InputError(f"retries {self.retries} is negative")
        if not 0 < self.target_accept < 1:
            raise InputError(f"target_accept {self.target_accept} is not between 0 and 1")

    def trusted(self, k_hat: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Whether importance sampling was enough for units of these k̂, of weights worth this share of their number."""
        return (k_hat <= self.max_k_hat) & ((share >= self.min_share) | np.isinf(self.max_k_hat))
