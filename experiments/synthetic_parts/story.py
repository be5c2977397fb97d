"""The story that the theory tells of a run, checked against its tables: each finding a sentence with its number.

Theory (Arora et al. 2024): a model pretrained on a mixture of tasks is a Bayesian learner; its ICL curves follow the exact
learner's; the law's prior ρ, efficiency K and probabilities γ, β mean what they say; a little fine-tuning moves the prior and
leaves the knowledge, so shots bring a suppressed task back, and when can be forecast from the first of them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from iclbayes.fit_blocks import left_open
from iclbayes.suppression import mean_attribution, plateau
from iclbayes.suppression.sharing import final_steps

LAW, REFERENCE = "bayesian_scoring", "logistic"
UNKNOWN = "not determined by any"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found about one prediction.

    Attributes:
      step: 1 to 5, of the story.
      name: what is measured.
      value: the number measured, NaN where it cannot be.
      low, high: the bounds between which the theory wants it.
      text: the finding as a sentence.
    """

    step: int
    name: str
    value: float
    low: float
    high: float
    text: str

    @property
    def holds(self) -> bool:
        """Whether the theory predicted what was found."""
        return bool(self.low <= self.value <= self.high)

    @property
    def target(self) -> str:
        """The bounds in words."""
        if np.isinf(self.low):
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if np.isinf(self.high) else f"{self.low:g} to {self.high:g}"


STEPS = {
    1: "Does the model learn what there is to learn of its pretraining rows?",
    2: "Is its in-context learning that of the exact Bayesian learner?",
    3: "Do the laws fit, and do their parameters mean what they say?",
    4: "Does fine-tuning towards one task move the prior, and leave the knowledge of the others?",
    5: "Can the return of the suppressed tasks be forecast from the first shots?",
}


def tell(findings: Sequence[Finding]) -> str:
    """Findings as text: the step's question, then a line for each, yes or NO for what the theory predicts."""
    lines, step = [], None
    for finding in findings:
        if finding.step != step:
            step = finding.step
            lines.append(f"\n{step}. {STEPS[step]}")
        lines.append(f"  {'yes' if finding.holds else 'NO '}  {finding.text}")
    return "\n".join(lines)


def as_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """step, what, measured, target, met."""
    rows = [(f.step, f.name, f.value, f.target, "yes" if f.holds else "NO") for f in findings]
    return pd.DataFrame(rows, columns=["step", "what", "measured", "target", "met"])


def as_file(findings: Sequence[Finding]) -> pd.DataFrame:
    """`as_table` with each finding as a sentence and the question of its step: step, question, finding, what, measured, target,
    met."""
    table = as_table(findings)
    table.insert(1, "question", [STEPS[f.step] for f in findings])
    table.insert(2, "finding", [f.text for f in findings])
    return table


def _layers(n: int) -> str:
    return f"{n} layer" if n == 1 else f"{n} layers"


def _join(parts: Sequence[str]) -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def losses(entropy: pd.DataFrame) -> list[Finding]:
    """Step 1, from the table of losses beside the exact learner's."""
    worst = (entropy["gap"] / entropy["gap_stderr"]).min()
    by_depth = entropy.groupby("layers")["gap"].mean()
    told = _join([f"{_layers(n)} {gap:.3f}" for n, gap in by_depth.items()])
    found = [
        Finding(
            1, "smallest gap to the exact learner, standard errors", worst, -2.0, np.inf,
            f"Nothing beats the exact learner ({entropy['entropy'].iloc[0]:.3f} nats a token); above it are {told} nats."
            if worst >= -2
            else f"A model beats the exact learner by {-worst:.1f} standard errors, which cannot be: check world and model.",
        )
    ]  # fmt: skip
    if len(by_depth) > 1:
        ratio = by_depth.iloc[-1] / by_depth.iloc[0]
        found.append(
            Finding(
                1, "gap of the deepest model over the shallowest's", ratio, -np.inf, 1.0,
                f"The deepest model leaves {ratio:.0%} of the gap of the shallowest.",
            )
        )  # fmt: skip
    return found


def of_deepest(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the deepest GPT-2."""
    models = frame[frame["learner"] == "gpt2"]
    return models[models["layers"] == models["layers"].max()]


def distances(curves: pd.DataFrame) -> pd.DataFrame:
    """|p of each GPT-2 − p of the learner that knows the prompts|: layers, seed, k, source, shots, distance."""
    by = ["k", "source", "shots"]
    before = curves[curves["method"] == "none"]
    exact = before[before["learner"] == "exact_prompt"].set_index(by)["prob"]
    models = before[before["learner"] == "gpt2"]
    distance = np.abs(models["prob"].to_numpy() - exact.loc[pd.MultiIndex.from_frame(models[by])].to_numpy())
    return models[["layers", "seed", *by]].assign(distance=distance)


def rises(curves: pd.DataFrame) -> pd.DataFrame:
    """Plateau (mean of the last 20 % of the shots) less zero-shot probability, means over sources: learner, layers, seed, k,
    rise."""
    before = curves[curves["method"] == "none"]
    rows = []
    for key, part in before.groupby(["learner", "layers", "seed", "k"], sort=False):
        by_shots = part.groupby("shots")["prob"].mean()
        rows.append((*key, plateau(by_shots.index.to_numpy(), by_shots.to_numpy()) - by_shots.iloc[0]))
    return pd.DataFrame(rows, columns=["learner", "layers", "seed", "k", "rise"])


def curves_on_the_exact_learner(curves: pd.DataFrame) -> list[Finding]:
    """Step 2."""
    distance = distances(curves)
    deepest = distance[distance["layers"] == distance["layers"].max()]
    mean = deepest["distance"].mean()
    by_k = _join([f"{d:.3f} at k = {k}" for k, d in deepest.groupby("k")["distance"].mean().items()])
    rise = of_deepest(rises(curves)).groupby("k")["rise"].min()
    told = _join([f"{r:.2f} at k = {k}" for k, r in rise.items()])
    return [
        Finding(
            2, "mean |p of the deepest GPT-2 − p of the exact learner of prompts|", mean, -np.inf, 0.04,
            f"The curves of {_layers(deepest['layers'].iloc[0])} lie {mean:.3f} from the exact learner's on average ({by_k}).",
        ),
        Finding(
            2, "smallest rise over the shots at any k", rise.min(), 0.08, np.inf,
            f"With shots the probability of the right answer rises by {told}.",
        ),
    ]  # fmt: skip


def prior_distances(fits: pd.DataFrame) -> pd.DataFrame:
    """Priors of the deepest GPT-2 beside those that the law gives the exact learner's curves, means over the k whose curves
    determine them: layers, seed, source, prior, exact, distance."""
    scoring = fits[fits["law"] == LAW]
    exact = (
        _determined(scoring[scoring["learner"] == "exact_prompt"], "prior").groupby("source")["prior"].mean()
    )
    mine = _determined(of_deepest(scoring), "prior")
    mine = mine.groupby(["layers", "seed", "source"])["prior"].mean().reset_index()
    mine["exact"] = exact.reindex(mine["source"]).to_numpy()
    return mine.assign(distance=(mine["prior"] - mine["exact"]).abs()).dropna(subset="exact")


def laws(fits: pd.DataFrame, table: pd.DataFrame) -> list[Finding]:
    """Step 3, from the parameters of the laws and the errors of the fits."""
    scoring = fits[fits["law"] == LAW]
    if scoring.empty:
        return []
    found = []
    whole = of_deepest(table[table["fraction"] == 1.0]).groupby("law")["nrmse"].mean()
    if LAW in whole:
        beside = f"; the logistic law's is {whole[REFERENCE]:.3f}" if REFERENCE in whole else ""
        found.append(
            Finding(
                3, "NRMSE of the scoring law", whole[LAW], -np.inf, 0.04,
                f"The scoring law's error is {whole[LAW]:.1%} of the curve (NRMSE){beside}.",
            )
        )  # fmt: skip
        if REFERENCE in whole:
            found.append(
                Finding(
                    3, "NRMSE of the scoring law less the logistic's", whole[LAW] - whole[REFERENCE], -np.inf, 0.01,
                    f"A Bayesian law pays for its meaning with {whole[LAW] - whole[REFERENCE]:+.3f} beside the logistic.",
                )
            )  # fmt: skip
    priors = prior_distances(fits)
    tasks = scoring["source"].nunique()
    away = (priors.groupby("source")["exact"].first() - 1 / tasks).abs().max()
    values = _join([f"{p:.2f}" for p in priors.groupby("source")["prior"].mean()] or [UNKNOWN])
    exact = _join([f"{p:.2f}" for p in priors.groupby("source")["exact"].first()] or [UNKNOWN])
    off_uniform = f" (off uniform by up to {away:.2f})" if len(priors) else ""
    both = pd.concat([scoring[scoring["learner"] == "exact_prompt"], of_deepest(scoring)])
    found.append(
        Finding(
            3, "largest |prior − prior of the exact learner's curves|", priors["distance"].max(), -np.inf, 0.12,
            f"Priors are {values}; the law gives the exact learner's curves {exact}{off_uniform}{_left_out(both, 'prior', 'ρ')}.",
        )
    )  # fmt: skip
    every = scoring[scoring["learner"] == "gpt2"].drop_duplicates(["layers", "seed", "k"])
    efficiency = _determined(every, "efficiency")
    deepest = efficiency[efficiency["layers"] == every["layers"].max()]
    order = deepest.groupby("seed")[["k", "efficiency"]].apply(
        lambda part: stats.spearmanr(part["k"], part["efficiency"]).statistic if len(part) > 1 else np.nan
    )
    order = order if len(order) else pd.Series([np.nan])
    each = [f"{v:.2f} at k = {k}" for k, v in deepest.groupby("k")["efficiency"].mean().items()]
    told = _join(each or [UNKNOWN])
    found.append(
        Finding(
            3, "rank correlation of K and example length", order.min(), 0.6, np.inf,
            f"Longer examples say more: K is {told}{_left_out(every, 'efficiency', 'K', 'fits')}.",
        )
    )  # fmt: skip
    depths = every["layers"].nunique()
    common = efficiency.groupby("k")["layers"].transform("nunique") == depths  # K of every depth
    by_depth = efficiency[common].groupby("layers")["efficiency"].mean()
    if len(by_depth) > 1:
        ratio = by_depth.iloc[-1] / by_depth.iloc[0]
        told = _join([f"{v:.2f} with {_layers(n)}" for n, v in by_depth.items()])
        found.append(
            Finding(
                3, "K of the deepest model over the shallowest's", ratio, 1.0, np.inf,
                f"Deeper models learn more from an example: mean K is {told}.",
            )
        )  # fmt: skip
    off = {name: _off_the_exact(scoring, name) for name in ("gamma", "beta")}
    told = {name: UNKNOWN if np.isnan(value) else f"{value:.3f} on average" for name, value in off.items()}
    found.append(
        Finding(
            3, "mean |γ − γ of the exact learner's curves|", off["gamma"], -np.inf, 0.1,
            f"γ is off the exact learner's by {told['gamma']}{_left_out(both, 'gamma', 'γ')}, "
            f"β by {told['beta']}{_left_out(both, 'beta', 'β')}.",
        )
    )  # fmt: skip
    return found


def _off_the_exact(scoring: pd.DataFrame, name: str) -> float:
    """Mean distance of a parameter of the deepest GPT-2 from that of the exact learner's curve, over the curves that determine
    both; NaN of none."""
    by = ["k", "source"]
    exact = _determined(scoring[scoring["learner"] == "exact_prompt"], name).set_index(by)[name]
    mine = _determined(of_deepest(scoring), name)
    beside = exact.reindex(pd.MultiIndex.from_frame(mine[by])).to_numpy()
    return float(np.abs(mine[name].to_numpy() - beside[: len(mine)]).mean()) if len(mine) else np.nan


def _determined(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The fits whose curves determine a parameter."""
    return frame[~left_open(frame, name)]


def _left_out(frame: pd.DataFrame, name: str, symbol: str, what: str = "curves") -> str:
    """How many fits do not determine a parameter, if any."""
    missing = int(left_open(frame, name).sum())
    return (
        f" ({missing} of {len(frame)} {what} do not determine {symbol} and do not count)" if missing else ""
    )


def zero_and_plateau(frame: pd.DataFrame, favoured: int) -> pd.DataFrame:
    """Zero-shot probability and plateau, means over k, seeds and tasks; amount 0 is before: method, amount, role, zero_shot,
    plateau."""
    final = final_steps(frame)
    final = final.assign(role=np.where(final["source"] == favoured, "favoured", "others"))
    last = final["shots"] >= 0.8 * final.groupby(["layers", "k"])["shots"].transform("max")
    by = ["method", "amount", "role"]
    # Every curve counts alike, however many shots it has.
    curve = [*by, "layers", "seed", "k", "source"]
    zero = final[final["shots"] == 0].groupby(curve)["prob"].mean().groupby(by).mean()
    top = final[last].groupby(curve)["prob"].mean().groupby(by).mean()
    return pd.DataFrame({"zero_shot": zero, "plateau": top}).reset_index()


def shares(attribution: pd.DataFrame) -> pd.DataFrame:
    """What explains the others' change, of the curves that determine it: the rows of `mean_attribution` that have shares."""
    others = mean_attribution(attribution[attribution["role"] == "disfavoured"])
    return others[others["determined"] > 0]


def suppression(frame: pd.DataFrame, attribution: pd.DataFrame, favoured: int = 0) -> list[Finding]:
    """Step 4, from the curves before and after fine-tuning and the attribution of what changed."""
    levels = zero_and_plateau(frame, favoured).set_index(["method", "role", "amount"]).sort_index()
    explained = shares(attribution)
    found = []
    disfavoured = attribution[attribution["role"] == "disfavoured"]
    for method in dict.fromkeys(attribution["method"]):
        own, others = levels.loc[method, "favoured"], levels.loc[method, "others"]
        fall = 1 - others["zero_shot"] / others["zero_shot"].loc[0]
        kept = others["plateau"] / others["plateau"].loc[0]
        both = np.minimum(fall / 0.2, kept / 0.85).drop(0)
        best = both.idxmax()  # the amount at which the two come out best together
        name = method.upper()
        found.append(
            Finding(
                4, f"{name}: fall of the others' zero-shot probability", fall[best], 0.2, np.inf,
                f"{name} on {best} documents: without shots the favoured task goes from {own['zero_shot'].loc[0]:.2f} to "
                f"{own['zero_shot'].loc[best]:.2f}, the others from {others['zero_shot'].loc[0]:.2f} to "
                f"{others['zero_shot'].loc[best]:.2f} ({-fall[best]:+.0%}).",
            )
        )  # fmt: skip
        found.append(
            Finding(
                4, f"{name}: others' plateau there, of the pretrained one", kept[best], 0.85, np.inf,
                f"After the last shots the others are back at {kept[best]:.0%} of their pretrained plateau.",
            )
        )  # fmt: skip
        part = explained[explained["method"] == method].sort_values("amount")
        moved = (part["prior"] + part["efficiency"]).to_numpy()
        told = _join([f"{m:.0%} at {a}" for m, a in zip(moved, part["amount"], strict=True)] or [UNKNOWN])
        mine = disfavoured[disfavoured["method"] == method]
        missing = int(mine["prior"].isna().sum())
        note = f" ({missing} of {len(mine)} curves do not determine it and do not count)" if missing else ""
        turns = part["amount"].to_numpy()[moved < part["knowledge"].to_numpy()]
        where = (
            f"knowledge takes over at {turns[0]} documents"
            if len(turns)
            else "knowledge never takes over in this range"
        )
        first = moved[0] if len(moved) else np.nan
        found.append(
            Finding(
                4, f"{name}: share of prior and K in the change, smallest amount", first, 0.5, np.inf,
                f"Of the others' change the prior (with K) explains {told} documents{note}, γ and β the rest: {where}."
                if len(moved)
                else f"How much of the others' change the prior (with K) explains is {UNKNOWN} of the {len(mine)} curves.",
            )
        )  # fmt: skip
        if len(part) > 1:
            found.append(
                Finding(
                    4, f"{name}: the same share, largest amount less smallest", moved[-1] - moved[0], -np.inf, 0.0,
                    "More fine-tuning reaches the knowledge: "
                    f"the prior's share {'falls' if moved[-1] < moved[0] else 'does not fall'} with the amount.",
                )
            )  # fmt: skip
    return found


def forecasts(table: pd.DataFrame, window: float = 0.1) -> list[Finding]:
    """Step 5, from forecast.csv: returns still to come after the first tenth of the shots."""
    mine = table[(table["forecaster"] == "knowledge") & np.isclose(table["window"], window)]
    ahead = mine[mine["ahead"]]
    counts = mine["case"].value_counts()
    rest = [
        f"{counts.get(case, 0)} {words}"
        for case, words in (
            ("seen", "already back by then"),
            ("at start", "never below the level"),
            ("beyond", "not back within the prompt"),
        )
    ]
    methods = _join(
        [f"{n} after {m.upper()}" for m, n in ahead.groupby("method", sort=False).size().items()] or ["none"]
    )
    found = [
        Finding(
            5, "returns ahead of the first tenth of the shots", len(ahead), 20, np.inf,
            f"Of {len(mine)} cases {len(ahead)} returns lay ahead ({methods}); the others: {_join(rest)}.",
        )
    ]  # fmt: skip
    if len(ahead):
        covered, error = ahead["covered"].mean(), ahead["error"].median()
        found += [
            Finding(
                5, "share of the 90 % intervals that hold what happened", covered, 0.8, 1.0,
                f"The 90 % intervals hold {int(ahead['covered'].sum())} of these {len(ahead)} returns ({covered:.0%})"
                f"{_open_above(ahead['hi90'])}.",
            ),
            Finding(
                5, "median error, log₂ shots", error, -np.inf, 0.75,
                f"Half of the forecasts are off by less than a factor of {2**error:.1f} in 1 + shots "
                f"(median error {error:.2f} log₂ shots)."
                if np.isfinite(error)
                else "Half of the forecasts or more say never of a task that came back.",
            ),
        ]  # fmt: skip
    return found


def _open_above(upper: pd.Series) -> str:
    """How many intervals end nowhere, if any: those hold a late return too easily."""
    endless = int(np.isinf(upper).sum())
    if endless == 0:
        return ""
    return f"; {'all' if endless == len(upper) else endless} of the intervals have no upper end, since the task may never return"
