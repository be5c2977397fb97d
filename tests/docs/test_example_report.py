"""The report that the documentation links is of the shipped data, by the command that the pages name, and made as now."""

import html
import re
import shlex
import sys
from pathlib import Path

import iclbayes
from iclbayes.curves import curve_labels
from iclbayes.digests import file_digest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import make_figures  # noqa: E402

PAGE = (ROOT / "docs" / "example_report.html").read_text(encoding="utf-8")


def test_it_is_of_the_shipped_data():
    assert file_digest(ROOT / "iclbayes" / "data" / "unsafe_answers.csv") in PAGE
    for label in curve_labels(iclbayes.example_curves()):
        assert f"<li>{label}: 50 % after" in PAGE
    assert len(PAGE.encode()) < 1.2e6
    assert not re.search(r"(?:/tmp|/home|/work|/root)/", PAGE.split("<script")[0])


def test_it_was_made_by_the_command_that_the_pages_name():
    command = re.search(r"<dt>command</dt><dd>(.*?)</dd>", PAGE)
    assert shlex.split(html.unescape(command[1])) == make_figures.REPORT
    for page in ("README.md", "docs/quickstart/safety.md"):
        named = re.search(r"`(iclbayes report examples[^`]*)`", (ROOT / page).read_text())
        assert sorted(shlex.split(named[1])) == sorted(make_figures.REPORT), page


def test_its_parts_are_those_of_a_page_that_is_made_now():
    headings = re.findall(r"<h2>(.*?)</h2>", PAGE.split("<script")[0])
    assert headings == [
        "Answer",
        "Read with care",
        "Curves and forecasts",
        "What differs",
        "Which law describes them",
        "Numbers",
        "Where this comes from",
    ]
