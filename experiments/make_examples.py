"""Makes the example curves that ship with the package, `iclbayes/data/`; see `iclbayes.examples` for what they are.

python experiments/make_examples.py                          # the simulated ones, seconds
python experiments/make_examples.py --curves RUN/curves.csv  # also those of a run of experiments/synthetic.py
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import iclbayes
from iclbayes.examples import GROUPS
from iclbayes.files import write_csv, write_text

DATA = Path(iclbayes.__file__).parent / "data"
SEED = 20_410
SIMULATED = {
    "unsafe_answers": {
        "law": "bayesian_scoring",
        "shots": [0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256],
        "n_test": 1000,
        "groups": [
            # Tuning took the large model's prior and left what it knows; from the small one it took knowledge too.
            {
                "model": "large",
                "variant": "base",
                "prior": 0.12,
                "efficiency": 0.05,
                "gamma": 0.88,
                "beta": 0.04,
            },
            {
                "model": "large",
                "variant": "instruct",
                "prior": 0.004,
                "efficiency": 0.05,
                "gamma": 0.84,
                "beta": 0.02,
            },
            {
                "model": "small",
                "variant": "base",
                "prior": 0.15,
                "efficiency": 0.03,
                "gamma": 0.75,
                "beta": 0.05,
            },
            {
                "model": "small",
                "variant": "instruct",
                "prior": 0.01,
                "efficiency": 0.03,
                "gamma": 0.42,
                "beta": 0.03,
            },
        ],
    },
    "lm_eval": {
        "law": "bayesian_heterogeneous_exact",
        "shots": [0, 1, 2, 4, 8, 16, 32],
        "n_test": 500,
        "groups": [
            {"model": "simulated-1b", "task": "reviews", "prior": 0.2, "efficiency": 0.4, "spread": 1.0}
            | {"gamma": 0.92, "beta": 0.45},
            {"model": "simulated-1b", "task": "topics", "prior": 0.05, "efficiency": 0.15, "spread": 1.0}
            | {"gamma": 0.80, "beta": 0.10},
        ],
    },
}


def simulate(spec: dict, rng: np.random.Generator) -> pd.DataFrame:
    """Binomial counts around the law's curves: a task of its own for every curve, and a background that has the other prior."""
    law = iclbayes.laws.get(spec["law"])
    rows = []
    for group in spec["groups"]:
        values = {name: np.asarray(value) for name, value in group.items() if name in law.param_names}
        with jax.enable_x64(True):
            params = {
                name: value if value.ndim or name in ("efficiency", "spread") else value[None]
                for name, value in values.items()
            }
            params["prior"] = np.array([values["prior"], 1 - values["prior"]])
            p = np.asarray(law.mean(params, np.array(spec["shots"], float)))[0]
        labels = {name: value for name, value in group.items() if isinstance(value, str)}
        for shots, correct in zip(spec["shots"], rng.binomial(spec["n_test"], p), strict=True):
            rows.append({**labels, "shots": shots, "n_correct": correct, "n_test": spec["n_test"]})
    return pd.DataFrame(rows)


def from_run(path: Path) -> pd.DataFrame:
    """The curves of a run of `synthetic.py` before any suppression, its first seed, in five digits."""
    frame = pd.read_csv(path)
    if "amount" in frame:
        frame = frame[frame["amount"] == 0]
    frame = frame[frame["seed"] == frame["seed"].min()]
    group_by, source = GROUPS["synthetic"]
    return frame[[*group_by, source, "shots", "prob", "stderr"]].round({"prob": 5, "stderr": 5})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, help="curves.csv of a run of experiments/synthetic.py")
    given = parser.parse_args()
    for number, (name, spec) in enumerate(SIMULATED.items()):
        frame = simulate(spec, np.random.default_rng((SEED, number)))
        write_csv(frame, DATA / f"{name}.csv")
        write_text(json.dumps(spec, indent=1) + "\n", DATA / f"{name}.json")
        print(f"{DATA / name}.csv: {len(frame)} points")
    if given.curves:
        frame = from_run(given.curves)
        write_csv(frame, DATA / "synthetic.csv")
        print(f"{DATA / 'synthetic'}.csv: {len(frame)} points")


if __name__ == "__main__":
    main()
