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

SETUP = """%matplotlib inline
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import iclbayes
from iclbayes import plots
from iclbayes.examples import example_truth

iclbayes.use_cache()
plt.rcParams.update({"figure.dpi": 72, "savefig.dpi": 72})"""

NOTEBOOKS = {
    "first_fit": [
        (
            "md",
            "# A first fit in five minutes\n\nA curve of in-context learning: how often a language model does what the examples in its prompt do, "
            "after n of them. Which law does such a curve follow, how well are its parameters known, and how many examples until one half?",
        ),
        ("py", SETUP),
        (
            "md",
            "## Which curves?\n\nFour that ship with the package: of 1,000 answers, how many show a behaviour that an instruct model was tuned to avoid, "
            "for a base and an instruct model of two sizes. They are *simulated* from the scoring law, so that the truth is known. Your own come "
            "from a CSV file: `iclbayes.read_curves(path, group_by=[...], source=...)`.",
        ),
        (
            "py",
            """curves = iclbayes.example_curves("unsafe_answers")
curves.to_frame().astype({"shots": int}).pivot_table(index="shots", columns=["model", "variant"], values="n_correct").astype(int)""",
        ),
        (
            "md",
            "The instruct models start lower and rise later. The small one seems to end lower, too.\n\n"
            "## Which law describes them?\n\nThree laws, each fitted to all four curves at once.",
        ),
        (
            "py",
            """laws = ("bayesian_scoring", "logistic", "power")
fits = {law: iclbayes.fit(curves, law) for law in laws}
plots.plot_fits(list(fits.values()))""",
        ),
        (
            "md",
            "The power law cannot bend late enough. The other two look alike; their errors, relative to the mean of each curve:",
        ),
        (
            "py",
            """errors = {law: fit.metrics().set_index(["model", "variant"])["nrmse"] for law, fit in fits.items()}
pd.DataFrame(errors).round(3)""",
        ),
        (
            "md",
            "## What do the parameters say?\n\nThe scoring law is p(n) = β + (γ − β) σ(logit ρ + K n ln(γ/β)): from about β to γ, the later the smaller the "
            "prior ρ, the faster the larger K. Its parameters with standard errors, beside the truth:",
        ),
        (
            "py",
            """names = ["prior", "efficiency", "gamma", "beta"]
table = fits["bayesian_scoring"].to_frame(stderr=True).set_index(["model", "variant"])
truth = pd.DataFrame(example_truth("unsafe_answers")["groups"]).set_index(["model", "variant"])
shown = {}
for name in names:
    shown[name] = [
        f"{v:.3g} ± {e:.1g} ({t:g})" if name not in vague.split() else f"not determined ({t:g})"
        for v, e, t, vague in zip(table[name], table[name + "_se"], truth[name], table["not_identified"])
    ]
pd.DataFrame(shown, index=table.index)""",
        ),
        (
            "md",
            "γ, where a curve ends, is known well. K and β trade off, since only K ln(γ/β) decides how fast a single curve rises: of the large base model "
            "K is known to a factor of two, and β is left open. What tuning took from the large model is its prior; from the small one γ as well.\n\n"
            "## How many examples until one half?",
        ),
        (
            "py",
            """reach = {law: fit.reach_table(0.5)["shots"].to_numpy() for law, fit in fits.items()}
law = iclbayes.laws.bayesian_scoring
reach["truth"] = [
    law.shots_to_reach({k: np.array([r[k]]) for k in names[2:]} | {"prior": np.array([r["prior"], 1 - r["prior"]]),
                       "efficiency": np.array(r["efficiency"])}, 0.5)[0]
    for _, r in truth.iterrows()
]
pd.DataFrame(reach, index=table.index).astype(float).round(0)""",
        ),
        (
            "md",
            "One number a law, `inf` for never (NaN would say that the data do not determine it). The better laws are within a shot or two of the truth, the power law is not, and nothing here says so. A number without its uncertainty is "
            "half an answer: that is the matter of `posterior_bands.ipynb`.",
        ),
    ],
    "posterior_bands": [
        (
            "md",
            "# How sure? Posterior bands on extrapolations\n\nA fit of the first part of a curve gives one number for what comes later. "
            "Its posterior gives a band, and the band should hold what it promises. Does it?",
        ),
        ("py", SETUP),
        (
            "md",
            "## Does a band widen where nothing was measured?\n\nSimulated counts of a base and an instruct model, of which the posterior sees only the first "
            "quarter of the shots: 0 to 64 of 256.",
        ),
        (
            "py",
            """curves = iclbayes.example_curves("unsafe_answers")
warnings.simplefilter("ignore", iclbayes.posterior.PosteriorWarning)  # few points: the text says where the prior speaks
early = iclbayes.posterior.sample(curves, "bayesian_scoring", fraction=0.25, method="psis")
plots.plot_bands(early, early.forecast())""",
        ),
        (
            "md",
            "Filled points were fitted, hollow ones held out. Within the fitted shots a band is as wide as the noise of 1,000 answers; beyond them it opens, most where "
            "the rise has only begun: from the first ten points of the small instruct model nobody can know where it ends.\n\n"
            "## What if the law is taken to be exactly true?\n\nBy default the curve may wander from the law, the more the farther outside the fitted shots "
            "(`discrepancy`). Without that:",
        ),
        (
            "py",
            """true = iclbayes.posterior.sample(curves, "bayesian_scoring", fraction=0.25, method="psis", discrepancy=None)
width = {}
for name, one in (("may wander", early), ("law is true", true)):
    band = one.forecast([0, 64, 128, 256])
    width[name] = (band["hi90"] - band["lo90"]).groupby(band["shots"]).mean()
pd.DataFrame(width).round(2)""",
        ),
        (
            "md",
            "Mean width of the 90 % band by shots. These counts were drawn from the very law, so the narrower band would do here. Real models follow no law exactly.\n\n"
            "## How many shots until one half, and how sure?",
        ),
        (
            "py",
            """reach = early.reach_table(0.5).set_index(["model", "variant"])
reach[["q05", "q50", "q95", "p_never"]].round(2)""",
        ),
        (
            "md",
            "`p_never` is the probability that one half is not reached within 100 times the largest number of shots; a quantile that falls there is `inf`. For the small "
            "instruct model the honest answer after 64 shots is: unknown. (True answers are 14.1, 31.4, 28.6 and never: the third interval misses, as one in ten does.)\n\n"
            "## And on curves that no law made?\n\nCurves *measured* on a GPT-2 in a synthetic world, one for each of its three tasks, forecast from their first half.",
        ),
        (
            "py",
            """measured = iclbayes.example_curves("synthetic")
deep = measured.keys["layers"] == measured.keys["layers"].max()
measured = measured.select(deep & (measured.keys["k"] == 3))  # a curve for each of three tasks
half = iclbayes.posterior.sample(measured, "bayesian_scoring", fraction=0.5, method="psis")
band = half.forecast(measured)  # along the measured points
inside90 = (measured.prob >= band["lo90"]) & (measured.prob <= band["hi90"])
inside50 = (measured.prob >= band["lo50"]) & (measured.prob <= band["hi50"])
late = ~half.used
pd.DataFrame({"50 % band": [inside50[late].mean()], "90 % band": [inside90[late].mean()], "points": [late.sum()]}).round(2)""",
        ),
        (
            "md",
            "The share of later points inside the bands, which should be 0.5 and 0.9. Here they hold more: room for a law that may be wrong is too much for "
            "curves that follow it so well. Points of a curve err together, so three curves tell little. `experiments/forecast_coverage.md` does the same on curves of real models, beside other methods.",
        ),
    ],
    "by_hand": [
        (
            "md",
            "# The posterior over tasks, by hand\n\nWhat stands behind the laws is two lines of Bayes' rule. Here they are written out with `jax.vmap`: first the "
            "posterior over *tasks* that a model is taken to hold, then *our* posterior over its parameters, and at last a forecast, checked against "
            "points that were held back.",
        ),
        ("py", SETUP),
        (
            "md",
            "## What does the model believe about its task?\n\nTask m has the prior ρ_m and gives an example from source j the probability P[j,m]: γ_j if it is its own, "
            "β_j if not. One shot is worth K updates. So after n examples from source j\n\n"
            "    w_jm(n) ∝ ρ_m · P[j,m]^(K n)\n\n"
            "The parameters are those of a fit to a GPT-2 of a synthetic world with three tasks.",
        ),
        (
            "py",
            """curves = iclbayes.example_curves("synthetic")
keys = curves.keys
group = curves.select((keys["learner"] == "gpt2") & (keys["layers"] == keys["layers"].max()) & (keys["k"] == 3))
fit = iclbayes.fit(group, "bayesian_scoring", background=0)
prior, efficiency, gamma, beta = (fit.params[name][0] for name in ("prior", "efficiency", "gamma", "beta"))
P = np.where(np.eye(len(prior)), gamma[:, None], beta[:, None])

def believed(row, n):
    return jax.nn.softmax(jnp.log(prior) + efficiency * n * jnp.log(row))  # w_j(n), over tasks

shots = np.arange(32.0)
over_shots = jax.vmap(believed, in_axes=(None, 0))
weights = jax.vmap(over_shots, in_axes=(0, None))(P, shots)  # [source, shots, task]

figure, axis = plt.subplots(figsize=(5, 2.8))
for j in range(len(P)):
    axis.plot(shots, weights[j, :, j], label=f"task {j}", **plots.look(j))
axis.set(xlabel="shots", ylabel="weight of the right task", ylim=(0, 1))
axis.legend(fontsize=8);""",
        ),
        (
            "md",
            "Each line begins at the task's prior and rises towards 1. The library's own function says the same:",
        ),
        (
            "py",
            """params = {name: value[0] for name, value in fit.params.items()}
theirs = iclbayes.laws.task_weights(fit.law, params, shots)  # [source, task, shots]
print(f"largest difference: {np.abs(np.moveaxis(np.asarray(theirs), 1, 2) - weights).max():.0e}")""",
        ),
        (
            "md",
            "## What does it then expect?\n\nThe next example's probability is the mean of the tasks' under these weights, p_j(n) = Σ_m w_jm(n) P[j,m]; with "
            "two values in each row of P that is the closed form of the scoring law.",
        ),
        (
            "py",
            """expected = np.einsum("jnm,jm->jn", weights, P)
figure, axis = plt.subplots(figsize=(5, 2.8))
for j in range(len(P)):
    mine = group.point_curve() == j
    axis.plot(group.shots[mine], group.prob[mine], "o", ms=3, color=plots.PALETTE[j])
    axis.plot(shots, expected[j], label=f"source {j}", **plots.look(j))
axis.set(xlabel="shots", ylabel="probability", ylim=(0, 1))
axis.legend(fontsize=8)
print(f"largest difference to fit.predict: {np.abs(expected - fit.predict(shots)[0]).max():.0e}")""",
        ),
        (
            "md",
            "## What do *we* believe about ρ, K, γ and β?\n\nNow the same rule one level up. A single curve of simulated counts, of which only 0 to 32 shots are looked at; the parameters "
            "are unknown. Draw many from their prior distributions (the package's defaults), weigh each draw by the binomial probability of the "
            "counts. Few would be worth anything at once; so believe the counts step by step, drawing each time near what was left, and weigh by "
            "prior × probability of the counts ÷ density of the draw.",
        ),
        (
            "py",
            """from scipy import stats

counts = iclbayes.example_curves("unsafe_answers").select([1])  # the large instruct model
seen = counts.shots <= 32
rng = np.random.default_rng(0)
centre, scale = np.array([0, -3, 1.5, -1]), np.array([2, 2, 1.5, 1.5])  # logit ρ, ln K, logit γ, logit β/γ

def curve(draw, n):
    logit_prior, log_k, logit_gamma, logit_ratio = draw
    gamma = jax.nn.sigmoid(logit_gamma)
    beta = gamma * jax.nn.sigmoid(logit_ratio)
    rate = jnp.exp(log_k) * jnp.log(gamma / beta)
    return beta + (gamma - beta) * jax.nn.sigmoid(logit_prior + rate * n)

def log_likelihood(draw):
    p = curve(draw, counts.shots[seen])
    return jax.scipy.stats.binom.logpmf(counts.n_correct[seen], counts.n_test[seen], p).sum()

log_likelihoods = jax.jit(jax.vmap(log_likelihood))
assumed = stats.multivariate_normal(centre, np.diag(scale**2))
proposal = assumed
for power in (0.01, 0.1, 1, 1):  # of the likelihood: from hardly to fully believing the counts
    draws = proposal.rvs(100_000, random_state=rng)
    with jax.enable_x64(True):
        log_weight = power * np.asarray(log_likelihoods(draws)) + assumed.logpdf(draws) - proposal.logpdf(draws)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    print(f"power {power}: {1 / (weight**2).sum():,.0f} effective draws of {len(weight):,}")
    proposal = stats.multivariate_t(weight @ draws, 2 * np.cov(draws.T, aweights=weight), df=5)
kept = draws[rng.choice(len(draws), 4000, p=weight)]""",
        ),
        (
            "md",
            "With four parameters that is easy; with many there are samplers that walk to where the weight is. Do both agree? (`discrepancy=None`: the law is taken "
            "to be true, as above.)",
        ),
        (
            "py",
            """one = iclbayes.posterior.sample(counts, "bayesian_scoring", fraction=0.125, likelihood="binomial", discrepancy=None)
gamma = 1 / (1 + np.exp(-kept[:, 2]))
by_hand = {"prior": 1 / (1 + np.exp(-kept[:, 0])), "efficiency": np.exp(kept[:, 1]), "gamma": gamma}
by_hand["beta"] = gamma / (1 + np.exp(-kept[:, 3]))
rows = {}
for name, values in by_hand.items():
    nuts = one.params[name].reshape(2000, -1)[:, 0]
    rows[name] = [f"{m:.2g} ({a:.2g} to {b:.2g})" for a, m, b in (np.quantile(v, [0.05, 0.5, 0.95]) for v in (values, nuts))]
pd.DataFrame(rows, index=["by hand", "NUTS"]).T""",
        ),
        (
            "md",
            "Medians and 90 % intervals: the same, but for the noise of the draws. γ is hardly known: at 32 shots the curve is half-way up.\n\n"
            "## What will happen at 48 to 256 shots?\n\nA draw of the parameters gives a curve, and a draw of 1,000 answers around it an observation. The held-back counts "
            "are hollow.",
        ),
        (
            "py",
            """grid = np.union1d(counts.shots, np.round(np.expm1(np.linspace(0, np.log1p(256), 60))))
with jax.enable_x64(True):
    p = np.asarray(jax.vmap(curve, in_axes=(0, None))(kept, grid))  # [draw, shots]
observed = rng.binomial(1000, p) / 1000
low, middle, high = np.quantile(observed, [0.05, 0.5, 0.95], axis=0)

figure, axis = plt.subplots(figsize=(5, 2.8))
axis.fill_between(grid, low, high, alpha=0.2, lw=0, label="90 %")
axis.plot(grid, middle, label="median")
axis.plot(counts.shots[seen], counts.prob[seen], "ko", ms=4, label="fitted")
axis.plot(counts.shots[~seen], counts.prob[~seen], "ko", mfc="w", ms=4, label="held back")
plots.shots_axis(axis, 256)
axis.set(ylabel="probability", ylim=(0, 1))
axis.legend(fontsize=8)
for n, y in zip(counts.shots[~seen], counts.prob[~seen]):
    a, b = np.quantile(observed[:, grid == n], [0.05, 0.95])
    print(f"{n:3.0f} shots: 90 % interval {a:.2f} to {b:.2f}, observed {y:.2f}: {'inside' if a <= y <= b else 'outside'}")""",
        ),
        (
            "md",
            "All lie inside: the forecast is wide, and right to be. `iclbayes.posterior.sample` adds what is missing here: noise of counts that is not binomial, a law that is not "
            "quite true, many curves at once.",
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
