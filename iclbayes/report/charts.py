"""Vega-Lite specifications, as plain dictionaries of JSON values: what is drawn, without what draws it."""

from typing import Any

import numpy as np
import pandas as pd

from ..curves import Curves
from ..laws.scales import one_sigma
from ..metrics import standard_errors
from .parts import Spec

# Colours that differ for colour-blind readers too (Okabe and Ito 2008), dark enough on white for lines and text.
BAND, LINE, POINT, HELD, LEVEL = "#0072b2", "#0a4f7d", "#1a1a1a", "#b03a00", "#555555"
TICKS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
CONFIG: Spec = {
    "view": {"stroke": None},
    "axis": {"labelColor": "#333333", "titleColor": "#333333", "gridColor": "#e4e4e4"},
    "legend": {"labelColor": "#333333", "titleColor": "#333333", "labelLimit": 280},
}


def bands_hint(later: str) -> str:
    """How to read `band_chart`, in words; `later` is what the points are called that were not fitted."""
    return (
        f"Dots are measurements with one standard error (orange: {later}). The line is the expected probability,"
        " dashed beyond the shots that were fitted; the bands hold it with 50 and 90 %. Point at a place for its numbers;"
        " drag and scroll to move and zoom, double-click to go back."
    )


def shots_axis(field: str, top: float, title: str = "examples in the prompt (shots)") -> Spec:
    """The encoding of shots, as x or y: 0, 1, 3, 10, … to `top`, linear to 1 and logarithmic beyond."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"type": "symlog", "constant": 1, "domain": [0, top], "nice": False},
        "axis": {"values": [tick for tick in TICKS if tick <= top], "format": ",d"},
    }


def band_chart(
    curves: Curves, used: np.ndarray, forecast: pd.DataFrame, curve: int, level: float | None, about: str
) -> Spec:
    """One curve: points as measured with their standard errors, median and bands of the expected probability, and the level.

    Args:
      curves, used: what was measured, and the mask [N] of the points that were fitted.
      forecast: the rows of this curve, from `Posterior.forecast`.
      curve: its number.
      level: the probability that is asked about, drawn as a line.
      about: what the chart shows, for those who cannot see it.
    """
    mine = slice(curves.start[curve], curves.start[curve + 1])
    last = float(curves.shots[mine][used[mine]].max(initial=0.0))
    top = float(max(forecast["shots"].max(), curves.shots[mine].max(initial=1.0)))
    x = with_room(shots_axis("shots", top))
    y_axis = {"title": "probability", "format": ".0%", "tickCount": 5}

    def y(field: str) -> Spec:
        return {"field": field, "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": y_axis}

    shown = [
        {"field": "shots", "title": "shots", "format": ",d"},
        {"field": "median", "title": "expected", "format": ".1%"},
        {"field": "lo90", "title": "90 % from", "format": ".1%"},
        {"field": "hi90", "title": "90 % to", "format": ".1%"},
    ]
    layers: list[Spec] = [
        {
            "mark": {"type": "area", "color": BAND, "opacity": opacity, "clip": True},
            "encoding": {"x": x, "y": y(low), "y2": {"field": high}},
        }
        for low, high, opacity in (("lo90", "hi90", 0.2), ("lo50", "hi50", 0.3))
    ]
    for test, dash in (("datum.shots <= ", [1, 0]), ("datum.shots >= ", [5, 4])):
        layers.append(
            {
                "transform": [{"filter": f"{test}{_split(forecast, last)}"}],
                "mark": {"type": "line", "color": LINE, "strokeDash": dash, "clip": True},
                "encoding": {"x": x, "y": y("median")},
            }
        )
    # What the pointer meets: the nearest number of shots of the forecast, which shows itself and its numbers.
    nearest = {"type": "point", "nearest": True, "on": "pointermove", "clear": "pointerout"}
    layers.append(
        {
            "params": [
                {"name": "zoom", "select": "interval", "bind": "scales"},
                {"name": "near", "select": nearest},
            ],
            "mark": {"type": "point", "size": 60, "filled": True, "color": LINE, "clip": True},
            "encoding": {
                "x": x,
                "y": y("median"),
                "opacity": {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0},
                "tooltip": shown,
            },
        }
    )
    if level is not None:
        rule = {"type": "rule", "color": LEVEL, "strokeDash": [2, 3]}
        layers.append({"data": {"values": [{"level": level}]}, "mark": rule, "encoding": {"y": y("level")}})
    layers += _points(curves, used, mine, x, y)
    columns = ["shots", *(f"latent_{name}" for name in ("median", "lo50", "hi50", "lo90", "hi90"))]
    rows = forecast[columns].rename(columns=lambda name: name.removeprefix("latent_")).round(4)
    return {
        "$schema": SCHEMA,
        "description": about,
        "width": "container",
        "height": 230,
        "data": {"values": rows.to_dict("records")},
        "layer": layers,
        "config": CONFIG,
    }


def with_room(x: Spec) -> Spec:
    """An axis of shots that goes a little beyond 0 and its end, where dots would be cut in half."""
    return {**x, "scale": {**x["scale"], "domain": [-0.06, 1.04 * x["scale"]["domain"][1]]}}


def _split(forecast: pd.DataFrame, last: float) -> float:
    """The grid's shots nearest to the last fitted one: there the solid line ends and the dashed one begins."""
    shots = forecast["shots"].to_numpy(float)
    return float(shots[np.abs(np.log1p(shots) - np.log1p(last)).argmin()])


def _points(curves: Curves, used: np.ndarray, mine: slice, x: Spec, y: Any) -> list[Spec]:
    prob, stderr = curves.prob[mine], standard_errors(curves)[mine]
    low, high = one_sigma(prob, stderr, "logit")
    known = np.isfinite(low) & (stderr > 0)
    values = []
    for i, shots in enumerate(curves.shots[mine]):
        row = {
            "shots": float(shots),
            "measured": round(float(prob[i]), 5),
            "what": "fitted" if used[mine][i] else "held out",
        }
        if known[i]:
            row |= {"low": round(float(low[i]), 5), "high": round(float(high[i]), 5)}
        values.append(row)
    told = [
        {"field": "shots", "title": "shots", "format": ",d"},
        {"field": "measured", "title": "measured", "format": ".1%"},
        {"field": "what", "title": "point"},
    ]
    colour = {"condition": {"test": "datum.what == 'fitted'", "value": POINT}, "value": HELD}
    bars = {
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "clip": True},
        "encoding": {"x": x, "y": y("low"), "y2": {"field": "high"}, "color": colour},
    }
    dots = {
        "mark": {"type": "point", "filled": True, "size": 36, "opacity": 1, "clip": True},
        "encoding": {"x": x, "y": y("measured"), "color": colour, "tooltip": told},
    }
    return [{"data": {"values": values}, "layer": [bars, dots]}]
