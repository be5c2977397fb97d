"""The space in which samplers move, against the sites that numpyro finds when it traces the model."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest

from iclbayes import laws
from iclbayes.posterior import RandomWalk
from iclbayes.posterior.model.latent import latent_shapes, prior_scales, unravel, walk_size
from iclbayes.posterior.model.numpyro_model import model
from iclbayes.posterior.model.spec import Spec, UnitData, make_spec


def traced(spec: Spec, n_groups: int) -> list[tuple[str, tuple[int, ...]]]:
    def draw():
        blank = jnp.zeros((n_groups, spec.n_curves, 1))
        data = UnitData(blank, blank, blank > 0, blank + 1, blank, blank[..., 0], blank[..., 0])
        with numpyro.handlers.seed(rng_seed=0):
            sites = numpyro.handlers.trace(model).get_trace(spec, data, data.obs).values()
        return {s["name"]: s["value"] for s in sites if s["type"] == "sample" and not s["is_observed"]}

    return [(name, leaf.shape) for name, leaf in sorted(jax.eval_shape(draw).items())]


@pytest.mark.parametrize("law", ["logistic", "staged", "bayesian_staged", "bayesian_original"])
@pytest.mark.parametrize("background", [0, 1, 2])
@pytest.mark.parametrize("walk", [None, RandomWalk()])
def test_the_latent_sites_are_those_of_the_model(law, background, walk):
    joint = laws.get(law).joint
    spec = make_spec(laws.get(law), "quasi_binomial", 2 if joint else 1, background, walk)
    assert list(latent_shapes(spec, 1)) == traced(spec, 1)


@pytest.mark.parametrize("background", [0, 1])
def test_so_are_those_of_a_hierarchy_also_where_a_parameter_has_no_entry(background):
    law = laws.get("bayesian_scoring")
    spec = make_spec(law, "binomial", 1, background, RandomWalk(), hierarchy=("efficiency", "prior", "gamma"))
    assert list(latent_shapes(spec, 3)) == traced(spec, 3)


@pytest.mark.parametrize("walk", [None, RandomWalk(), RandomWalk(offset=0.0)])
@pytest.mark.parametrize("hierarchy", [(), ("efficiency",)])
def test_the_coordinates_of_the_walk_come_last(walk, hierarchy):
    spec = make_spec(laws.get("bayesian_scoring"), "binomial", 2, 1, walk, hierarchy=hierarchy)
    (scale, held), steps = prior_scales(spec, 3), walk_size(spec, 3)
    assert steps == (3 * 2 * walk.n_steps if walk else 0)
    sites = unravel(spec, jnp.arange(len(scale)), 3)
    last = np.arange(len(scale) - steps, len(scale))
    np.testing.assert_array_equal(np.ravel(sites["steps"]) if walk else [], last)
    assert not set(held) & set(last.tolist())
