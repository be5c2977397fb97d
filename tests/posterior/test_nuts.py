"""The sampler: the right distribution, lanes that do not know each other, its tree against a naive one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from iclbayes.posterior.sampling import diagnostics, nuts


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def banana(z):
    """Potential with y − x²/2 ~ N(0, 0.3²), x ~ N(0, 1), and a skewed third: e^w ~ Gamma(3)."""
    x, y, w = z[..., 0], z[..., 1], z[..., 2]
    return 0.5 * x**2 + 0.5 * ((y - 0.5 * x**2) / 0.3) ** 2 - 3 * w + jnp.exp(w)


def sample(potential, starts, n, *, seed=0, adapting=False, log_step=None, target=0.8, max_depth=7):
    n_units, n_chains, _ = starts.shape
    log_step = np.full((n_units, n_chains), np.log(0.3)) if log_step is None else log_step
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(n_units))

    @jax.jit
    def run(keys, starts, log_step):
        settings = (jnp.full(n_units, target), jnp.full(n_units, n), jnp.full(n_units, adapting))
        return nuts.run(potential, keys, starts, log_step, *settings, n_max=n, max_depth=max_depth)

    return jax.device_get(run(keys, starts, log_step))


@pytest.fixture(scope="module")
def chains():
    starts = np.random.default_rng(0).standard_normal((2, 4, 3))
    warm = sample(banana, starts, 400, adapting=True, target=0.95)
    return warm, sample(banana, warm.z[:, :, -1], 2000, seed=1, log_step=warm.log_step)


def test_draws_have_the_distribution_of_the_density(chains):
    _, found = chains
    x, y, w = found.z.reshape(-1, 3).T
    exact = {
        "x": (x, stats.norm.cdf),
        "y": ((y - 0.5 * x**2) / 0.3, stats.norm.cdf),
        "w": (np.exp(w), stats.gamma(3).cdf),
    }
    for name, (values, cdf) in exact.items():
        size = diagnostics.ess_bulk(values.reshape(8, -1))
        distance = stats.kstest(values, cdf).statistic
        assert size > 500 and distance * np.sqrt(size) < 1.7, (name, size, distance)
    assert diagnostics.rhat(np.moveaxis(found.z, -1, 1)).max() < 1.01
    assert found.diverging.mean() < 1e-3


def test_step_sizes_adapt_to_the_acceptance_asked_for(chains):
    warm, found = chains
    steps = np.exp(warm.log_step)
    assert steps.min() > 0.03 and steps.max() < 1.2, steps
    bold = sample(banana, warm.z[:, :, -1], 400, adapting=True, target=0.6)
    assert np.exp(bold.log_step).mean() > 1.2 * steps.mean()
    assert set(np.unique(found.n_steps)) >= {3, 7} and found.n_steps.max() < 2**7


def test_a_unit_does_not_know_its_neighbours():
    starts = np.random.default_rng(1).standard_normal((3, 2, 2))
    stretched = np.array([1.0, 1.0, 0.05])[:, None]

    def potential(z):
        return 0.5 * jnp.sum((z / stretched[: z.shape[0], :, None]) ** 2, -1)

    together, alone = sample(potential, starts, 50), sample(potential, starts[:1], 50)
    np.testing.assert_allclose(together.z[0], alone.z[0], rtol=1e-9)
    assert not np.allclose(together.z[0], together.z[1])


def test_cliffs_are_reported_as_divergences():
    def cliff(z):
        return jnp.where(z[..., 0] > 0, 0.5 * jnp.sum(z**2, -1), jnp.nan)

    found = sample(cliff, np.full((1, 2, 2), 0.5), 200)
    assert found.diverging.any() and (found.z[..., 0] > 0).all() and np.isfinite(found.energy).all()


def naive_tree(momenta):
    """Whether a trajectory of 2^d leaves, or any half, quarter … of it, has turned; each by its own definition."""
    if len(momenta) == 1:
        return False
    middle = momenta.sum(0) - 0.5 * (momenta[0] + momenta[-1])
    if momenta[0] @ middle <= 0 or momenta[-1] @ middle <= 0:
        return True
    half = len(momenta) // 2
    return naive_tree(momenta[:half]) or naive_tree(momenta[half:])


def test_checkpoints_see_the_u_turns_of_all_aligned_subtrees():
    rng = np.random.default_rng(2)
    outcomes = []
    for trial in range(150):
        angle = np.cumsum(rng.normal(rng.uniform(0, 0.8), 0.1, 8))
        momenta = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.8, 1.2, (8, 1))
        marks_r, marks_sum = np.zeros((4, 2)), np.zeros((4, 2))
        total, turned = np.zeros(2), False
        for leaf, r in enumerate(momenta):
            total = total + r
            low, high = (int(v) for v in nuts.checkpoints(jnp.asarray(leaf)))
            if leaf % 2 == 0:
                marks_r[high], marks_sum[high] = r, total
            for level in range(low, high + 1) if leaf % 2 else ():
                span = total - marks_sum[level] + marks_r[level]
                turned |= bool(nuts.turning(marks_r[level], r, span))
        outcomes.append(turned)
        assert turned == naive_tree(momenta), trial
    assert 0.2 < np.mean(outcomes) < 0.8
