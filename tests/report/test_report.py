"""The report: what the page says, what it escapes, and that a browser draws it, if there is one."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from report_browser import check_readable, needs_chromium, opened, told_under_the_pointer

import iclbayes
from iclbayes import posterior
from iclbayes.cli.main import main
from iclbayes.report import bundle, render, report_of

EVIL = '</script><img src=x onerror=alert(1)>&"'
pytestmark = pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")


@pytest.fixture(scope="module")
def stacked():
    """Two curves from a logistic law, one named so that it would break a page that escapes nothing; 10 % are held out."""
    rng = np.random.default_rng(0)
    shots = np.array([0.0, 1, 2, 4, 8, 16, 32, 64])
    law = iclbayes.laws.get("logistic")
    raw = {
        name: np.array(value)
        for name, value in {
            "L": [0.7, 0.9],
            "t_0": [2.0, 2.5],
            "kappa": [0.4, 0.3],
            "E": [-1.5, -0.7],
        }.items()
    }
    p = np.array(law.mean_raw(raw, np.tile(shots, (2, 1))))
    table = [
        {"model": name, "shots": n, "n_test": 300, "n_correct": rng.binomial(300, p[i, j])}
        for i, name in enumerate(("plain", EVIL))
        for j, n in enumerate(shots)
    ]
    curves = iclbayes.curves_from_frame(pd.DataFrame(table), group_by=["model"])
    return posterior.stack(curves, ["logistic"], method="psis", max_k_hat=np.inf, n_draws=100, fraction=0.6)


@pytest.fixture(scope="module")
def report(stacked):
    return report_of(
        stacked,
        0.5,
        title=EVIL,
        shots=np.array([0.0, 1, 2, 4, 8, 16, 32, 64, 128, 256]),
        about={"data": EVIL},
    )


@pytest.fixture(scope="module")
def page(report):
    return render(report, bundle())


def test_sentences_tables_and_charts_tell_the_same(report, stacked):
    one = stacked.posteriors[0]
    reached = one.reach_table(0.5)
    assert report.verdict == posterior.reach_sentences(
        one.curves, one.used, reached, one.forecast(np.array([0.0, 1, 2, 4, 8, 16, 32, 64, 128, 256]))
    )
    shots = {table.caption: table for table in report.tables}["Shots to reach 50 %"]
    for row, (_, found) in zip(shots.rows, reached.iterrows(), strict=True):
        assert row[1] == posterior.answers.shots_text(found["q50"])
    values = report.charts[0].spec["data"]["values"]
    ahead = one.forecast(np.array([row["shots"] for row in values]))[: len(values)]
    np.testing.assert_allclose([row["median"] for row in values], ahead["latent_median"], atol=1e-4)
    points = report.charts[0].spec["layer"][-1]["data"]["values"]
    assert [p["what"] for p in points] == ["fitted"] * 7 + ["held out"]
    np.testing.assert_allclose([p["measured"] for p in points], one.curves.prob[:8], atol=1e-5)
    assert all(p["low"] < p["measured"] < p["high"] for p in points if "low" in p)


def test_nothing_of_the_users_becomes_markup_and_nothing_is_fetched(page):
    assert EVIL not in page and "<img src=x" not in page
    assert page.count("</script>") == 3
    specs = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL).group(1))
    assert len(specs) == 2 and EVIL in specs[1]["description"]
    assert not re.search(
        r'<(?:script|img|iframe)[^>]*\ssrc=|<link[^>]*href="(?!data:)|@import|url\(', page.split("<script")[0]
    )
    assert len(page.encode()) < 1.2e6


def test_wrong_places_and_a_missing_package_are_one_line(tmp_path, capsys, monkeypatch):
    curves = tmp_path / "curves.csv"
    curves.write_text("shots,prob\n0,0.1\n1,0.2\n2,0.4\n4,0.5\n")
    mine = tmp_path / "mine.html"
    mine.write_text("<p>notes</p>")
    for options, message in (
        (["--out", str(tmp_path / "r.txt")], "let --out end with .html"),
        (["--out", str(mine)], "was not written by this command"),
        (["--level", "50"], "is not a probability"),
    ):
        assert main(["report", str(curves), *options]) == 2
        assert message in capsys.readouterr().err
    assert mine.read_text() == "<p>notes</p>"
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    assert main(["report", str(curves), "--out", str(tmp_path / "r.html")]) == 2
    assert "pip install 'iclbayes[report]'" in capsys.readouterr().err


@needs_chromium
def test_a_browser_draws_every_chart_and_tells_the_numbers_under_the_pointer(page, tmp_path):
    with opened(page, tmp_path / "report.html") as tab:
        assert tab.locator(".chart svg").count() == 2
        texts = told_under_the_pointer(tab, 0)
        assert any("expected" in text or "measured" in text for text in texts)
        check_readable(tab)
