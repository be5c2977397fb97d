"""Whatever is in a file, it is read or refused as a mistake of the user; what fuzzing found before stands here by itself."""

import json
import warnings

import pytest
from campaign_parts import readers

from iclbayes import InputError, read_curves

EXAMPLES = (
    60  # files for each reader; `python experiments/campaign.py --parts readers --files 1000000` gives more
)


@pytest.mark.parametrize("name", readers.READERS)
def test_damaged_files_are_read_or_refused(name):
    readers.fuzz(name, EXAMPLES)


def test_fuzzing_finds_a_reader_that_does_not_expect_other_types(monkeypatch):
    def read(path):
        return json.loads(path.read_text())["prob"] + 1

    monkeypatch.setitem(readers.READERS, "naive", readers.Reader("x.json", read, b'{"prob": 1}', {"prob": 1}))
    with pytest.raises(Exception) as caught:  # of any kind, whichever comes first
        readers.fuzz("naive", EXAMPLES)
    assert not isinstance(caught.value, InputError)
    said = readers.storm("naive", EXAMPLES, 0)
    assert said is not None and " of b'" in said


@pytest.mark.parametrize("cell", ["1\n2", "a\rb", "\x1b[2J", "c\u2028d"])
def test_what_a_message_quotes_is_one_line(tmp_path, cell):
    (tmp_path / "c.csv").write_text(f'shots,prob\n"{cell}",0.5\n1,0.5\n')
    with pytest.raises(InputError) as caught:
        read_curves(tmp_path / "c.csv")
    assert str(caught.value).isprintable() and "is not a number" in str(caught.value)


@pytest.mark.parametrize("name", readers.READERS)
def test_a_storm_of_damaged_files_is_read_or_refused(name):
    assert readers.storm(name, EXAMPLES, 1) is None


def test_a_storm_holds_every_kind_of_damage():
    import random

    reader, rng = readers.READERS["priors"], random.Random(0)
    found = [readers.drawn(rng, reader) for _ in range(400)]

    def is_json(content):
        try:
            return bool(json.loads(content))
        except ValueError:
            return False

    whole = sum(map(is_json, found))
    assert 50 < whole < 300 and len(set(found)) > 350
    assert found.count(reader.good) < 20 and any(b"[" * 10_000 in content for content in found)


@pytest.mark.parametrize("name", readers.READERS)
def test_good_files_are_read(tmp_path, name):
    reader = readers.READERS[name]
    (tmp_path / reader.name).write_bytes(reader.good)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert reader.read(tmp_path / reader.name) is not None
