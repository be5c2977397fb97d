"""The experiment on coverage: its scatter of counts against known noise, its table at a tiny size."""

import forecast_coverage
import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes import posterior as bayes

SHOTS = np.array([1, 2, 4, 7, 12, 20, 33, 55, 90, 150])


def runs(n_runs, draw, model="m"):
    """Single runs of one curve that is a straight line in log shots, 250 tests a point."""
    p = 0.3 + 0.1 * np.log1p(SHOTS)
    rows = []
    for run in range(n_runs):
        k = draw(p)
        table = pd.DataFrame({"run": run, "shots": SHOTS, "n_test": 250, "n_correct": k, "accuracy": k / 250})
        rows.append(table.assign(model=model, task="t", selection="random"))
    return pd.concat(rows, ignore_index=True)


def test_scatter_is_that_of_a_binomial_for_fresh_tests_and_less_for_tests_that_are_always_asked():
    rng = np.random.default_rng(0)
    fresh = forecast_coverage.scatter(runs(400, lambda p: rng.binomial(250, p)))
    np.testing.assert_allclose(fresh["mean"], 1.0, atol=0.15)
    assert (abs(fresh["median"] - 0.455) < 0.08).all()  # of chi-squared with one degree of freedom

    def asked_again(p):
        # Half of the tests are settled by luck drawn once a run, so half of the variance is common to the whole curve.
        return np.round(125 * p + 125 * (rng.random() - 0.5) * 0.02) + rng.binomial(125, p)

    np.testing.assert_allclose(forecast_coverage.scatter(runs(400, asked_again))["mean"], 0.5, atol=0.1)


def test_scatter_leaves_out_what_overflowed():
    model, first = forecast_coverage.COLLAPSED[0]
    frame = runs(5, lambda p: np.round(250 * p), model=model)
    late = frame.assign(shots=frame["shots"] * 10)  # 10 to 1500; collapsed from 500 on
    late.loc[late["shots"] >= first, ["n_correct", "accuracy"]] = 0
    assert forecast_coverage.scatter(late)["mean"].max() < 0.1


POINTS = pd.DataFrame(
    {
        "model": "m",
        "shots": [10, 20],
        "method": "power",
        "fraction": 0.5,
        "curves": "runs",
        "crps": [0.1, 0.2],
        "log_score": 1.0,
        "in50": [True, False],
        "in90": True,
    }
)


def test_files_of_points_are_put_together_once(tmp_path):
    POINTS.to_csv(tmp_path / "a.csv", index=False)
    more = pd.concat([POINTS, POINTS.assign(method="logistic", crps=0.3)])
    more.assign(run=np.nan).to_csv(tmp_path / "b.csv", index=False)  # of averaged curves, no run
    whole = forecast_coverage.merge([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert whole.groupby("method")["crps"].sum().round(6).to_dict() == {"power": 0.3, "logistic": 0.6}
    assert whole["in50"].mean() == 0.5
    peers = POINTS.assign(method="(power law)")
    pd.concat([POINTS, peers.assign(extra=1)]).to_csv(tmp_path / "d.csv", index=False)
    peers.assign(crps=0.1).to_csv(tmp_path / "e.csv", index=False)  # another machine's bootstrap
    whole = forecast_coverage.merge([tmp_path / "d.csv", tmp_path / "a.csv", tmp_path / "e.csv"])
    assert len(whole) == 4 and whole["crps"].sum().round(6) == 0.6
    POINTS.assign(crps=[0.1, np.nan]).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(iclbayes.InputError, match=r"disagree about 'power' of runs curves at fraction 0\.5"):
        forecast_coverage.merge([tmp_path / "a.csv", tmp_path / "c.csv"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_the_table_has_every_method_and_scores_only_what_was_held_out(tmp_path, real_curves):
    frame = pd.read_csv(real_curves)
    small = frame[(frame["task"] == "trec") & (frame["selection"] == "random")]
    small = small[small["model"].isin(small["model"].unique()[:2])]
    small.to_csv(tmp_path / "curves.csv", index=False)
    options = [tmp_path / "curves.csv", "--law", *bayes.STACK, "--fraction", "0.5", "--method", "psis"]
    files = ["--out", tmp_path / "table.md", "--points", tmp_path / "points.csv"]
    whole = forecast_coverage.main([str(a) for a in (*options, "--curves", "averaged", *files)])
    names = [*bayes.STACK, "stacked", *(whole["method"][whole["method"].str.startswith("(")])]
    assert list(whole["method"]) == names and len(names) == 8
    top = small.groupby("model")["shots"].transform("max")
    held = small[small["shots"] > 0.5 * top].groupby(["model", "shots"])
    assert (whole["points"] == held.ngroups).all()
    points = pd.read_csv(tmp_path / "points.csv")
    assert len(points) == 8 * held.ngroups
    np.testing.assert_allclose(
        points[points["method"] == "stacked"]["crps"].mean(), whole.set_index("method")["crps"]["stacked"]
    )
    assert "Without the points beyond the context window" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_the_motion_chosen_on_one_task_is_judged_on_the_other(real_curves):
    options = {"method": "psis", "max_k_hat": np.inf, "n_draws": 100}
    mean, table = forecast_coverage.choose(real_curves, ["averaged"], [0.5], ["logistic"], options)
    for out, rows in table.groupby("judged on"):
        other = mean[mean["task"] != out].sort_values("log_score").iloc[-1]
        chosen = rows[rows["motion"] == "chosen on the other task"].iloc[0]
        assert tuple(chosen[["stability", "beyond"]]) == tuple(other[["stability", "beyond"]])
