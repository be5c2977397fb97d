"""A home and a cache that cannot be written cost one line of warning and nothing else."""

import os
import subprocess
import sys

import pytest
from campaign_parts import bad_inputs
from conftest import ROOT

CACHE = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache")}
COMMANDS = {
    "fit": ("fit", "good.csv", "--group-by", "model", "--law", "power", "--plot", "f.png"),
    "example": ("example", "ex"),
}


# Without any cache a fit would compile everything anew; what is said of the cache is the same for every command.
@pytest.mark.parametrize(("name", "cache"), [("fit", CACHE), ("example", CACHE), ("example", {})])
def test_commands_work_without_a_home(tmp_path, name, cache):
    bad_inputs.write_files(tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": os.devnull, "PYTHONPATH": str(ROOT), **cache}
    command = [sys.executable, "-m", "iclbayes", *COMMANDS[name]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("iclbayes: fitting")]
    assert len(said) == (0 if cache else 1), said
    assert all(line.startswith("iclbayes: warning: no compilation cache at ") for line in said)
