"""The campaign at its smallest: its table, what it says of failures, and hostile curves and kills in small numbers."""

import campaign
import numpy as np
import pytest
from campaign_parts import bad_inputs, full_disk, hostile_curves, kills

from iclbayes import laws


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("law", ["power", "logistic", "bayesian_scoring", "bayesian_sampling_log"])
def test_hostile_curves_have_no_faults(law, dtype):
    assert law in laws.LAWS
    assert list(hostile_curves.faults(hostile_curves.draw(np.random.default_rng(1), 60), law, dtype)) == []


def test_hostile_curves_are_of_every_kind():
    curves = hostile_curves.draw(np.random.default_rng(0), 500)
    assert curves.shots.max() == 1e300 and (curves.weight > 1e307).any() and (curves.weight < 1e-299).any()
    assert {0.0, 1.0, 1e-300} <= set(curves.prob) and np.isfinite(curves.n_test).any()


@pytest.mark.parametrize("name", ["fit in chunks to CSV", "example"])
def test_killed_commands_leave_whole_files_and_succeed_again(name):
    with campaign.fresh_folder() as folder:
        bad_inputs.write_files(folder)
        whole = kills.undisturbed(name, folder)
        found = list(kills.kill(name, folder, 2, np.random.default_rng(0), whole))
        assert [fault for _, fault in found] == [None, None]
        other = whole._replace(contents=dict.fromkeys(whole.contents, b"other"))
        ((_, fault),) = kills.kill(name, folder, 1, np.random.default_rng(0), other)
        assert fault and fault.startswith("differs from an undisturbed run's: ")


def test_torn_files_are_noticed(tmp_path):
    before = {"a.csv": b"old", "b.pdf": b"old %%EOF", "c.csv": None, "d.csv": b"old"}
    after = {"a.csv": b"ol", "b.pdf": b"new %%EOF\n", "c.csv": None, "d.csv": None}
    assert full_disk.changed(before, after, 100) == ["a.csv", "d.csv"]
    assert full_disk.changed(before, after, 3) == ["a.csv", "b.pdf", "d.csv"]


def test_the_table_says_what_was_tried_and_what_failed(monkeypatch, capsys):
    def some(config, rng):
        yield 3, None
        yield 1, "a curve: NaN\x1b[31m"

    monkeypatch.setitem(campaign.PARTS, "curves", some)
    assert campaign.main(["--parts", "curves"]) == 1
    said = capsys.readouterr().out
    assert "| curves" in said and " 4 " in said and " 1 " in said
    assert "curves: a curve: NaN?[31m" in said
    monkeypatch.setitem(campaign.PARTS, "curves", lambda config, rng: iter([(2, None)]))
    assert campaign.main(["--parts", "curves"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["--kills", "0"], ["--parts"], ["--parts", "nix"], ["--seed", "-1"], ["--kils", "3"], ["--files", "x"]],
)
def test_mistakes_are_one_line(arguments, capsys):
    assert campaign.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("iclbayes: error: ") and error.count("\n") == 1
