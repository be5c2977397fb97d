"""The folder of a run of the synthetic world, made by hand: what is in its tables is known, and small."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

TASKS, KS, SHOTS, AMOUNTS = range(2), (2, 4), np.arange(100), (8, 64)
EVIL = "</script><b>k</b>"


def write_run(folder: Path, suppressed: bool = True, sentences: bool = True) -> Path:
    """A finished run: two depths of model, of which the shallow one does not determine K at k = 2; DPO failed one prediction."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps({"preset": EVIL, "layers": [1, 2], "seeds": [0], "favoured": 0, "world": {"seed": 5}})
    )
    (folder / "record.json").write_text(json.dumps({"command": "python made.py", "versions": {"jax": "1"}}))
    tables = {
        "entropy": pd.DataFrame({"layers": [1, 2], "loss": [0.7, 0.62], "entropy": 0.6, "gap": [0.1, 0.02]}),
        "curves": pd.concat([_before(), *([_after()] if suppressed else [])]),
        "fits": _fits(),
        "table": _errors(),
        "story": _story(sentences),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    if suppressed:
        for name, table in _later().items():
            table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def _curve(lift: float, **columns) -> pd.DataFrame:
    prob = 0.2 + lift + 0.4 * (1 - np.exp(-SHOTS / 5))
    return pd.DataFrame({"shots": SHOTS, "prob": prob, "stderr": 0.01, "seed": 0, "step": 0, **columns})


def _before() -> pd.DataFrame:
    """GPT-2s 0.02 (1 layer) and 0.01 (2 layers) below the exact learner everywhere."""
    kinds = (
        ("exact_prompt", 0, 0.0),
        ("exact_pretraining", 0, -0.005),
        ("gpt2", 1, -0.02),
        ("gpt2", 2, -0.01),
    )
    rows = [
        _curve(off, learner=learner, layers=layers, k=k, source=source, method="none", amount=0)
        for learner, layers, off in kinds
        for k in KS
        for source in TASKS
    ]
    return pd.concat(rows)


def _after() -> pd.DataFrame:
    rows = [
        _curve(0.1 if source == 0 else -0.001 * amount, learner="gpt2", layers=2, k=k, source=source, method="sft",
               amount=amount)
        for amount in AMOUNTS
        for k in KS
        for source in TASKS
    ]  # fmt: skip
    return pd.concat(rows).assign(step=7)


def _fits() -> pd.DataFrame:
    rows = []
    for learner, layers in (("exact_prompt", 0), ("gpt2", 1), ("gpt2", 2)):
        for k in KS:
            for source in TASKS:
                opened = learner == "gpt2" and layers == 1 and k == 2
                rows.append(
                    {
                        "law": "bayesian_scoring", "learner": learner, "layers": layers, "seed": 0, "k": k, "source": source,
                        "prior": 0.4 + 0.1 * source, "prior_lo90": 0.3, "prior_hi90": 0.6,
                        "efficiency": 123456.0 if opened else 0.5 * k, "efficiency_lo90": 0.4 * k, "efficiency_hi90": 0.6 * k,
                        "gamma": 0.6, "beta": 0.2, "not_identified": "efficiency" if opened else "",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def _errors() -> pd.DataFrame:
    rows = [
        {
            "law": law, "fraction": 1.0, "learner": learner, "layers": 2, "seed": 0, "k": k, "source": source,
            "nrmse": error + 0.001 * k + 0.002 * source * (law == "power"), "rmse": 0.01, "nrmse_nll": 0.1, "n_fit": 100,
            "n_eval": 100,
        }
        for law, error in (("bayesian_scoring", 0.02), ("power", 0.03))
        for learner in ("gpt2", "exact_prompt")
        for k in KS
        for source in TASKS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _story(sentences: bool) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "step": [1, 2, 4], "what": ["gap", "mean distance", "DPO: fall"], "measured": [0.2, 0.01, 0.005],
            "target": ["at most 1", "at most 0.04", "at least 0.2"], "met": ["yes", "yes", "NO"],
        }
    )  # fmt: skip
    if sentences:
        table["question"] = ["Is it learned?", "Is it Bayesian?", "Does the prior move?"]
        table["finding"] = [
            "The gap is small.",
            "The curves lie on the exact learner's.",
            "DPO hardly does anything.",
        ]
    return table


def _later() -> dict[str, pd.DataFrame]:
    case = {"method": "sft", "layers": 2, "seed": 0, "k": 2}
    forecast = pd.DataFrame(
        [
            {**case, "amount": 64, "source": 1, "window": 0.1, "share": share, "level": 0.1 + 0.4 * share, "seen": 9.0,
             "forecaster": "knowledge", "ahead": True,
             "observed": seen, "predicted": guess, "lo90": 1.0, "hi90": high, "p_never": never, "covered": held, "k_hat": k_hat}
            for share, seen, guess, high, never, held, k_hat in (
                (0.25, 4.0, 3.0, 9.0, 0.0, 1.0, 0.2),
                (0.5, 7.0, np.inf, np.inf, 0.6, 1.0, 0.9),
                (0.75, 12.0, 3.0, 5.0, 0.0, 0.0, 0.1),
            )
        ]
    )  # fmt: skip
    shots = np.array([0.0, 9.0, 30.0, 99.0])
    middle = np.array([0.136, 0.45, 0.53, 0.54])
    ends = {"median": 0.0, "lo50": -0.01, "hi50": 0.01, "lo90": -0.02, "hi90": 0.03}
    bands = pd.DataFrame(
        {**case, "amount": 64, "source": 1, "window": 0.1, "seen": 9.0, "shots": shots}
    ).assign(**{f"latent_{name}": middle + off for name, off in ends.items()})
    seen = forecast.assign(ahead=False, observed=1.0)
    changed = pd.DataFrame(
        [
            {
                **case,
                "amount": 64,
                "source": 1,
                "role": "disfavoured",
                "change": 0.1,
                "prior": 0.7,
                "efficiency": 0.1,
                "knowledge": 0.2,
            }
        ]
    )
    shifts = pd.DataFrame(
        [
            {
                **case,
                "amount": 64,
                "source": 1,
                "role": "disfavoured",
                "parameter": "prior",
                "shift": -1.0,
                "z": -4.0,
            }
        ]
    )
    sharing = pd.DataFrame(
        [{**case, "hypothesis": "all_free", "n_params": 9, "rmse": 0.01, "chi2": 1.0, "aic": 0.0}]
    )
    summary = pd.DataFrame(
        [
            {"method": "sft", "forecaster": "knowledge", "window": 0.1, "n_ahead": 3, "median_error_ahead": 0.4,
             "coverage_ahead": 0.67, "n_seen": 3, "n_at_start": 0, "n_beyond": 0, "n": 6}
        ]
    )  # fmt: skip
    return {
        "forecast": pd.concat([forecast, seen]),
        "suppression_forecast_bands": pd.concat([bands, bands.assign(k=4, latent_median=0.9)]),
        "suppression_attribution": changed,
        "suppression_shifts": shifts,
        "suppression_sharing": sharing,
        "suppression_forecast_summary": summary,
    }
