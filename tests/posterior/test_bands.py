"""Bands of a forecast as a figure."""

import dataclasses

import numpy as np
import numpyro.distributions as dist
from posterior_helpers import Constant, count_curves

from iclbayes import posterior

LAW = Constant()
COUNTS = np.array([[3, 5, 4, 2], [18, 16, 19, 20], [9, 11, 10, 8]])  # of 20
PRIOR = {"gamma": dist.Beta(2.0, 3.0)}
OPTIONS = {"likelihood": "binomial", "priors": PRIOR, "discrepancy": None}


def test_titles_of_bands_name_what_tells_the_panels_apart():
    from iclbayes.plots.bands import plot_bands

    curves = count_curves(COUNTS, 20)
    one = posterior.sample(curves, LAW, method="laplace", **OPTIONS)
    figure = plot_bands(one, one.forecast([0.0, 3.0]))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["0", "1", "2"]
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "90 %",
        "50 %",
        "median",
        "fitted",
    ]
    sources = dataclasses.replace(curves, source=np.array(["a", "b", "a"]))
    one = posterior.sample(sources, LAW, method="laplace", **OPTIONS)
    figure = plot_bands(one, one.forecast([0.0, 3.0]))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["0, a", "1, b", "2, a"]
