"""The story's lines against tables that are made so that the theory holds, and so that one prediction after another fails."""

import json

import check_story
import numpy as np
import pandas as pd
import pytest
from synthetic_parts import figures, story

TASKS, KS, SHOTS = range(3), (2, 3, 5), np.arange(20)


def curves(offset: float = 0.0, rise: float = 0.3) -> pd.DataFrame:
    """Curves of the exact learner, and of GPT-2s of 1 and 2 layers that lie off it."""
    rows = []
    for learner, layers, shift in (("exact_prompt", 0, 0.0), ("gpt2", 1, 3 * offset), ("gpt2", 2, offset)):
        for k in KS:
            for source in TASKS:
                prob = 0.3 + rise * (1 - np.exp(-SHOTS / 3)) - shift
                rows.append(
                    pd.DataFrame(
                        {
                            "learner": learner, "layers": layers, "seed": 0, "k": k, "source": source, "shots": SHOTS,
                            "prob": prob, "stderr": 0.01, "method": "none", "amount": 0, "step": 0,
                        }
                    )
                )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def fits(
    prior=(0.3, 0.4, 0.3), efficiency=(0.5, 0.7, 0.9), shallow: float = 0.5, gamma: float = 0.6
) -> pd.DataFrame:
    rows = []
    for learner, layers, factor in (("exact_prompt", 0, 1.0), ("gpt2", 1, shallow), ("gpt2", 2, 1.0)):
        for k, of_k in zip(KS, efficiency, strict=True):
            for source in TASKS:
                own = learner == "gpt2"
                rows.append(
                    {
                        "law": "bayesian_scoring", "learner": learner, "layers": layers, "seed": 0, "k": k,
                        "source": source, "prior": prior[source] if own else (0.3, 0.4, 0.3)[source],
                        "efficiency": of_k * factor, "gamma": gamma if own else 0.6, "beta": 0.2,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def errors(scoring: float = 0.03, logistic: float = 0.025) -> pd.DataFrame:
    values = {"bayesian_scoring": scoring, "logistic": logistic}
    return pd.DataFrame(
        [
            {"law": law, "fraction": 1.0, "learner": "gpt2", "layers": layers, "nrmse": value}
            for law, value in values.items()
            for layers in (1, 2)
        ]
    )


def tuned(zero: float = 0.7, top: float = 0.95) -> pd.DataFrame:
    """Curves before, and after fine-tuning on two amounts that leaves these shares of the others' probability."""
    before = curves().query("learner == 'gpt2' and layers == 2")
    parts = [before]
    for amount, step in ((10, 1), (100, 2)):
        after = before.assign(method="sft", amount=amount, step=step)
        share = zero + (top - zero) * (after["shots"] / SHOTS.max())
        parts.append(
            after.assign(prob=np.where(after["source"] == 0, after["prob"] + 0.05, after["prob"] * share))
        )
    return pd.concat(parts, ignore_index=True)


def attribution(small: float = 0.8, large: float = 0.3) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": "sft", "amount": amount, "role": "disfavoured", "change": 0.1, "prior": 0.75 * share,
                "efficiency": 0.25 * share, "knowledge": 1 - share,
            }
            for amount, share in ((10, small), (100, large))
        ]
    )  # fmt: skip


def forecast(number: int = 30, covered: float = 0.9, error: float = 0.5) -> pd.DataFrame:
    rows = [
        {"case": "ahead", "ahead": True, "covered": float(i < covered * number), "error": error}
        for i in range(number)
    ]
    rows += [{"case": "at start", "ahead": False, "covered": 1.0, "error": 0.0}] * 50
    return pd.DataFrame(rows).assign(forecaster="knowledge", window=0.1, method="sft", hi90=9.0)


def entropy(gaps=(0.06, 0.03), stderr: float = 0.002) -> pd.DataFrame:
    return pd.DataFrame({"layers": [1, 2], "entropy": 0.6, "gap": gaps, "gap_stderr": stderr})


def whole() -> list[story.Finding]:
    return [
        *story.losses(entropy()),
        *story.curves_on_the_exact_learner(curves(0.01)),
        *story.laws(fits(), errors()),
        *story.suppression(tuned(), attribution()),
        *story.forecasts(forecast()),
    ]


def test_where_the_theory_holds_every_line_says_so():
    found = whole()
    assert {finding.step for finding in found} == {1, 2, 3, 4, 5}
    assert all(finding.holds for finding in found), story.tell(found)
    lines = story.tell(found).strip().splitlines()
    assert sum(line.startswith("  yes  ") for line in lines) == len(found)
    for step, question in story.STEPS.items():
        assert f"{step}. {question}" in lines


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("smallest gap", lambda: story.losses(entropy((0.06, -0.01)))),
        ("gap of the deepest", lambda: story.losses(entropy((0.03, 0.06)))),
        ("mean |p of the deepest", lambda: story.curves_on_the_exact_learner(curves(0.08))),
        ("smallest rise", lambda: story.curves_on_the_exact_learner(curves(rise=0.05))),
        ("NRMSE of the scoring law", lambda: story.laws(fits(), errors(0.06, 0.06))[:1]),
        ("NRMSE of the scoring law less", lambda: story.laws(fits(), errors(0.035, 0.02))),
        ("largest |prior", lambda: story.laws(fits(prior=(0.1, 0.6, 0.3)), errors())),
        ("rank correlation", lambda: story.laws(fits(efficiency=(0.9, 0.7, 0.5)), errors())),
        ("K of the deepest", lambda: story.laws(fits(shallow=2.0), errors())),
        ("mean |γ", lambda: story.laws(fits(gamma=0.8), errors())),
        ("SFT: fall", lambda: story.suppression(tuned(zero=0.95), attribution())),
        ("SFT: others' plateau", lambda: story.suppression(tuned(top=0.6), attribution())),
        ("SFT: share of prior", lambda: story.suppression(tuned(), attribution(small=0.3, large=0.2))),
        ("SFT: the same share", lambda: story.suppression(tuned(), attribution(large=0.9))),
        ("returns ahead", lambda: story.forecasts(forecast(8))),
        ("share of the 90 %", lambda: story.forecasts(forecast(covered=0.5))),
        ("median error", lambda: story.forecasts(forecast(error=2.0))),
    ],
)
def test_a_prediction_that_fails_is_told_as_such(name, found):
    failed = [finding for finding in found() if not finding.holds]
    assert len(failed) == 1 and failed[0].name.startswith(name), [f.name for f in failed]
    assert f"NO   {failed[0].text}" in story.tell(failed)


def test_numbers_in_the_lines_are_those_of_the_tables():
    told = story.tell(whole())
    assert "lie 0.010 from the exact learner's" in told
    assert "K is 0.50 at k = 2, 0.70 at k = 3 and 0.90 at k = 5" in told
    assert "Of 80 cases 30 returns lay ahead (30 after SFT)" in told and "50 never below the level" in told
    assert "the others from 0.30 to 0.21 (-30%)" in told and "knowledge takes over at 100 documents" in told


def test_no_returns_ahead_is_said_without_numbers_that_mean_nothing():
    found = story.forecasts(forecast(0))
    assert len(found) == 1 and not found[0].holds
    assert "0 returns lay ahead (none)" in found[0].text and "nan" not in story.tell(found)


def test_a_folder_is_checked_from_its_files(tmp_path, capsys):
    assert check_story.main([]) == 2
    assert check_story.main([str(tmp_path)]) == 2
    assert "is missing" in capsys.readouterr().err
    tables = {
        "entropy": entropy(), "curves": pd.concat([curves(0.01), tuned().query("method != 'none'")]), "fits": fits(),
        "table": errors(), "forecast": forecast(), "suppression_attribution": attribution(),
    }  # fmt: skip
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    assert check_story.main([str(tmp_path)]) == 0
    assert "NO" not in capsys.readouterr().out
    forecast(8).to_csv(tmp_path / "forecast.csv", index=False)
    assert check_story.main([str(tmp_path)]) == 1
    assert "at least 20" in capsys.readouterr().out


def test_an_efficiency_that_no_curve_determines_is_no_number():
    table = fits(efficiency=(0.5, 0.7, 3e8)).assign(not_identified="")
    table.loc[table["k"] == KS[-1], "not_identified"] = "beta efficiency"
    told = {f.name: f for f in story.laws(table, errors())}
    line = told["rank correlation of K and example length"].text
    assert "K is 0.50 at k = 2 and 0.70 at k = 3 (2 of 6 fits do not determine K and do not count)." in line
    assert told["K of the deepest model over the shallowest's"].value == pytest.approx(2.0)
    none = story.laws(table.assign(not_identified="efficiency"), errors())
    line = next(f for f in none if f.name == "rank correlation of K and example length")
    assert not line.holds and "K is not determined by any (6 of 6 fits" in line.text


def test_priors_and_plateaus_that_no_curve_determines_are_no_numbers():
    table = fits(prior=(0.3, 0.4, 0.99)).assign(not_identified="")
    table.loc[(table["source"] == 2) & (table["learner"] == "gpt2"), "not_identified"] = "prior gamma"
    table.loc[table["source"] == 2, "gamma"] = 1e-9
    told = {f.name: f for f in story.laws(table, errors())}
    prior = told["largest |prior − prior of the exact learner's curves|"]
    assert prior.holds and prior.value == pytest.approx(0) and "0.99" not in prior.text
    assert "(3 of 18 curves do not determine ρ and do not count)" in prior.text
    gamma = told["mean |γ − γ of the exact learner's curves|"]
    assert gamma.holds and "by 0.000 on average (3 of 18 curves do not determine γ" in gamma.text
    none = {f.name: f for f in story.laws(table.assign(not_identified="prior gamma beta"), errors())}
    for name in (prior.name, gamma.name):
        assert (
            not none[name].holds
            and "not determined by any" in none[name].text
            and "nan" not in none[name].text
        )


def test_shares_that_no_curve_determines_are_no_numbers():
    table = pd.concat([attribution()] * 2, ignore_index=True)
    table.loc[0, ["prior", "efficiency", "knowledge"]] = np.nan
    told = {f.name: f for f in story.suppression(tuned(), table)}
    share = told["SFT: share of prior and K in the change, smallest amount"]
    assert share.value == pytest.approx(0.8)
    assert (
        "80% at 10 and 30% at 100 documents (1 of 4 curves do not determine it and do not count)"
        in share.text
    )
    table[["prior", "efficiency", "knowledge"]] = np.nan
    told = {f.name: f for f in story.suppression(tuned(), table)}
    assert not told[share.name].holds and "not determined by any of the 4 curves" in told[share.name].text
    assert told["SFT: fall of the others' zero-shot probability"].holds  # what curves say without a law stays


def test_forecasts_of_never_are_told_without_a_factor():
    line = story.forecasts(forecast(error=np.inf))[-1]
    assert not line.holds and line.text == "Half of the forecasts or more say never of a task that came back."


def test_intervals_that_end_nowhere_are_counted():
    table = forecast()
    ahead = table.index[table["ahead"]]
    assert "no upper end" not in story.forecasts(table)[1].text
    table.loc[ahead[0], "hi90"] = np.inf
    assert "; 1 of the intervals have no upper end" in story.forecasts(table)[1].text
    table.loc[ahead, "hi90"] = np.inf
    assert "; all of the intervals have no upper end" in story.forecasts(table)[1].text


def test_figures_of_a_run_are_drawn_again_from_its_tables(tmp_path, capsys):
    assert check_story.main(["--redraw", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps({"seeds": [0], "favoured": 0}))
    assert check_story.main(["--redraw", str(tmp_path)]) == 2
    assert "curves.csv: is missing" in capsys.readouterr().err
    errors = {f"{name}_se": 0.01 for name in ("prior", "efficiency", "gamma", "beta")}
    curves(0.01).to_csv(tmp_path / "curves.csv", index=False)
    fits().assign(**errors).to_csv(tmp_path / "fits.csv", index=False)
    for name in ("curves", "summary", "nrmse"):
        (tmp_path / f"{name}.png").write_bytes(b"old")
    assert check_story.main(["--redraw", str(tmp_path)]) == 0
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.png")}
    assert sizes.pop("nrmse.png") == 3  # no table of errors is there
    assert (
        set(sizes) == {"curves.png", "summary.png"} and min(sizes.values()) > 10_000
    )  # and no figure more than stood there


def test_legends_of_the_sheet_of_a_run_stand_below_its_panels():
    errors = {f"{name}_se": 0.01 for name in ("prior", "efficiency", "gamma", "beta")}
    figure = figures.summary(curves(0.01), fits().assign(**errors), 0)
    figure.draw_without_rendering()
    for axis in figure.axes:
        assert axis.get_legend().get_window_extent().y1 < axis.get_window_extent().y0
