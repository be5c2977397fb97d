"""Vega-Lite specifications of lines over shots, dots with intervals, and forecasts beside what happened."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .charts import CONFIG, SCHEMA, shots_axis, with_room
from .parts import Spec

# Okabe and Ito (2008), dark ones first; dashes tell lines apart on paper without colours.
COLOURS = ("#0072b2", "#d55e00", "#00724f", "#a3417b", "#8a5a00", "#1d6fa3", "#5b2a86", "#882255")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [10, 3], [1, 3], [6, 2, 1, 2])
BLACK, GREY = "#000000", "#777777"
MOST_POINTS = 40  # of one line of a chart: even on its axis
Look = Mapping[str, tuple[str, Sequence[int]]]  # name → colour and dash


def looks(names: Sequence[str]) -> dict[str, tuple[str, Sequence[int]]]:
    """A colour and a dash for each name."""
    return {name: (COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]) for i, name in enumerate(names)}


def thinned(frame: pd.DataFrame, by: Sequence[str], most: int = MOST_POINTS) -> pd.DataFrame:
    """Rows of each line at `most` numbers of shots at most, even in ln(1 + n), the first and the last among them."""

    def keep(shots: np.ndarray) -> np.ndarray:
        if len(shots) <= most:
            return np.ones(len(shots), bool)
        scale = np.log1p(shots)
        wanted = np.linspace(scale.min(), scale.max(), most)
        return np.isin(np.arange(len(shots)), np.abs(scale[:, None] - wanted).argmin(axis=0))

    parts = [part[keep(part["shots"].to_numpy(float))] for _, part in frame.groupby(list(by), sort=False)]
    return pd.concat(parts) if parts else frame


def lines_chart(
    frame: pd.DataFrame, look: Look, about: str, *, domain: tuple[float, float] = (0.0, 1.0), faint: str = ""
) -> Spec:
    """Curves over shots: a line for each name in the column `line`.

    Args:
      frame: columns line, shots, prob; and `part`, whose second value `faint` is drawn thin, where a chart has one.
      look: name → colour and dash, in the order of the legend.
      about: what the chart shows, for those who cannot see it.
      domain: of the probabilities.
      faint: the value of `part` whose lines are thin.
    """
    x = with_room(shots_axis("shots", float(max(frame["shots"].max(), 1.0))))
    y = {
        "field": "prob",
        "type": "quantitative",
        "title": "probability of the right answer",
        "scale": {"domain": [round(end, 3) for end in domain], "nice": False},
        "axis": {"format": ".0%", "tickCount": 5},
    }
    told = [
        {"field": "line", "title": "line"},
        *([{"field": "part", "title": "task"}] if faint else []),
        {"field": "shots", "title": "shots", "format": ",d"},
        {"field": "prob", "title": "probability", "format": ".1%"},
    ]
    detail = {"detail": {"field": "part"}} if faint else {}
    width = {"condition": {"test": f"datum.part == '{faint}'", "value": 1}, "value": 2} if faint else None
    strength = (
        {"condition": {"test": f"datum.part == '{faint}'", "value": 0.45}, "value": 1} if faint else None
    )
    more: Spec = {"strokeWidth": width, "opacity": strength} if faint else {}
    encoding = {"x": x, "y": y, **colour_and_dash(look, "line"), **detail, **more}
    dots = {name: value for name, value in encoding.items() if name not in ("strokeDash", "strokeWidth")}
    return chart(
        frame.assign(shots=frame["shots"].astype(float), prob=frame["prob"].round(4)),
        [
            {"mark": {"type": "line", "clip": True}, "encoding": encoding},
            {
                "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
                "mark": {"type": "point", "filled": True, "size": 24, "clip": True},
                "encoding": {**dots, "tooltip": told},
            },
        ],
        about,
    )


def intervals_chart(
    frame: pd.DataFrame,
    look: Look,
    about: str,
    *,
    x: tuple[str, str],
    y: tuple[str, str],
    log: bool = False,
    told: Sequence[str] = (),
    diagonal: tuple[float, float] | None = None,
) -> Spec:
    """Dots with their intervals, a colour for each name in the column `line`; joined where x is an order of values.

    Args:
      frame: columns line, the two named, `low` and `high` (NaN where unknown), and those in `told`.
      look: name → colour and dash.
      about: what the chart shows, for those who cannot see it.
      x, y: columns and their titles; x is an order of values unless there is a diagonal.
      log: y is logarithmic.
      told: more columns that the pointer tells.
      diagonal: from where to where x = y is drawn; both axes are probabilities then.
    """
    field, other = x[0], y[0]
    scale: Spec = {"zero": False}
    if log:
        drawn = frame[[other, "low", "high"]].to_numpy(float)
        drawn = drawn[np.isfinite(drawn)]
        scale = {
            "type": "log",
            "domain": [float(f"{drawn.min() / 1.3:.2g}"), float(f"{1.3 * drawn.max():.2g}")],
            "nice": False,
        }
    end = {"domain": list(diagonal), "nice": False} if diagonal else None
    along: Spec = (
        {"field": field, "type": "quantitative", "scale": end, "title": x[1]}
        if diagonal
        else {
            "field": field,
            "type": "ordinal",
            "title": x[1],
            "axis": {"labelAngle": 0},
            "scale": {"padding": 0.4},
        }
    )
    up = {
        "field": other,
        "type": "quantitative",
        "title": y[1],
        "scale": end or scale,
        "axis": {"tickCount": 6},
    }
    up["axis"] = {"tickCount": 6, "format": "~g"}
    beside: Spec = {} if diagonal else {"xOffset": {"field": "line", "sort": list(look)}}
    dots: Spec = {"x": along, "y": up, **beside, "color": colour_and_dash(look, "line", "circle")["color"]}
    shown = [{"field": name, "type": "nominal"} for name in ("line", *told)]
    values = [
        {"field": name, "type": "quantitative", "format": ".3g"} for name in dict.fromkeys([field, other])
    ]
    if not diagonal:
        values = [{"field": field, "type": "nominal"}, *values[1:]]
    ranges = [
        {"field": "low", "title": "90 % from", "format": ".3g"},
        {"field": "high", "title": "90 % to", "format": ".3g"},
    ]
    layers: list[Spec] = []
    if diagonal:
        ends = [{field: end, other: end} for end in diagonal]
        layers.append(
            {
                "data": {"values": ends},
                "mark": {"type": "line", "color": GREY, "strokeWidth": 1},
                "encoding": {"x": along, "y": up},
            }
        )
    known = bool((frame["low"].notna() & frame["high"].notna()).any())
    if known:
        layers.append(
            {
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "mark": {"type": "rule", "clip": True, "strokeWidth": 1.5},
                "encoding": {**dots, "y": {**up, "field": "low"}, "y2": {"field": "high"}},
            }
        )
    layers.append(
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1, "clip": True},
            "encoding": {
                **dots,
                "tooltip": [*shown, *values, *(ranges if known else [])],
            },
        }
    )
    return chart(frame, layers, about)


def means_chart(frame: pd.DataFrame, about: str, *, names: str, value: tuple[str, str]) -> Spec:
    """A dot with its standard error for each name, in the order of the rows.

    Args:
      frame: columns names, value, `low`, `high`.
      about: what the chart shows, for those who cannot see it.
      names, value: the columns, the second with its title.
    """
    y = {
        "field": names,
        "type": "nominal",
        "sort": list(frame[names]),
        "title": None,
        "axis": {"labelLimit": 220, "grid": True},
    }
    x = {
        "field": value[0],
        "type": "quantitative",
        "title": value[1],
        "scale": {"zero": True},
        "axis": {"format": "~g", "tickCount": 5, "labelOverlap": True},
    }
    told = [{"field": names, "type": "nominal"}, {"field": value[0], "type": "quantitative", "format": ".4f"}]
    bars = {
        "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
        "mark": {"type": "rule", "color": COLOURS[0], "strokeWidth": 2},
        "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
    }
    known = bool(
        (frame["low"].notna() & frame["high"].notna()).any()
    )  # of one curve there is no standard error
    return chart(
        frame,
        [
            *([bars] if known else []),
            {
                "mark": {"type": "point", "filled": True, "size": 70, "color": COLOURS[0], "opacity": 1},
                "encoding": {"y": y, "x": x, "tooltip": told},
            },
        ],
        about,
        height=max(120, 28 * len(frame)),
    )


def returns_chart(frame: pd.DataFrame, look: Look, about: str) -> Spec:
    """Shots to a return: as observed along x, as forecast along y with the 90 % interval; triangles for forecasts of never.

    Args:
      frame: columns line, what, observed, predicted, lo90, hi90 (inf for never).
      look: name → colour and dash.
      about: what the chart shows, for those who cannot see it.
    """
    finite = frame[["observed", "predicted", "lo90"]].to_numpy(float)
    top = float(np.ceil(1.3 * finite[np.isfinite(finite)].max(initial=1.0)))
    edge = float(np.ceil(2 * top))  # where what is never, or beyond all that came true, is drawn
    drawn = frame.assign(
        at=frame["predicted"].clip(upper=edge),
        low=frame["lo90"].clip(upper=edge),
        high=frame["hi90"].clip(upper=edge),
        told=[shots_said(value) for value in frame["predicted"]],
        within=[
            f"{shots_said(a)} to {shots_said(b)}" for a, b in zip(frame["lo90"], frame["hi90"], strict=True)
        ],
        never=frame["predicted"] > edge,
    )
    drawn = drawn.drop(columns=["predicted", "lo90", "hi90"])
    x, y = (
        shots_axis("observed", top, "shots to the return, observed"),
        shots_axis("at", edge, "shots, forecast"),
    )
    y["scale"] = {**y["scale"], "domain": [0, 1.1 * edge]}
    encoding: Spec = {"x": x, "y": y, "color": colour_and_dash(look, "line", "circle")["color"]}
    shape = {"condition": {"test": "datum.never", "value": "triangle-up"}, "value": "circle"}
    told = [
        {"field": "line", "title": "after"},
        {"field": "what", "title": "curve"},
        {"field": "observed", "title": "observed", "format": ".1f"},
        {"field": "told", "title": "forecast"},
        {"field": "within", "title": "90 %"},
    ]
    ends = {"values": [{"observed": 0, "at": 0}, {"observed": top, "at": top}]}
    return chart(
        drawn,
        [
            {
                "data": ends,
                "mark": {"type": "line", "color": GREY, "strokeWidth": 1},
                "encoding": {"x": x, "y": y},
            },
            {
                "mark": {"type": "rule", "opacity": 0.5, "clip": True},
                "encoding": {**encoding, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 50, "opacity": 0.9},
                "encoding": {**encoding, "shape": shape, "tooltip": told},
            },
        ],
        about,
        height=300,
    )


def shots_said(value: float) -> str:
    """Shots with a decimal, "never" for infinity."""
    return "never" if np.isinf(value) else f"{value:,.1f}"


def colour_and_dash(look: Look, field: str, symbol: str = "stroke") -> Spec:
    """The encoding of names by colour and dash, with one legend under the chart: of lines (stroke) or of dots (circle)."""
    drawn = {"symbolSize": 300, "symbolStrokeWidth": 2.5} if symbol == "stroke" else {"symbolSize": 80}
    legend = {"orient": "bottom", "columns": 2, "title": None, "symbolType": symbol, **drawn}
    colours, dashes = [c for c, _ in look.values()], [list(d) for _, d in look.values()]
    names = list(look)
    return {
        "color": {
            "field": field,
            "type": "nominal",
            "scale": {"domain": names, "range": colours},
            "legend": legend,
        },
        "strokeDash": {
            "field": field,
            "type": "nominal",
            "scale": {"domain": names, "range": dashes},
            "legend": legend,
        },
    }


def chart(frame: pd.DataFrame, layers: list[Spec], about: str, height: int = 230) -> Spec:
    """Layers over the rows of a frame; what is not finite is not there."""
    return {
        "$schema": SCHEMA,
        "description": about,
        "width": "container",
        "height": height,
        "data": {"values": records(frame)},
        "layer": layers,
        "config": CONFIG,
    }


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: five significant digits, no cell where a number is not finite."""
    found = []
    for row in frame.to_dict("records"):
        kept: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, (bool, np.bool_)):
                kept[str(name)] = bool(value)
            elif isinstance(value, (int, np.integer)):
                kept[str(name)] = int(value)
            elif isinstance(value, (float, np.floating)):
                if np.isfinite(value):
                    kept[str(name)] = float(f"{value:.5g}")
            else:
                kept[str(name)] = str(value)
        found.append(kept)
    return found
