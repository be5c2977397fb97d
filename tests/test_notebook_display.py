"""What notebooks show of curves, fits and posteriors: the numbers of their tables, escaped, and not too many."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes import Curves, posterior


class Cells(HTMLParser):
    """The cells of a table and every tag that occurs."""

    def __init__(self, text: str):
        super().__init__()
        self.rows, self.tags, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1].append(data)
            self.inside = False


@pytest.fixture(scope="module")
def curves() -> Curves:
    shots = np.arange(0.0, 24.0)
    p = 0.15 + 0.6 / (1 + np.exp(-(shots - 8) / 2))
    frame = pd.DataFrame({"shots": shots, "n_correct": np.round(500 * p), "n_test": 500})
    names = ["<b>large</b> & co", "small"]
    return iclbayes.curves_from_frame(
        pd.concat([frame.assign(model=name) for name in names]), group_by=["model"]
    )


def test_curves(curves):
    text = curves._repr_html_()
    found = Cells(text)
    assert "<b>large" not in text and found.tags.count("table") == 1 and "b" not in found.tags
    assert found.rows[1][0] == "<b>large</b> & co" and len(found.rows) == 3
    assert found.rows[2] == ["small", "0", "24", "0 to 23", "0.16", "0.75"]
    assert "2 curves, 48 points" in text


def test_many_curves_are_counted_not_shown():
    many = Curves.from_arrays(np.arange(3.0), np.full((5000, 3), 0.5))
    text = many._repr_html_()
    assert len(Cells(text).rows) == 9 and "and 4,992 more" in text and len(text) < 3000


def test_fits_show_standard_errors_and_what_is_not_determined(curves):
    fits = iclbayes.fit(curves, "logistic", n_starts=2)
    found = Cells(fits._repr_html_())
    head, *rows = found.rows
    table = fits.to_frame(stderr=True)
    for row, (_, expected) in zip(rows, table.iterrows(), strict=True):
        assert row[0] == expected["model"] and row[-1] == "converged"
        value = expected["kappa"]
        assert row[head.index("kappa")] == f"{value:.3g} ± {expected['kappa_se']:.3g}"
    assert "logistic: 2 of 2 fits converged, median loss" in fits._repr_html_()
    flat = Curves.from_arrays(np.arange(12.0), [np.full(12, 0.9)], n_test=200)
    vague = iclbayes.fit(flat, "bayesian_scoring", n_starts=2)
    assert vague.to_frame()["not_identified"][0]
    head, row = Cells(vague._repr_html_()).rows
    for name in vague.to_frame()["not_identified"][0].split():
        told = [cell for title, cell in zip(head, row) if title == name or title.startswith(name + "_")]
        assert told == ["not determined"] * len(told), name


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_posteriors_show_their_diagnostics_and_intervals(curves):
    one = posterior.sample(curves, "logistic", discrepancy=None, method="laplace", n_draws=100)
    text = one._repr_html_()
    head, *rows = Cells(text).rows
    assert head == ["model", "parameter", "median", "90 % interval"]
    # A model after the other, the parameters of the law in its own order, before those of the noise.
    summary = one.summary().set_index(["model", "parameter"])
    models = list(dict.fromkeys(one.curves.keys["model"]))
    wanted = [(model, name) for model in models for name in one.law.param_names][: len(rows)]
    for row, place in zip(rows, wanted):
        expected = summary.loc[place]
        assert row[0] == place[0] and row[1].split()[0] == place[1]
        assert row[2] == f"{expected['median']:.3g}"
        assert row[3] == f"{expected['lo90']:.3g} to {expected['hi90']:.3g}"
    assert re.search(r"<strong>logistic: .* posteriors (pass|fail) their diagnostics", text)
    assert "<b>" not in text
