"""Arguments as typed: repeated values, one line for whatever is wrong, choices that are the library's own."""

import dataclasses
import io
import typing

import pytest
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction

from iclbayes import InputError, comparison, reading
from iclbayes.cli import options
from iclbayes.cli.main import main
from iclbayes.cli.parsing import parse, spread_values
from iclbayes.fitting.losses import LOSSES
from iclbayes.laws import LAWS
from iclbayes.posterior import LIKELIHOODS


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = 3
    """how large."""
    deep: bool = True
    """how deep."""


@dataclasses.dataclass(frozen=True)
class Outer:
    """A command."""

    path: Positional[str]
    """where."""
    name: UseAppendAction[tuple[str, ...]] = ()
    """what; again for several."""
    way: typing.Literal["slow", "quick"] = "slow"
    """how."""
    inner: OmitArgPrefixes[Inner] = dataclasses.field(default_factory=Inner)


def test_repeated_flags_take_several_values():
    spread = spread_values(
        ["c.csv", "--law", "a", "b", "--out", "o", "--group_by", "x", "y"], {"--law", "--group-by"}
    )
    expected = "c.csv --law a --law b --out o --group_by x --group-by y"
    assert spread == expected.split()
    assert spread_values(["--law", "a", "b"], {"--law"}) == ["--law", "a", "b"]  # b may be the positional one


def test_arguments_become_the_dataclass():
    assert parse(Outer, ["p"], "prog") == Outer("p")
    found = parse(
        Outer, ["p", "--name", "a", "b", "--name", "c", "--way", "quick", "--size", "5", "--no-deep"], "prog"
    )
    assert found == Outer("p", ("a", "b", "c"), "quick", Inner(5, False))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("p --nmae x", "unknown option --nmae; did you mean --name?"),
        ("p --zzz", "unknown option --zzz; see prog --help"),
        ("p --siz=4", "unknown option --siz; did you mean --size?"),
        ("p --way quik", "unknown way 'quik': choose one of slow, quick; did you mean quick?"),
        ("p --way sideways", "unknown way 'sideways': choose one of slow, quick"),
        ("p --size x", "--size: invalid literal for int() with base 10: 'x'; see prog --help"),
        ("p --size", "missing value for argument '--size'. Expected 1 values; see prog --help"),
        ("p q", "unrecognized options: q; see prog --help"),
        ("", "missing: STR where. (required); see prog --help"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, said, encoding, monkeypatch):
    stdout = type("Stdout", (io.StringIO,), {"encoding": encoding})
    monkeypatch.setattr("sys.stdout", stdout())  # tyro draws its boxes with other letters where UTF-8 is not
    with pytest.raises(InputError) as error:
        parse(Outer, arguments.split(), "prog")
    assert str(error.value) == said


def test_help_is_no_mistake(capsys):
    with pytest.raises(SystemExit) as end:
        parse(Outer, ["--help"], "prog")
    assert not end.value.code
    printed = capsys.readouterr().out
    assert "how large" in printed and "{slow,quick}" in printed


@pytest.mark.parametrize(
    ("choices", "known"),
    [
        (options.LawName, LAWS),
        (options.LossName, ("auto", *LOSSES)),
        (options.ValueName, reading.VALUE_COLUMNS),
        (options.TableStyle, comparison.FORMATS),
        (options.LikelihoodName, ["auto", *LIKELIHOODS]),
    ],
)
def test_choices_are_those_of_the_library(choices, known):
    assert sorted(typing.get_args(choices)) == sorted(known)


def test_long_paths_stay_whole_in_messages(tmp_path, capsys):
    path = tmp_path / ("a" * 60) / ("b" * 60) / "curves.csv"  # longer than a line of the parser's box
    assert main(["fit", str(path), str(path)]) == 2
    said = (
        f"iclbayes: error: {path}: is named twice; name each file of curves once; see iclbayes fit --help\n"
    )
    assert capsys.readouterr().err == said
