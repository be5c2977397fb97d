"""Makes every figure of the documentation, `docs/figures/*.png`, and its report, from the shipped example data; some minutes
on two CPU cores.

    python docs/make_figures.py          # all
    python docs/make_figures.py laws     # the pictures of the laws
    python docs/make_figures.py gallery  # the figures of gallery.md, by running that page
    python docs/make_figures.py report   # docs/example_report.html, and its picture where there is a Chromium

In `gallery.md` each figure is followed by the lines that make it, which leave it in `figure`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import iclbayes
from iclbayes import examples, plots

REPORT = [
    *("iclbayes", "report", "examples/unsafe_answers.csv", "--group-by", "model", "--group-by", "variant"),
    *("--pair", "variant", "base", "instruct", "--fraction", "0.25", "--level", "0.5"),
    *("--law", "bayesian_scoring"),
]
PICTURE = (1000, 1425)  # of the report's beginning, in dots
HERE = Path(__file__).resolve().parent
EVEN = np.linspace(0, 100, 201)
WIDE = np.expm1(np.linspace(0, np.log1p(1000), 301))
OWN = {"gamma": [0.85], "beta": [0.1]}
NLL = {"C": [2.0], "E": [0.1]}
ORIGINAL = {
    "efficiency": 0.05,
    "probs": [[0.9, 0.5, 0.02]],
}  # the task known; its format known; nothing known
STAGES = {"t_format": [2.0], "kappa_format": [3.0], "kappa_task": [1.5]}
LEVELS = {"t_format": [2.0], "p_task": [0.85], "p_format": [0.4], "p_none": [0.02]}
SPEEDS = OWN | {"prior": [0.002, 0.998], "efficiency": 0.05}

# Law → shots, and for each line its label and parameters.
LAWS = {
    "bayesian_scoring": (
        EVEN,
        {f"ρ = {p:g}": OWN | {"efficiency": 0.05, "prior": [p, 1 - p]} for p in (0.3, 0.03, 0.003)},
    ),
    "bayesian_original": (
        WIDE,
        {f"ρ = {p}": ORIGINAL | {"prior": [float(p), 0.1, 0.9]} for p in ("0.01", "0.0001", "0.000001")},
    ),
    "bayesian_heterogeneous_exact": (WIDE, {f"s = {s:g}": SPEEDS | {"spread": s} for s in (0.3, 1.0, 3.0)}),
    "power": (EVEN, {f"α = {a:g}": NLL | {"alpha": [a]} for a in (0.3, 0.6, 1.2)}),
    "bounded_power": (EVEN, {f"t_c = {t}": NLL | {"alpha": [1.2], "t_c": [t]} for t in (3, 10, 30)}),
    "staged": (
        WIDE,
        {f"t_task = {t}": {**STAGES, "L": [1.5], "E": [0.2], "t_task": [t]} for t in (30, 100, 300)},
    ),
    "bayesian_staged": (
        WIDE,
        {f"t_task = {t}": LEVELS | {"t_task": [t], "efficiency": [2.0]} for t in (30, 100, 300)},
    ),
    "logistic": (EVEN, {f"κ = {k}": {"L": [2.0], "E": [0.1], "t_0": [20], "kappa": [k]} for k in (1, 2, 4)}),
}


def law_figure(law: str, shots: np.ndarray, lines: dict[str, dict]) -> Figure:
    """A law's curve of one source for several parameters."""
    figure, (axis,) = plots.panels(1, width=5.2, height=2.6)
    for i, (label, params) in enumerate(lines.items()):
        axis.plot(shots, mean(law, params, shots)[0], label=label, **plots.look(i))
    return finish(figure, shots)


def mean(law: str, params: dict, shots: np.ndarray) -> np.ndarray:
    """p [J, n] of a law by name, for parameters given as lists; priors are made to sum to 1."""
    arrays = {name: np.asarray(value, float) for name, value in params.items()}
    if "prior" in arrays:
        arrays["prior"] = arrays["prior"] / arrays["prior"].sum()
    return np.asarray(iclbayes.laws.get(law).mean(arrays, shots))


def finish(figure: Figure, shots: np.ndarray, columns: int = 4) -> Figure:
    axis = figure.axes[0]
    if shots.max() > 100:
        plots.shots_axis(axis, shots.max())
    axis.set(xlabel="shots", ylabel="probability", ylim=(0, 1), xlim=(0, shots.max()))
    plots.shared_legend(figure, [axis], columns=columns)
    return figure


def law_figures() -> dict[str, Figure]:
    """A picture for each law."""
    found = {f"law_{law}": law_figure(law, shots, lines) for law, (shots, lines) in LAWS.items()}

    coarse = found["law_bayesian_heterogeneous_exact"]
    steps = mean("bayesian_heterogeneous", SPEEDS | {"spread": 3.0}, WIDE)[0]
    coarse.axes[0].plot(WIDE, steps, color="#666666", linewidth=0.8, label="s = 3, 15 nodes")
    coarse.legends[0].remove()
    found["law_bayesian_heterogeneous"] = finish(coarse, WIDE)
    del found["law_bayesian_heterogeneous_exact"]

    figure, (axis,) = plots.panels(1, width=5.2, height=2.6)
    params = {"prior": [0.2, 0.8], "efficiency": 0.05, "gamma": [0.85, 0.6], "beta": [0.1, 0.3]}
    for i, p in enumerate(mean("bayesian_sampling", params, EVEN)):
        own, other = params["gamma"][i], params["beta"][1 - i]
        axis.plot(EVEN, p, label=f"source {i}: its own task says {own}, the other {other}", **plots.look(i))
    found["law_bayesian_sampling"] = finish(figure, EVEN, columns=1)
    return found


def gallery_figures() -> dict[str, Figure]:
    """The figures of gallery.md, whose blocks share their names as cells of a notebook do."""
    names: dict = {}
    found = {}
    text = (HERE / "gallery.md").read_text()
    for name, code in re.findall(r"\(figures/(\w+)\.png\)\n\n```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, f"gallery.md, {name}", "exec"), names)
        found[name] = names.pop("figure")
    return found


def lm_eval_figures() -> dict[str, Figure]:
    """The figure of the quick start from lm-evaluation-harness."""
    curves = iclbayes.example_curves("lm_eval")
    one = iclbayes.posterior.sample(curves, "logistic", fraction=0.5, method="psis")
    return {"lm_eval_bands": plots.plot_bands(one, one.forecast())}


def make_report() -> None:
    """example_report.html by the command as the documentation shows it, and the picture of its beginning."""
    page, picture = HERE / "example_report.html", HERE / "figures" / "report.png"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with tempfile.TemporaryDirectory() as folder:
        examples.write_examples(Path(folder) / "examples")
        subprocess.run([sys.executable, "-m", *REPORT], cwd=folder, env=environment, check=True)
        shutil.copyfile(Path(folder) / "report.html", page)
    print(page, flush=True)
    take_picture(page, picture)


def take_picture(page: Path, picture: Path) -> None:
    """A picture of the beginning of a page, where there is a browser to take it with."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print(f"{picture}: left as it is, there is no Chromium on the path", file=sys.stderr)
        return
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=20000"]
    size = "--window-size={},{}".format(*PICTURE)
    subprocess.run(
        [chromium, *options, size, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True
    )
    print(picture, flush=True)


MAKERS = {"laws": law_figures, "gallery": gallery_figures, "lm_eval": lm_eval_figures}


def main(kinds: list[str]) -> None:
    (HERE / "figures").mkdir(exist_ok=True)
    for kind in kinds or [*MAKERS, "report"]:
        if kind == "report":
            make_report()
            continue
        for name, figure in MAKERS[kind]().items():
            plots.save(figure, HERE / "figures" / f"{name}.png", dpi=90)
            print(HERE / "figures" / f"{name}.png", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
