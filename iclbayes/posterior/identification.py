"""Which parameters the data leave open in a posterior."""

import dataclasses

import numpy as np

from ..contrasts import source_params, unconstrained
from .draws import PosteriorDraws
from .model.latent import prior_draws
from .seeds import stream

# The data have the say where they took away three quarters of the variance that the prior gives, half of its standard deviation;
# else what is said is more the prior's than theirs. 1 − Var(posterior) / Var(prior) is known as the posterior contraction (Schad,
# Betancourt, Vasishth 2021, Psychological Methods 26, 103).
PRIOR_DOMINATED = 0.5
# Nor is a parameter determined whose 90 % interval (of ln K, of log odds) is wider than this.
WIDEST = np.log(100.0)


def under_prior(one: PosteriorDraws) -> PosteriorDraws:
    """The same with as many draws of the prior instead, before any data."""
    blocks = []
    for block in one.blocks:
        chains, draws = block.theta.shape[1:3]
        theta = prior_draws(
            block.spec, block.units.data.shots.shape[1], chains * draws, stream(one.seed, "prior")
        )
        theta = np.broadcast_to(theta.reshape(1, chains, draws, -1), block.theta.shape)
        blocks.append(dataclasses.replace(block, theta=theta))
    return dataclasses.replace(one, blocks=tuple(blocks))


def undetermined(one: PosteriorDraws) -> dict[str, np.ndarray]:
    """By parameter, whether the data leave it open: [G], or [G, J] of what each source has.

    A parameter is open if, on the scale ln K or logit, its 90 % interval is wider than ln 100 or its standard deviation above
    half of the prior's, for then the prior says more than the data.

    Raises:
      InputError: a law without prior, efficiency, gamma and beta.
    """
    prior = source_params(under_prior(one))
    found = {}
    for name, value in source_params(one).items():
        after, before = unconstrained(name, value), unconstrained(name, prior[name])
        low, high = np.quantile(after, [0.05, 0.95], axis=0)
        found[name] = (high - low > WIDEST) | (after.std(0) > PRIOR_DOMINATED * before.std(0))
    return found
