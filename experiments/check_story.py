"""Does a run show what the theory says? The numbers of its folder beside their targets.

    python experiments/check_story.py RUN_DIR [RUN_DIR …]
    python experiments/check_story.py --redraw RUN_DIR [RUN_DIR …]

Reads entropy.csv, curves.csv, fits.csv, table.csv, forecast.csv and suppression_attribution.csv of runs of
experiments/synthetic.py. Exit status 0 if every target is met, 1 if one is not. With --redraw it draws instead, from such tables
as there are, the figures that stand in the folder and need nothing else.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from synthetic_parts import story
from synthetic_parts.report import redraw

from iclbayes import comparison
from iclbayes.errors import InputError


def findings(run_dir: Path) -> list[story.Finding]:
    """All findings of a run.

    Raises:
      InputError: a file is missing.
    """

    def read(name: str) -> pd.DataFrame:
        path = run_dir / name
        if not path.exists():
            raise InputError(
                f"{path}: is missing; give the folder of a finished run of experiments/synthetic.py"
            )
        return pd.read_csv(path)

    favoured = (
        json.loads((run_dir / "config.json").read_text())["favoured"]
        if (run_dir / "config.json").exists()
        else 0
    )
    curves = read("curves.csv")
    models = curves[curves["learner"] == "gpt2"]
    tuned = models[models["method"] != "none"][["layers", "seed"]].drop_duplicates()
    return [
        *story.losses(read("entropy.csv")),
        *story.curves_on_the_exact_learner(curves),
        *story.laws(read("fits.csv"), read("table.csv")),
        *story.suppression(models.merge(tuned), read("suppression_attribution.csv"), favoured),
        *story.forecasts(read("forecast.csv")),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    folders = list(sys.argv[1:] if arguments is None else arguments)
    drawing = "--redraw" in folders[:1]
    folders = folders[drawing:]
    if not folders:
        print("check_story: error: name the folder of a run", file=sys.stderr)
        return 2
    all_met = True
    for folder in folders:
        try:
            if drawing:
                print(*(f"figure: {path}" for path in redraw(Path(folder))), sep="\n")
                continue
            found = findings(Path(folder))
        except InputError as error:
            print(f"check_story: error: {error}", file=sys.stderr)
            return 2
        all_met &= all(finding.holds for finding in found)
        print(f"\n{folder}\n\n{comparison.to_text(story.as_table(found), digits=3)}")
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
