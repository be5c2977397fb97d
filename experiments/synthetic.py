"""From nothing to fitted laws: pretrain GPT-2s on the synthetic world, measure their ICL curves, fit every law.

    python experiments/synthetic.py                               # preset quick, minutes on two CPU cores
    python experiments/synthetic.py --preset paper                # the published scale, for one accelerator
    python experiments/synthetic.py --run-dir DIR --resume        # continue a run that was stopped
    python experiments/synthetic.py --layers 1 2 4 --steps 300    # any field can be overridden

A run folder holds config.json, models/ (checkpoints and their logs), metrics.csv (all training logs), entropy.csv (held-out
loss beside the exact mixture's), curves.csv, fits.csv, table.csv, table.md, table.tex and the figures.
"""

import sys
import time
from collections.abc import Sequence

import pandas as pd
from synthetic_config import PRESETS, Config, open_run, parse
from synthetic_report import draw, rise_table, write_results
from synthetic_stages import entropy_table, fit_laws, measure, measure_exact, pretrain, suppress

from iclbayes import comparison as compare
from iclbayes import ginc
from iclbayes.console import entry, print_comparison
from iclbayes.files import write_csv

FILES = (
    *("config.json", "metrics.csv", "entropy.csv", "curves.csv", "fits.csv"),
    *("table.csv", "table.md", "table.tex"),
)


def run(config: Config) -> None:
    """The whole experiment."""
    began = time.perf_counter()
    run_dir = open_run(config)
    print(f"run folder: {run_dir}\n\n1. Pretraining", flush=True)
    world = ginc.make_world(config.world)
    results = pretrain(config, world, run_dir)
    logs = [r.metrics.assign(layers=layers, seed=seed) for (layers, seed), r in results.items()]
    write_csv(pd.concat(logs, ignore_index=True), run_dir / "metrics.csv")

    entropy = entropy_table(config, world, results)
    write_csv(entropy, run_dir / "entropy.csv")
    print("\nHeld-out loss beside the exact mixture's entropy, nats a token (no model can be below it)\n")
    print(compare.to_text(entropy))
    if (entropy["gap"] < -2 * entropy["gap_stderr"]).any():
        print("warning: a model beats the exact learner, which cannot be: check the world and the model")

    print("\n2. Measuring ICL curves", flush=True)
    frame = pd.concat([measure(config, world, results), measure_exact(config, world)], ignore_index=True)
    write_csv(frame, run_dir / "curves.csv")
    print(compare.to_text(rise_table(frame)))

    print("\n3. Fitting the laws", flush=True)
    fits, table = fit_laws(config, frame)
    write_results(config, fits, table, run_dir)
    print_comparison(table[table["learner"] == "gpt2"])

    print("\n4. Drawing", flush=True)
    figures = draw(config, frame, fits, table, run_dir)
    print("\n".join(f"  {path}" for path in [*(run_dir / name for name in FILES), *figures]))

    if config.suppress:
        print(f"\n5. Suppressing all tasks but {config.favoured}", flush=True)
        after = suppress(config, world, results, frame, run_dir)
        write_csv(pd.concat([frame, after], ignore_index=True), run_dir / "curves.csv")
        print(f"  {run_dir / 'forecast.csv'}\n  {run_dir / 'suppression_*'}")
    print(f"\ndone in {time.perf_counter() - began:.0f} s: {run_dir}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    config = parse(sys.argv[1:] if arguments is None else arguments, PRESETS, __doc__.splitlines()[0])
    return entry(lambda: run(config))


if __name__ == "__main__":
    sys.exit(main())
