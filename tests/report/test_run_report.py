"""The report on a run of the synthetic world: what it says of tables that are known, and that a browser draws it."""

import json
import re

import numpy as np
import pytest
from made_run import AMOUNTS, EVIL, KS, SHOTS, TASKS, write_run
from report_browser import check_readable, needs_chromium, opened, told_under_the_pointer

from iclbayes.cli.main import main
from iclbayes.errors import InputError
from iclbayes.report import bundle, render
from iclbayes.report.run_tables import read_run
from iclbayes.report.runs import report_of_run, run_facts


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="module")
def report(run_dir):
    run = read_run(run_dir)
    return report_of_run(run, title=EVIL, about=run_facts(run))


def section(report, heading):
    return {one.heading: one for one in report.sections}[heading]


def test_the_story_is_told_in_sentences_and_what_failed_comes_first(report):
    assert report.verdict[0] == "2 of 3 predictions of the theory came true in this run."
    assert report.verdict[1:] == [
        "Not as predicted: DPO hardly does anything. (DPO: fall: 0.005, predicted at least 0.2)"
    ]
    assert list(section(report, "The story").lines) == [
        "1. Is it learned?",
        " yes: The gap is small.",
        "2. Is it Bayesian?",
        " yes: The curves lie on the exact learner's.",
        "4. Does the prior move?",
        " NO: DPO hardly does anything.",
    ]


def test_a_story_without_sentences_has_its_numbers(tmp_path):
    report = report_of_run(read_run(write_run(tmp_path / "old", sentences=False)), title="old")
    lines = section(report, "The story").lines
    assert lines[:2] == ["Step 1", " yes: gap: 0.2, predicted at most 1"]


def test_curves_stand_beside_the_exact_learner_thinned_but_whole(report):
    charts = section(report, "Curves beside the exact learner's").charts
    assert len(charts) == len(KS) * len(TASKS)
    assert (
        charts[0].says
        == "Mean distance from the exact learner: GPT-2, 1 layer: 0.020; GPT-2, 2 layers: 0.010."
    )
    rows = charts[0].spec["data"]["values"]
    exact = {row["shots"]: row["prob"] for row in rows if row["line"] == "exact learner"}
    assert 0 in exact and SHOTS.max() in exact and len(exact) <= 40
    for shots, prob in exact.items():
        assert prob == pytest.approx(0.2 + 0.4 * (1 - np.exp(-shots / 5)), abs=1e-4)


def test_what_the_curves_do_not_determine_is_in_no_chart_and_has_no_number(report):
    drawn = section(report, "Priors and efficiency").charts[1].spec["data"]["values"]
    assert {(row["line"], row["k"]) for row in drawn} == {
        ("exact learner", 2), ("exact learner", 4), ("GPT-2, 1 layer", 4), ("GPT-2, 2 layers", 2), ("GPT-2, 2 layers", 4),
    }  # fmt: skip
    table = {table.caption: table for table in report.tables}[
        "Parameters of bayesian_scoring, with 90 % intervals"
    ]
    at = table.columns.index("efficiency K")
    said = {row[:4]: row[at] for row in table.rows}
    assert said["gpt2", "1", "0", "2"] == "not determined"
    assert said["gpt2", "2", "0", "2"] == "1 (0.8 to 1.2)"
    assert (
        "1 of 6 fits do not determine the efficiency K; their K is in no chart, and marked in the tables."
        in report.caveats
    )


def test_suppression_and_returns_are_drawn_as_they_were(report):
    charts = section(report, "Suppression").charts
    assert [chart.title for chart in charts] == ["SFT, examples of 2 tokens", "SFT, examples of 4 tokens"]
    assert charts[0].says == "Without shots the others go from 0.19 to 0.14 after 64 documents."
    lines = {row["line"] for row in charts[0].spec["data"]["values"]}
    assert lines == {"before", *(f"{amount} documents" for amount in AMOUNTS)}
    back = section(report, "Return, forecast and observed")
    assert list(back.lines) == [
        "Of 3 returns that were still to come after the first 10 % of the shots, the 90 % intervals hold 2."
    ]
    rows = back.charts[0].spec["data"]["values"]
    assert [row["told"] for row in rows] == ["3.0", "never", "3.0"]
    assert [row["never"] for row in rows] == [False, True, False]
    assert all(np.isfinite(row["at"]) for row in rows)
    assert any("1 of 3 intervals of a forecast have no upper end" in line for line in report.caveats)
    assert any("1 of 3 forecasts rest on importance weights" in line for line in report.caveats)


def test_forecast_curves_are_drawn_as_bands_over_what_was_seen_and_what_came(report, run_dir, tmp_path):
    (chart,) = section(
        report, "Curves as forecast from their first shots"
    ).charts  # at k = 4 no return was to come
    assert chart.title == "SFT, examples of 2 tokens, task 1 after 64 documents"
    assert (
        chart.says == "At 30 % (50 % of the way back) after 7.0 shots; forecast never (90 %: 1.0 to never)."
    )
    band = {row["shots"]: row for row in chart.spec["data"]["values"]}
    assert set(band) == {0, 9, 30, 99} and band[9]["median"] == 0.45
    assert (band[30]["lo90"], band[30]["hi90"]) == (0.51, 0.56)
    (points,) = [
        layer["data"]["values"]
        for layer in chart.spec["layer"]
        if "measured" in layer.get("data", {}).get("values", [{}])[0]
    ]
    assert [row["what"] for row in points] == ["fitted"] * 10 + ["held out"] * 90
    assert points[20]["measured"] == pytest.approx(0.2 - 0.064 + 0.4 * (1 - np.exp(-20 / 5)), abs=1e-4)
    older = write_run(tmp_path / "older")
    (older / "suppression_forecast_bands.csv").unlink()
    old = report_of_run(read_run(older), title="older")
    assert "Curves as forecast from their first shots" not in {one.heading for one in old.sections}
    assert section(old, "Return, forecast and observed").charts


def test_a_run_without_suppression_says_so(tmp_path):
    report = report_of_run(read_run(write_run(tmp_path / "short", suppressed=False)), title="short")
    assert any(line.startswith("No task was suppressed") for line in report.caveats)
    assert "Suppression" not in {one.heading for one in report.sections}


def test_the_page_says_where_it_comes_from_and_escapes_what_it_is_told(report):
    page = render(report, "")
    assert EVIL not in page
    assert report.about["command of the run"] == "python made.py"
    assert re.search(r"curves\.csv SHA-256 [0-9a-f]{64}", report.about["digests of the files"])
    json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL).group(1))


def test_the_command_takes_a_folder_and_says_what_is_wrong_with_one(run_dir, tmp_path, capsys):
    out = tmp_path / "run.html"
    assert main(["report", str(run_dir), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 predictions of the theory came true" in said and f"report: {out}" in said
    assert out.stat().st_size < 1.5e6
    assert "run: a run of the synthetic world" in out.read_text(encoding="utf-8")
    assert main(["report", str(run_dir), "--level", "0.3", "--out", str(out)]) == 2
    assert "is the folder of a run, for which --level means nothing" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["report", str(empty), "--out", str(out)]) == 2
    assert "is a folder without config.json" in capsys.readouterr().err


def test_a_run_that_has_not_ended_is_refused_by_the_file_that_is_missing(tmp_path):
    folder = write_run(tmp_path / "half")
    (folder / "story.csv").unlink()
    with pytest.raises(InputError, match=r"has no story\.csv"):
        read_run(folder)


@needs_chromium
def test_a_browser_draws_the_run(report, tmp_path):
    with opened(render(report, bundle()), tmp_path / "run.html") as tab:
        assert tab.locator(".chart svg").count() == len(report.charts) == 10
        texts = told_under_the_pointer(tab, 0, (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6))
        assert any("GPT-2" in text or "exact" in text for text in texts)
        check_readable(tab)
