"""The commands on an engine: what they refuse before it starts. That results are equal is tested in test_ray_engine.py."""

import pytest

from iclbayes.cli.main import main


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fit c.parquet --group-by model --engine ray --out fits.csv", "the results are a folder of Parquet files"),
        ("fit c.parquet --group-by model --engine ray --out fits --plot x.png", "not available with --engine ray"),
        ("fit c.parquet --group-by model --engine ray --out fits --law nix", "unknown law 'nix'"),
        ("posterior c.parquet --group-by model --engine ray", "wants a folder for its results"),
        ("posterior c.parquet --group-by model --engine ray --out a --forecast f.csv", "not available with --engine ray"),
        ("fit c.parquet --group-by model --engine ray --out fits", "c.parquet: no such file"),
        ("fit c.parquet --engine ray --out fits", "nothing to part"),
    ],
)  # fmt: skip
def test_what_an_engine_cannot_do_is_said_in_one_line(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
