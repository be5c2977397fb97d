"""The report on a comparison of laws: what it says, against the errors that were put into the table."""

import itertools
import json
import re

import pandas as pd
import pytest
from report_browser import check_readable, needs_chromium, opened

from iclbayes.cli.main import main
from iclbayes.comparison import verdict
from iclbayes.errors import InputError
from iclbayes.report import bundle, read_comparison, render, report_of_comparison

MODELS = ("007", "7", "</script><i>x", "large")
LAWS = ("power", "logistic", "bayesian_scoring")


def table(spoilt: bool = False) -> pd.DataFrame:
    """Fitted on all shots the logistic law is nearest everywhere and the power law level with it on average; fitted on a fifth
    the scoring law is."""
    rows = []
    for fraction, law, (i, model) in itertools.product((0.2, 1.0), LAWS, enumerate(MODELS)):
        wobble = 0.001 * i
        error = {
            (1.0, "logistic"): 0.02 + wobble,
            (1.0, "power"): 0.02 + wobble + (0.01, -0.0099, 0.012, -0.0098)[i],
            (1.0, "bayesian_scoring"): 0.05 + 2 * wobble,
            (0.2, "logistic"): 0.3 + wobble,
            (0.2, "power"): 0.4 + 3 * wobble,
            (0.2, "bayesian_scoring"): 0.1 - wobble,
        }[fraction, law]
        rows.append(
            {
                "law": law, "fraction": fraction, "model": model, "source": "0", "nrmse": error, "rmse": error / 2,
                "nrmse_nll": error, "n_fit": 4, "n_eval": 16,
            }
        )  # fmt: skip
    found = pd.DataFrame(rows)
    if spoilt:
        found.loc[
            (found["law"] == "power") & (found["fraction"] == 0.2) & (found["model"] == "large"), "nrmse"
        ] = float("inf")
    return found


def test_what_won_is_said_and_what_cannot_be_told_apart():
    report = report_of_comparison(table(), title="laws")
    assert list(report.verdict) == verdict(table())
    assert (
        "bayesian_scoring is nearest to 4 curves (mean NRMSE 0.099), by 0.203 before logistic"
        in report.verdict[0]
    )
    assert report.caveats == [
        "Fitted on all shots, logistic cannot be told from power: over 4 curves the difference may be chance"
        " (paired t-tests, p above 0.05)."
    ]


def test_tables_count_the_curves_and_show_each(tmp_path):
    report = report_of_comparison(table(), title="laws")
    tables = {one.caption: one for one in report.tables}
    nearest = tables["On how many curves each law is nearest"]
    assert nearest.columns == ("law", "fitted on the first 20 %, of 4", "fitted on all shots, of 4")
    assert nearest.rows == (("power", "0", "2"), ("logistic", "0", "2"), ("bayesian_scoring", "4", "0"))
    every = tables["NRMSE of every curve"]
    assert every.columns == ("model", "fitted on", "power", "logistic", "bayesian_scoring")
    assert ("007", "all shots", "0.0300", "0.0200", "0.0500") in every.rows
    assert len(every.rows) == 8
    values = report.charts[0].spec["data"]["values"]
    assert [row["law"] for row in values] == ["bayesian_scoring", "logistic", "power"]
    assert values[0]["mean"] == pytest.approx(0.0985)


def test_curves_that_do_not_count_are_said():
    report = report_of_comparison(table(spoilt=True), title="laws")
    assert report.caveats[0].startswith("Fitted on the first 20 %, 1 of 4 curves do not count")


def test_labels_are_kept_as_written_and_a_broken_cell_is_one_line(tmp_path):
    path = tmp_path / "table.csv"
    table().to_csv(path, index=False)
    assert list(read_comparison(path)["model"].unique()) == list(MODELS)
    path.write_text(path.read_text().replace("0.02,", "about 0.02,", 1))
    with pytest.raises(InputError, match=r"table\.csv: cannot be read as a table of iclbayes compare"):
        read_comparison(path)


def test_the_command_knows_such_a_table_from_curves(tmp_path, capsys):
    path, out = tmp_path / "table.csv", tmp_path / "laws.html"
    table().to_csv(path, index=False)
    assert main(["report", str(path), "--out", str(out)]) == 0
    assert "bayesian_scoring is nearest to 4 curves" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert "</script><i>" not in page
    assert re.search(r"<dt>digest of the file</dt><dd>SHA-256 [0-9a-f]{64}</dd>", page)
    assert len(json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL).group(1))) == 2
    for options in (["--level", "0.3"], ["--group-by", "model"], ["--pair", "model", "a", "b"]):
        assert main(["report", str(path), *options, "--out", str(out)]) == 2
        assert (
            f"is a table of iclbayes compare, for which {options[0]} means nothing" in capsys.readouterr().err
        )


@needs_chromium
def test_a_browser_draws_the_comparison(tmp_path):
    report = report_of_comparison(table(), title="laws")
    with opened(render(report, bundle()), tmp_path / "laws.html") as tab:
        assert tab.locator(".chart svg").count() == 2
        check_readable(tab)
