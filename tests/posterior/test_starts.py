"""Where the search for modes begins: at the prior's centre and at the likeliest of its draws, by brute force."""

import numpy as np
import numpyro.distributions as dist
import pytest
from posterior_helpers import count_curves
from scipy import stats

from iclbayes import fit, laws, posterior
from iclbayes.posterior import RandomWalk
from iclbayes.posterior.model.latent import prior_points, unravel
from iclbayes.posterior.model.spec import make_spec
from iclbayes.posterior.sampling import laplace
from iclbayes.posterior.sampling.starts import BEST, starts

SEED = np.random.SeedSequence(0)


def test_the_points_are_the_centre_and_draws_of_the_prior():
    given = {"E": dist.LogNormal(0.5, 0.2), "L": dist.Gamma(9.0, 3.0)}
    spec = make_spec(laws.get("logistic"), "quasi_binomial", 1, 0, RandomWalk(), given)
    points = prior_points(spec, 1, 4000, SEED)
    names = {
        name: np.array([unravel(spec, p, 1)[f"raw_{name}"].ravel()[0] for p in points])
        for name in spec.shapes
    }
    assert names["E"][0] == pytest.approx(0.5, abs=0.08) and names["t_0"][0] == 3.0
    for name, centre, scale in (("t_0", 3.0, 2.0), ("kappa", 0.3, 0.8)):  # one in each 4,000th of the mass
        mass = stats.norm.cdf((np.sort(names[name][1:]) - centre) / scale)
        np.testing.assert_array_equal(np.floor(4000 * mass), np.arange(4000))
    assert abs(np.corrcoef(names["t_0"][1:], names["kappa"][1:])[0, 1]) < 4 / 4000**0.5
    for name, mean, sd in (("E", 0.5, 0.2), ("t_0", 3.0, 2.0)):
        assert names[name][1:].mean() == pytest.approx(mean, abs=4 * sd / 4000**0.5)
        assert names[name][1:].std() == pytest.approx(sd, rel=0.05)
    assert np.exp(names["L"][1:]).mean() == pytest.approx(
        3.0, abs=0.08
    )  # a Gamma distribution's mean, of the natural scale
    sites = unravel(spec, points[7], 1)
    assert (
        not np.any(sites["steps"])
        and sites["raw_discrepancy"] == unravel(spec, points[0], 1)["raw_discrepancy"]
    )


@pytest.mark.parametrize("hierarchy", [(), ("efficiency",)])
def test_all_groups_of_a_unit_begin_with_the_same_law(hierarchy):
    spec = make_spec(laws.get("bayesian_scoring"), "binomial", 2, 1, None, hierarchy=hierarchy)
    sites = unravel(spec, prior_points(spec, 3, 5, SEED)[4], 3)
    for name, value in sites.items():
        if name.startswith("raw_"):
            np.testing.assert_array_equal(value, np.repeat(value[:1], 3, 0))
    assert not np.any(sites.get("deviation_efficiency", 0.0))


def test_a_parameter_without_entries_takes_none():
    spec = make_spec(
        laws.get("bayesian_scoring"), "binomial", 1, 0, None, {"raw_prior": dist.StudentT(3.0, 0.0, 1.0)}
    )
    assert spec.shapes["prior"] == (0,)
    assert np.isfinite(prior_points(spec, 1, 3, SEED)).all()


def test_starts_are_the_likeliest_draws_of_each_unit_and_pass_over_what_has_no_density():
    spec = make_spec(laws.get("logistic"), "binomial", 1, 0, None)
    points = prior_points(spec, 1, 36, SEED)
    wells = np.array([points[5] + 0.01, points[20] - 0.02])

    def values(theta, unit):
        away = ((theta - wells[unit][:, None]) ** 2).sum(-1)
        return np.where(theta[..., 0] > points[:, 0].mean() + 1.0, np.nan, away)

    found = starts(spec, 1, values, 2)
    assert found.shape == (2, 1 + BEST, points.shape[1])
    for u in range(2):
        np.testing.assert_array_equal(found[u, 0], points[0])
        far = [values(p[None, None], np.array([u]))[0, 0] for p in points[1:]]
        order = sorted((x, i) for i, x in enumerate(far) if not np.isnan(x))
        np.testing.assert_array_equal(found[u, 1:], [points[1 + i] for _, i in order[:BEST]])


def test_the_deeper_of_two_wells_is_found_though_the_centre_lies_in_the_other():
    spec = make_spec(laws.get("logistic"), "binomial", 1, 0, None)
    centre = prior_points(spec, 1, 0, SEED)[0]
    deep = centre + np.array([1.0, -1.0, 0.7, 1.2])

    def wells(theta):
        near, far = (0.5 * ((theta - at) ** 2).sum(-1) / 0.3**2 for at in (centre + 0.1, deep))
        return near, far - 3.0

    def values(theta, unit):
        return -np.logaddexp(*(-w for w in wells(theta)))

    def slopes(theta, unit):
        near, far = wells(theta)
        share = np.exp(-far - np.logaddexp(-near, -far))[..., None]
        return ((1 - share) * (theta - centre - 0.1) + share * (theta - deep)) / 0.3**2

    begun = starts(spec, 1, values, 1)
    np.testing.assert_allclose(laplace.best_modes(values, slopes, begun).theta[0], deep, atol=1e-3)
    from_centre = laplace.best_modes(values, slopes, begun[:, :1])
    np.testing.assert_allclose(from_centre.theta[0], centre + 0.1, atol=1e-3)


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_point_fits_are_no_longer_asked_for():
    curves = count_curves([[3, 9, 15, 18]], 20)
    with pytest.warns(DeprecationWarning, match="point fits"):
        given = posterior.sample(curves, "logistic", fits=fit(curves, "logistic"), method="laplace")
    alone = posterior.sample(curves, "logistic", method="laplace")
    np.testing.assert_array_equal(given.blocks[0].theta, alone.blocks[0].theta)
