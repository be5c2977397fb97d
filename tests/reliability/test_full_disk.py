"""On a full disk every command says so in one line, leaves the old file whole, and no temporary one."""

import numpy as np
import pytest
from campaign_parts import answers, bad_inputs, full_disk
from campaign_parts.writers import WRITERS

from iclbayes import InputError
from iclbayes.cli.main import main
from iclbayes.llm.journal import Journal
from iclbayes.locks import locked


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder in which every command has written its files once."""
    folder = tmp_path_factory.mktemp("full")
    bad_inputs.write_files(folder)
    assert answers.run_here(main, WRITERS["example"].arguments, folder).status == 0
    return folder


@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if not writer.fresh])
def test_a_full_disk_is_one_line_and_the_old_file_stays(written, name):
    arguments, files = WRITERS[name].arguments, WRITERS[name].files
    if name == "example":  # files that are there already are the same, and are written again all the same
        arguments = (*arguments, "--force")
    first = answers.run_here(main, arguments, written)
    assert first.status == 0, first
    before, there = full_disk.contents(written, files), set(written.rglob("*"))
    for limit in sorted(
        {0, *(size for file in files for size in (len(before[file]) // 2, len(before[file]) - 1))}
    ):
        with full_disk.file_size_limit(limit):
            answer = answers.run_here(main, arguments, written)
        assert answers.fault_of(answer) is None, (limit, answer)
        assert "too large" in answer.errors
        assert full_disk.changed(before, full_disk.contents(written, files), limit) == []
        left = {
            path
            for path in set(written.rglob("*")) - there
            if ".parts" not in path.parts[-1] + path.parts[-2]
        }
        assert not left


def test_parts_of_a_full_disk_are_gone_on_with(written):
    writer = WRITERS["fit in chunks to Parquet"]
    arguments, files = writer.arguments, writer.files
    assert answers.run_here(main, arguments, written).status == 0
    size = (written / files[0]).stat().st_size
    with full_disk.file_size_limit(size - 1):
        assert answers.run_here(main, arguments, written).status == 2
    assert answers.run_here(main, arguments, written).status == 0
    assert not (written / f"{files[0]}.parts").exists()


def test_a_journal_on_a_full_disk_keeps_what_is_finished(tmp_path):
    path, scores = tmp_path / "j.jsonl", np.zeros((1, 3))
    with Journal.open(path, {"model": "m"}) as journal:
        journal.add("first", scores)
        with (
            full_disk.file_size_limit(path.stat().st_size + 5),
            pytest.raises(InputError, match=r"j\.jsonl: cannot be written: .*finished prompts are kept"),
        ):
            journal.add("second", scores)
    with Journal.open(path, {"model": "m"}) as journal:  # the torn line is cut away
        assert list(journal.done) == ["first"]
        journal.add("second", scores)
    with Journal.open(path, {"model": "m"}) as journal:
        assert list(journal.done) == ["first", "second"]


def test_a_lock_that_cannot_be_written_is_not_left(tmp_path):
    with full_disk.file_size_limit(0), pytest.raises(InputError, match="cannot write there"):
        locked(tmp_path / ".lock", "x").__enter__()
    assert not list(tmp_path.iterdir())
