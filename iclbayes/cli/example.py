"""`iclbayes example`: files to try everything with, offline."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclasses.dataclass(frozen=True)
class Example:
    """Write example files: curves to fit, and results of lm-evaluation-harness to import.

    unsafe_answers.csv holds simulated counts (its truth is in unsafe_answers.json), synthetic.csv measured curves of GPT-2s in a
    synthetic world, lm_eval/ simulated accuracies. No language model made the simulated ones.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")] = Path("examples")
    """where they go; the folder is made if it is not there."""
    force: Annotated[bool, arg(help_behavior_hint="")] = False
    """write over a file of that name whose contents differ."""

    def run(self) -> None:
        """Writes the files and says which.

        Raises:
          InputError: the folder cannot be made or written.
        """
        from ..examples import write_examples

        written = write_examples(self.folder, self.force)
        runs = [path for path in written if path.parent != self.folder]
        for path in (p for p in written if p not in runs):
            print(f"example: {path}")
        for folder in dict.fromkeys(path.parent.parent for path in runs):
            print(f"example: {folder} ({len(runs)} files)")
