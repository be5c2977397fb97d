"""How far a step is: a line now and then where stderr is no terminal."""

from iclbayes import console
from iclbayes.console import duration, progress


def test_a_line_every_ten_seconds_with_the_time_left(capsys):
    now = [0.0]
    with progress("fitting", "fit", total=8, clock=lambda: now[0]) as advance:
        for seconds in (4, 9, 12, 15, 30, 80):
            now[0] = seconds
            advance()
        now[0] = 100
        advance(2)  # all is done: the result says so itself
    assert capsys.readouterr().err.splitlines() == [
        "iclbayes: fitting: 3 of 8 fits after 12 s, about 20 s left",
        "iclbayes: fitting: 5 of 8 fits after 30 s, about 20 s left",
        "iclbayes: fitting: 6 of 8 fits after 80 s, about 30 s left",
    ]


def test_what_stands_before_the_first_advance_does_not_count_as_speed(capsys):
    now = [0.0]
    with progress("fine-tuning", "update", total=1000, clock=lambda: now[0]) as advance:
        for seconds, n in ((60, 500), (70, 100)):  # a minute of compiling; half was done before
            now[0] = seconds
            advance(n)
    assert capsys.readouterr().err.splitlines() == [
        "iclbayes: fine-tuning: 500 of 1,000 updates after 60 s",
        "iclbayes: fine-tuning: 600 of 1,000 updates after 70 s, about 40 s left",
    ]


def test_what_is_done_before_the_first_advance_is_said(capsys, monkeypatch):
    monkeypatch.setattr(console, "PULSE", 0.05)
    told = []
    with progress("staged", "posterior", total=6, first="compiling") as advance:
        while not told:  # a line comes although nothing advances
            told = capsys.readouterr().err.splitlines()
        advance(6)
    assert told[0] == "iclbayes: staged: 0 of 6 posteriors after 0 s, compiling"


def test_without_a_total_there_is_no_time_left_and_without_a_wish_nothing(capsys):
    now = [0.0]
    for show in (None, False):
        with progress("scoring", "token", show=show, clock=lambda: now[0]) as advance:
            now[0] += 11
            advance(1)
    assert capsys.readouterr().err == "iclbayes: scoring: 1 token after 11 s\n"


def test_times_are_said_as_people_do():
    assert [duration(x) for x in (0.4, 59, 99, 100, 3600, 7200)] == [
        "0 s",
        "59 s",
        "99 s",
        "2 min",
        "60 min",
        "2.0 h",
    ]
