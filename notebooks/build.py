"""Writes and executes the notebooks of this folder.

    python notebooks/build.py            # all of them, in place, with their figures
    python notebooks/build.py first_fit  # one of them

The text of a notebook is kept here, so that a change of the library is one command away from new figures.
"""

# ruff: noqa: E501 (prose)
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from iclbayes.files import atomic_path

HERE = Path(__file__).resolve().parent

SETUP = """import warnings

import matplotlib.pyplot as plt
import numpy as np

import iclbayes
from iclbayes import posterior as bayes
from iclbayes.runtime import use_compilation_cache

use_compilation_cache()
warnings.simplefilter("ignore", bayes.PosteriorWarning)  # few points: the text below says where the prior speaks
plt.rcParams.update({"figure.dpi": 70, "figure.figsize": (6, 3.2)})"""

SYNTHETIC = """rng = np.random.default_rng(0)
shots = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128])
law = iclbayes.laws.get("bayesian_scoring")
truth = {
    "prior": np.array([0.1, 0.9]),  # the task, and a background that absorbs everything else
    "efficiency": np.array(0.15),
    "gamma": np.array([0.85]),
    "beta": np.array([0.25]),
}
p = np.asarray(law.mean(truth, shots))[0]
counts = rng.binomial(250, p)
curves = iclbayes.Curves.from_arrays(shots, (counts / 250)[None], n_test=np.full((1, len(shots)), 250))
curves.to_frame()[["shots", "prob", "n_correct", "n_test"]]"""

NOTEBOOKS = {
    "first_fit": [
        (
            "md",
            "# A first fit in five minutes\n\nA curve of in-context learning: the share of right answers after n examples in the "
            "prompt. Which law does it follow, and how many examples until 80 % are right?",
        ),
        ("py", SETUP),
        (
            "md",
            "## A curve\n\n250 test questions at nine numbers of shots, simulated from the scoring law, so that the truth is known. "
            "Your own curves come from a CSV file: `iclbayes.read_curves(path, group_by=[...], source=...)`.",
        ),
        ("py", SYNTHETIC),
        ("md", "## Fit three laws"),
        (
            "py",
            """fits = {name: iclbayes.fit(curves, name) for name in ("bayesian_scoring", "logistic", "power")}
grid = np.expm1(np.linspace(0, np.log1p(300), 100))
plt.semilogx(shots + 1, curves.prob, "ko", ms=4, label="measured")
for name, fit in fits.items():
    plt.plot(grid + 1, fit.predict(grid)[0, 0], label=f"{name}, NRMSE {fit.metrics()['nrmse'][0]:.3f}")
plt.xlabel("1 + shots")
plt.ylabel("probability of the right answer")
plt.legend(fontsize=7);""",
        ),
        ("md", "The scoring law made the curve, and fits it best. Its parameters, with standard errors:"),
        (
            "py",
            """fits["bayesian_scoring"].to_frame(stderr=True).filter(regex="prior|efficiency|gamma|beta").T""",
        ),
        (
            "md",
            "Only the product K ln(γ/β) and the prior decide where a single curve rises, so K is known far less well than the curve.\n\n"
            "## How many shots until 80 %?",
        ),
        (
            "py",
            """for name, fit in fits.items():
    print(f"{name:20s} {fit.shots_to_reach(0.8)[0, 0]:8.0f} shots")
print(f"{'truth':20s} {np.asarray(law.shots_to_reach(truth, 0.8))[0]:8.0f} shots")""",
        ),
        (
            "md",
            "One number a law, and the laws disagree. How sure to be is the matter of `posterior_bands.ipynb`.",
        ),
    ],
    "posterior_bands": [
        (
            "md",
            "# How sure? Posterior bands on extrapolations\n\nA fit of the first part of a curve gives one number for what comes later. "
            "Its posterior gives a band, and the band should hold what it promises.",
        ),
        ("py", SETUP),
        ("md", "## A synthetic curve, fitted on its first quarter"),
        ("py", SYNTHETIC),
        (
            "py",
            """grid = np.unique(np.round(np.expm1(np.linspace(0, np.log1p(128), 40))))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for axis, discrepancy in zip(axes, (None, "walk")):
    one = bayes.posterior(curves, "bayesian_scoring", fraction=0.25, method="psis", discrepancy=discrepancy)
    band = one.forecast(grid)
    axis.fill_between(grid + 1, band["lo90"], band["hi90"], alpha=0.15, label="90 %")
    axis.fill_between(grid + 1, band["lo50"], band["hi50"], alpha=0.3, color="C0", label="50 %")
    axis.plot(grid + 1, band["median"], label="median")
    axis.plot(shots[one.used] + 1, curves.prob[one.used], "ko", ms=4, label="fitted")
    axis.plot(shots[~one.used] + 1, curves.prob[~one.used], "ko", ms=4, mfc="w", label="held out")
    axis.set(xscale="log", xlabel="1 + shots", title="the law is true" if discrepancy is None else "the law may be wrong")
axes[0].set_ylabel("right answers")
axes[0].legend(fontsize=7);""",
        ),
        (
            "md",
            "Left, the law is taken as exactly true; right (the default), the curve may wander from the law, the more the farther "
            "outside the fitted shots. On curves that a law made, the left band is enough. Real models follow no law exactly.",
        ),
        ("py", """one.reach_table(0.8).round(2)"""),
        (
            "md",
            "The number of shots until 80 %, with the probability that it never gets there (within 100 times the shots seen).\n\n"
            "## Real curves\n\nAccuracy of real models on BANKING77 and TREC, averaged over runs, fitted on the first 20 % of shots. "
            "Where the file of curves is absent, this part is skipped.",
        ),
        (
            "py",
            """from pathlib import Path

import pandas as pd

from iclbayes.plots import plot_bands

path = next((p for p in Path.cwd().resolve().parents if (p / "shared/data/long_context_icl.csv").exists()), None)
if path is not None:
    table = pd.read_csv(path / "shared/data/long_context_icl.csv")
    table = table[(table["selection"] == "random") & ~table["model"].str.contains("Llama-2-7b")]
    real = iclbayes.curves_from_frame(table, group_by=["model", "task"])
    one = bayes.posterior(real, fraction=0.2, method="psis", max_k_hat=1.0)
    band = one.forecast()
    figure = plot_bands(one, band)
    figure.set_dpi(60)
    display(figure)""",
        ),
        (
            "md",
            "Most later points lie in the bands. The curves of Mistral-7B-v0.1 fall to nothing where the prompts outgrow the context "
            "window: no forecast from shots that fit the window can know of that; it has to be told the window's size.",
        ),
    ],
}


def build(name: str, execute: bool = True) -> nbformat.NotebookNode:
    """The notebook, executed in this folder."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    for i, (kind, text) in enumerate(NOTEBOOKS[name]):
        cell = (nbformat.v4.new_markdown_cell if kind == "md" else nbformat.v4.new_code_cell)(text)
        cell["id"] = f"cell-{i}"
        notebook.cells.append(cell)
    if execute:
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(HERE)}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of execution would change the file at every run
    return notebook


def main(names) -> None:
    for name in names or NOTEBOOKS:
        notebook = build(name)
        with atomic_path(HERE / f"{name}.ipynb") as temporary:
            nbformat.write(notebook, temporary)
        print(HERE / f"{name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
