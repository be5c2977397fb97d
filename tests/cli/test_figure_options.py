"""Title, label, size and overlay of the figures of commands as they are typed, by what is drawn and what is written."""

import numpy as np
import pandas as pd
import pytest

from iclbayes import plots
from iclbayes.cli.main import main

LOOK = ["--title", "Answers", "--ylabel", "share", "--size", "6x4"]


def write(path, models=2, variants=("base", "chat")):
    """Counts that rise from 10 to 80 %, a curve for each model and variant."""
    rng = np.random.default_rng(0)
    shots = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    rows = []
    for model in range(models):
        for i, variant in enumerate(variants):
            p = 0.1 + 0.7 / (1 + np.exp(-2 * (np.log1p(shots) - 1.5 - i)))
            counts = {"shots": shots, "n_correct": rng.binomial(200, p), "n_test": 200}
            rows.append(pd.DataFrame(counts).assign(model=f"m{model:02}", variant=variant))
    pd.concat(rows).to_csv(path, index=False)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The figures that were written, in a folder with a file of curves."""
    monkeypatch.chdir(tmp_path)
    write("curves.csv")
    found, save = [], plots.save
    monkeypatch.setattr(
        plots, "save", lambda figure, path, **of: (found.append(figure), save(figure, path, **of))
    )
    return found


COMMANDS = {
    "fit": ["--law", "power", "--starts", "2"],
    "compare": ["--law", "power", "logistic", "--starts", "2"],
    "posterior": ["--law", "power", "--method", "laplace", "--draws", "50", "--no-discrepancy"],
    "contrast": [
        "--pair",
        "variant",
        "base",
        "chat",
        "--method",
        "laplace",
        "--draws",
        "50",
        "--no-discrepancy",
    ],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_title_label_and_size_are_of_every_command_that_draws(command, drawn, capsys):
    group = ["--group-by", "model", "variant"]
    assert main([command, "curves.csv", *group, *COMMANDS[command], "--plot", "a.svg", *LOOK]) == 0
    assert "figure: a.svg\n" in capsys.readouterr().out
    (figure,) = drawn
    assert figure.get_suptitle() == "Answers" and tuple(figure.get_size_inches()) == (6.0, 4.0)
    labels = {axis.get_ylabel() for axis in figure.axes if axis.get_visible()}
    assert labels - {""} == {"share"}


def test_curves_are_laid_over_each_other_by_a_column(drawn, capsys):
    group = ["--group-by", "model", "variant"]
    assert (
        main(["fit", "curves.csv", *group, *COMMANDS["fit"], "--plot", "a.png", "--overlay", "variant"]) == 0
    )
    (figure,) = drawn
    assert [axis.get_title() for axis in figure.axes] == ["model = m00", "model = m01"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[-2:] == ["base", "chat"]
    # By the column of --source, under the name that it has in the file.
    by_source = ["--group-by", "model", "--source", "variant", "--overlay", "variant"]
    assert main(["fit", "curves.csv", *by_source, *COMMANDS["fit"], "--plot", "a.png"]) == 0
    assert [axis.get_title() for axis in drawn[1].axes] == ["model = m00", "model = m01"]


def test_thirty_curves_are_pages_of_a_pdf_and_a_note_elsewhere(drawn, capsys):
    write("many.csv", models=30, variants=["base"])
    call = ["fit", "many.csv", "--group-by", "model", "variant", *COMMANDS["fit"]]
    assert main([*call, "--plot", "a.pdf"]) == 0
    assert "figure: a.pdf (3 pages)\n" in capsys.readouterr().out and not drawn
    assert main([*call, "--plot", "a.png"]) == 0
    told = "figure: a.png (the first 12 of 30 panels; a name that ends with .pdf gets all, on 3 pages)\n"
    assert told in capsys.readouterr().out
    assert drawn[0].get_suptitle() == "the first 12 of 30 curves"


def test_shots_to_the_level_are_a_figure_too(drawn, capsys):
    group = ["--group-by", "model", "variant", "--level", "0.4"]
    for command in ("posterior", "contrast"):
        assert main([command, "curves.csv", *group, *COMMANDS[command], "--plot-reach", "r.png"]) == 0
        assert "figure: r.png\n" in capsys.readouterr().out
        (axis,) = drawn.pop().axes
        assert [text.get_text() for text in axis.get_yticklabels()] == [
            f"m{i:02}, {variant}" for i in range(2) for variant in ("base", "chat")
        ]
        low, high = axis.get_xlim()
        medians = [line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() in ("o", ">")]
        assert len(medians) == 4 and all(low <= x <= high for x in medians)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (
            "fit",
            ["--size", "big", "--plot", "a.png"],
            "--size 'big' is no size of a figure; give slide, paper, or",
        ),
        ("fit", ["--size", "0.1x4", "--plot", "a.png"], "figures are 1 to 60 inches wide and high"),
        ("compare", ["--size", "nanx3", "--plot", "a.png"], "--size 'nanx3' is no size"),
        ("fit", ["--overlay", "colour", "--plot", "a.png"], "no column 'colour' tells these curves apart"),
        ("posterior", ["--overlay", "colour", "--plot", "a.png"], "there are model, variant"),
        ("fit", ["--title", "T"], "--title says how a figure looks, but none is asked for; add --plot"),
        ("contrast", ["--ylabel", "y"], "--ylabel says how a figure looks"),
        ("posterior", ["--plot-reach", "r.png"], "--plot-reach draws the shots to a level; add --level"),
        ("posterior", ["--plot-reach", "r.gif", "--level", "0.5"], "figures are written as .png, .pdf, .svg"),
        ("contrast", ["--plot-reach", "a.png", "--plot", "a.png"], "two outputs have this name"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_before_anything_is_fitted(command, options, message, drawn, capsys):
    group = ["--group-by", "model", "variant"]
    assert main([command, "curves.csv", *group, *COMMANDS[command], *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not drawn
