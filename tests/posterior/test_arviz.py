"""Exchange with ArviZ and netCDF: names of axes, the order of groups, files that come back."""

import dataclasses
import subprocess
import sys

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from arviz_oracle import az
from posterior_helpers import Constant, count_curves
from scipy import stats

import iclbayes
from iclbayes import InputError, posterior

LAW = Constant()
COUNTS = np.array([[3, 5, 4, 2], [18, 16, 19, 20], [9, 11, 10, 8]])  # of 20
# The normal approximation stands here for any draws; that its k-hat is poor is not the question.
pytestmark = pytest.mark.filterwarnings("ignore:.*poor diagnostics:iclbayes.posterior.PosteriorWarning")
OPTIONS = {
    "likelihood": "binomial",
    "priors": {"gamma": dist.Beta(2.0, 3.0)},
    "discrepancy": None,
    "method": "nuts",
    # 4 chains of 900: the tail of 3 √3600 weights is a whole number, which ArviZ 0 and 1 would else round to different sides.
    "n_chains": 4,
    "n_draws": 900,
}
SHOTS = np.array([0.0, 1, 2, 4, 8, 16])


def table(**conditions):
    """Curves of counts with these columns beside; each value is a list, one entry per curve."""
    rng = np.random.default_rng(0)
    n = len(next(iter(conditions.values())))
    frames = []
    for c in range(n):
        counts = rng.binomial(100, 0.3 + 0.4 * SHOTS / (SHOTS + 4))
        frame = pd.DataFrame({"shots": SHOTS, "n_correct": counts, "n_test": 100})
        frames.append(frame.assign(**{name: values[c] for name, values in conditions.items()}))
    return pd.concat(frames)


@pytest.fixture(scope="module")
def constant():
    return posterior.sample(count_curves(COUNTS, 20), LAW, **OPTIONS)


@pytest.mark.smoke
def test_inference_data_serves_arviz_and_survives_netcdf(constant, tmp_path):
    posterior.write_netcdf(constant, tmp_path / "draws.nc")
    data = posterior.read_netcdf(tmp_path / "draws.nc")
    summary = az.summary(data, var_names=["gamma"], round_to="none")
    np.testing.assert_allclose(
        summary["mean"].astype(float), constant.params["gamma"].mean((0, 1))[:, 0], rtol=1e-6
    )
    np.testing.assert_array_equal(data["posterior"]["gamma"].values, constant.params["gamma"])
    np.testing.assert_array_equal(data["sample_stats"]["energy"].sizes["group"], 3)
    # Chains that stand still repeat draws, and of equal ones at the edge of a tail ArviZ takes none, we some; normal ones differ.
    apart = posterior.sample(count_curves(COUNTS, 20), LAW, **(OPTIONS | {"method": "laplace"}))
    posterior.write_netcdf(apart, tmp_path / "apart.nc")
    with np.errstate(all="ignore"):
        loo = az.loo(posterior.read_netcdf(tmp_path / "apart.nc"), pointwise=True, reff=1.0)
    pointwise = loo.loo_i if hasattr(loo, "loo_i") else loo.elpd_i
    np.testing.assert_allclose(posterior.loo(apart)["elpd"], np.asarray(pointwise), atol=1e-6)
    ours = posterior.loo(constant)
    # Leaving out one count of a conjugate model is another beta-binomial.
    a, b = 2 + COUNTS[0].sum(), 3 + 80 - COUNTS[0].sum()
    k = COUNTS[0, 1]
    np.testing.assert_allclose(ours["elpd"][1], stats.betabinom(20, a - k, b - 20 + k).logpmf(k), atol=0.1)
    with pytest.raises(InputError, match="no such file"):
        posterior.read_netcdf(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("shots,prob")
    with pytest.raises(InputError, match="cannot be read as netCDF"):
        posterior.read_netcdf(tmp_path / "text.nc")


def test_a_divergence_can_be_traced_to_its_group_whatever_the_order_of_the_blocks():
    """Groups of 3, 1, 3 and 1 curves are two buckets; the units of each note the numbers of their groups."""
    frame = table(model=list("aaabcccd"), task=list("xyzxxyzx"))
    curves = iclbayes.curves_from_frame(frame, group_by=["model"], source="task")
    one = posterior.sample(
        curves, "bayesian_scoring", likelihood="binomial", discrepancy=None, method="laplace"
    )
    assert len(one.blocks) == 2
    marked = []
    for block in one.blocks:
        diverging = np.zeros_like(block.diverging)
        for u, group in enumerate(block.units.groups[:, 0]):
            diverging[u, 0, : group + 1] = True
        marked.append(dataclasses.replace(block, diverging=diverging))
    data = dataclasses.replace(one, blocks=tuple(marked)).to_arviz(log_likelihood=False)
    found = data["sample_stats"]["diverging"]
    assert found.dims == ("chain", "draw", "group")
    assert [str(name) for name in found["group"].values] == ["model=a", "model=b", "model=c", "model=d"]
    np.testing.assert_array_equal(found.values.sum((0, 1)), [1, 2, 3, 4])
    assert "energy" not in data["sample_stats"] and data["sample_stats"]["k_hat"].dims == ("group",)


@pytest.mark.smoke
@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")  # k-hat is not the question
def test_axes_are_named_and_the_background_task_stands_last():
    frame = table(model=list("aabb"), task=list("xyxy"))
    frame = frame[
        ~((frame["model"] == "b") & (frame["task"] == "y"))
    ]  # a has two sources, b one and a background
    curves = iclbayes.curves_from_frame(frame, group_by=["model"], source="task")
    options = {"likelihood": "binomial", "discrepancy": None, "method": "psis", "max_k_hat": np.inf}
    one = posterior.sample(curves, "bayesian_original", n_draws=100, **options)
    data = one.to_arviz()["posterior"]
    assert data["prior"].dims == ("chain", "draw", "group", "task")
    assert data["efficiency"].dims == ("chain", "draw", "group")
    assert data["probs"].dims == ("chain", "draw", "group", "source", "task")
    assert [str(name) for name in data["task"].values] == ["x", "y", "background"]
    assert [str(name) for name in data["source"].values] == ["x", "y"]
    prior, params = data["prior"], one.params
    np.testing.assert_allclose(prior.sum("task"), 1.0)
    own = prior.sel(group="model=b", task=["x", "background"]).values
    np.testing.assert_array_equal(own, params["prior"][:, :, 1, :2])
    assert np.isnan(prior.sel(group="model=b", task="y")).all()
    assert np.isnan(prior.sel(group="model=a", task="background")).all()
    np.testing.assert_array_equal(
        data["probs"].sel(group="model=b", source="x", task="background").values,
        params["probs"][:, :, 1, 0, 1],
    )
    assert one.to_arviz()["sample_stats"]["k_hat"].dims == ("group",)


def test_laws_fitted_curve_by_curve_note_their_draws_by_group_and_source():
    curves = iclbayes.curves_from_frame(
        table(model=list("aab"), task=list("xyz")), group_by=["model"], source="task"
    )
    one = posterior.sample(curves, LAW, method="laplace", likelihood="binomial", discrepancy=None, n_draws=20)
    data = one.to_arviz()
    gamma = data["posterior"]["gamma"]
    assert gamma.dims == ("chain", "draw", "group", "source")
    assert data["sample_stats"]["diverging"].dims == ("chain", "draw", "group", "source")
    # Groups have other sources: they are numbered, and a second coordinate says which is which.
    assert list(gamma["source"].values) == [0, 1]
    assert gamma["source_label"].values.tolist() == [["x", "y"], ["z", ""]]
    np.testing.assert_array_equal(gamma.values, one.params["gamma"])
    together = posterior.sample(
        curves, LAW, hierarchy="gamma", method="laplace", likelihood="binomial", discrepancy=None, n_draws=20
    )
    assert together.to_arviz()["sample_stats"]["diverging"].dims == ("chain", "draw")


def test_no_notice_of_arviz_reaches_the_user(tmp_path):
    """In a process and a home of their own, where the notice has not been given today; warnings are errors there."""
    code = """
import numpy as np, sys
import iclbayes
from iclbayes import posterior
assert "arviz" not in sys.modules
curves = iclbayes.Curves.from_arrays(np.arange(4), np.full((1, 4), 0.5), n_test=np.full((1, 4), 40))
one = posterior.sample(curves, "power", likelihood="binomial", method="laplace", n_draws=20, discrepancy=None)
posterior.write_netcdf(one, "draws.nc")
posterior.read_netcdf("draws.nc")
"""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env=home, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "ArviZ" not in run.stderr and "FutureWarning" not in run.stderr
