"""Sentences on posteriors, and when a forecast is said to be the prior's."""

import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes import posterior
from iclbayes.posterior import answers, contrast_answers

SHOTS = [0, 1, 2, 4, 8, 16, 32, 64]


def reached(**columns):
    known = {"level": 0.5, "q05": 77.0, "q50": 93.2, "q95": 1104.6, "p_never": 0.0, "horizon": 25600.0}
    return pd.DataFrame([known | columns])


@pytest.fixture
def curves():
    table = pd.DataFrame(
        {"model": "alpha-8b", "variant": "chat", "shots": [0, 8, 256], "prob": [0.1, 0.2, 0.6]}
    )
    return iclbayes.curves_from_frame(table, group_by=["model", "variant"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"q95": 105.0}, "50 % after 93 shots (90 %: 77 to 105); never within 25,600 shots: 0 %"),
        ({}, "50 % after 93 shots (90 %: 77 to 1,105); never within 25,600 shots: 0 %; measured up to 256"),
        (
            {"q05": 2.44, "q95": np.inf, "p_never": 0.13},
            "50 % after 93 shots (90 %: 2.4 to never); never within 25,600 shots: 13 %; measured up to 256",
        ),
        ({"q05": 0.0, "q50": 0.0, "q95": 0.0}, "at 50 % without any example; never within 25,600 shots: 0 %"),
        (
            {"q05": 400.0, "q50": np.inf, "q95": np.inf, "p_never": 0.7},
            "50 % more likely not reached within 25,600 shots than reached; if it is, after 400 shots or more; "
            "never within 25,600 shots: 70 %; measured up to 256",
        ),
        (
            {"q05": np.inf, "q50": np.inf, "q95": np.inf, "p_never": 0.997},
            "50 % not reached within 25,600 shots (above 99 % sure); measured up to 256",
        ),
        (
            {"q05": 0.0, "q50": 0.0, "q95": np.inf, "p_never": 0.3},
            "as likely as not at 50 % without any example (90 %: 0 to never); never within 25,600 shots: 30 %; "
            "measured up to 256",
        ),
        (
            {"q05": 0.0, "q50": np.inf, "q95": np.inf, "p_never": 0.6},
            "50 % more likely not reached within 25,600 shots than reached; never within 25,600 shots: 60 %; measured up to 256",
        ),
        (
            {"q05": 9.96, "q95": 105.0},
            "50 % after 93 shots (90 %: 10 to 105); never within 25,600 shots: 0 %",
        ),
        ({"q05": np.nan, "q50": np.nan, "q95": np.nan}, "nothing can be said of 50 %"),
        # An interval is no point: as many decimals as that takes.
        (
            {"q05": 30.7, "q50": 31.2, "q95": 31.4},
            "50 % after 31.2 shots (90 %: 30.7 to 31.4); never within 25,600 shots: 0 %",
        ),
        (
            {"q05": 2.411, "q50": 2.42, "q95": 2.432},
            "50 % after 2.42 shots (90 %: 2.41 to 2.43); never within 25,600 shots: 0 %",
        ),
        (
            {"q05": 31.2001, "q50": 31.2002, "q95": 31.2003},
            "50 % after 31 shots (90 %: within one shot); never within 25,600 shots: 0 %",
        ),
    ],
)
def test_shots_to_a_level_in_words(curves, columns, said):
    used = np.ones(3, bool)
    assert answers.reach_sentences(curves, used, reached(**columns)) == [f"alpha-8b chat: {said}"]


def test_what_was_left_out_of_the_fit_counts_as_not_seen(curves):
    used = np.array([True, True, False])
    (line,) = answers.reach_sentences(curves, used, reached(q95=105.0))
    assert line.endswith("; fitted up to 8")


def counts(**probabilities):
    rng = np.random.default_rng(0)
    rows = [
        {"name": name, "shots": n, "n_correct": c, "n_test": tests}
        for name, (tests, p) in probabilities.items()
        for n, c in zip(SHOTS, rng.binomial(tests, p) if np.ndim(p) else p, strict=False)
    ]
    return iclbayes.curves_from_frame(pd.DataFrame(rows), group_by=["name"])


def test_a_forecast_is_the_priors_where_the_data_say_nothing_yet():
    rise = 0.1 + 0.7 * np.array(SHOTS) / (np.array(SHOTS) + 6)
    curves = counts(
        rising=(250, rise),
        early=(250, rise[:4]),
        flat=(250, np.full(8, 0.3)),
        saturated=(250, np.full(8, 0.95)),
    )
    few = pd.DataFrame({"name": "few", "shots": SHOTS[:4], "n_correct": [9, 8, 9, 3], "n_test": 24})
    few = iclbayes.curves_from_frame(few, group_by=["name"])
    dominated = {}
    for one in (curves, few):
        table = posterior.sample(one, "logistic", n_draws=200).forecast([0, 4, 64, 256])
        for name, rows in table.groupby("name"):
            dominated[name] = rows.set_index("shots")["prior_dominated"]
    for name in ("rising", "flat", "saturated"):
        assert not dominated[name].any()
    for name in ("early", "few"):
        assert not dominated[name][[0, 4]].any() and dominated[name][[64, 256]].all()
    ahead = table.loc[table["shots"] == 64].iloc[0]
    assert ahead["latent_hi90"] - ahead["latent_lo90"] > 0.4  # wide, as well it may be, and said to be so
    (line,) = answers.forecast_sentences(few, np.ones(4, bool), table, [64])
    assert line.endswith("; measured up to 4; the prior says more here than the data")


def test_diagnostics_in_one_line():
    checks = pd.DataFrame(
        {"model": ["a", "b"], "method": ["psis", "nuts"], "ok": [True, True], "problem": ["", ""]}
    )
    assert answers.diagnostics_sentence("logistic", checks) == (
        "logistic: all 2 posteriors pass their diagnostics (1 by importance sampling, 1 by NUTS)"
    )
    bad = checks.assign(ok=[True, False], problem=["", "ESS 90"])
    assert answers.diagnostics_sentence("logistic", bad).endswith(": b (ESS 90)")


def test_a_forecast_that_is_sure_is_told_in_more_digits_than_a_point():
    row = pd.Series(
        {
            "shots": 8.0,
            "latent_median": 0.882,
            "latent_lo90": 0.8801,
            "latent_hi90": 0.8839,
            "prior_dominated": False,
        }
    )
    assert answers.forecast_text(row, 64, "measured") == "at 8 shots 88.2 % (90 %: 88.0 % to 88.4 %)"
    sure = pd.Series({**row, "latent_lo90": 0.88199, "latent_hi90": 0.88201})
    assert answers.forecast_text(sure, 64, "measured") == "at 8 shots 88 % (90 %: within one point)"


def test_times_as_many_shots_are_told_in_more_digits_than_a_point():
    pair = pd.Series(
        {
            "level": 0.5, "before": "a", "after": "b", "times": 2.21, "lo90": 2.209, "hi90": 2.213, "p_more": 1.0,
            "p_never_before": 0.0, "p_never_after": 0.0, "horizon": 100.0,
        }
    )  # fmt: skip
    (line,) = contrast_answers.times_sentence(pair)
    assert line == "to 50 %, b takes 2.21 times as many shots as a (90 %: 2.209 to 2.213)"


def test_a_posterior_is_named_by_what_tells_it_from_others():
    checks = pd.DataFrame({"model": ["a", "b"], "source": [0, 0], "method": "laplace"})
    checks = checks.assign(ok=[True, False], problem=["", "k-hat 0.9"])
    assert answers.diagnostics_sentence("logistic", checks).endswith(": b (k-hat 0.9)")
    told = answers.diagnostics_sentence("logistic", checks.iloc[1:])
    assert told.startswith("logistic: the posterior fails its diagnostics (1 by the normal approximation): b")
    two = checks.assign(source=["x", "y"])
    assert answers.diagnostics_sentence("logistic", two).endswith(": b y (k-hat 0.9)")


def test_an_interval_without_zero_is_not_told_as_if_nothing_had_been_seen():
    shift = {
        "value_before": 0.74,
        "value_after": 0.48,
        "shift_sd": 0.5,
        "undetermined": "",
        "moved": "unclear",
    }
    rows = pd.DataFrame(
        [
            {"parameter": "gamma", "shift": -1.1, "lo90": -1.9, "hi90": -0.1, "p_value": 0.08, **shift},
            {"parameter": "beta", "shift": -0.4, "lo90": -1.9, "hi90": 0.6, "p_value": 0.6, **shift},
        ]
    )
    perhaps, unclear = contrast_answers._verdicts(
        rows, pd.Series({"before": "base", "after": "chat"}), 0.3, 2
    )
    assert perhaps.startswith("perhaps moved (p = 0.08, corrected for looking at 2 parameters): gamma, odds ")
    assert unclear.startswith("unclear whether it moved: beta, ")
