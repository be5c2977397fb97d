"""The command line as a whole: its overview, its version, its exit status, and what it imports."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import iclbayes
from iclbayes.cli.main import COMMANDS, main

HEAVY = ("jax", "numpyro", "pandas", "arviz", "matplotlib", "torch", "transformers", "scipy")


def run(*arguments: str, folder=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "iclbayes", *arguments], capture_output=True, text=True, cwd=folder
    )


def imported(code: str, *arguments: str) -> set[str]:
    """The top-level modules that a new process has imported after `code`."""
    ending = "\nprint('MODULES', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{ending}", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_overview_and_version(capsys):
    for flag in ("--help", "-h"):
        assert main([flag]) == 0
        printed = capsys.readouterr().out
        assert all(f"  {name} " in printed for name in COMMANDS)
        assert max(map(len, printed.splitlines())) <= 110
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"iclbayes {iclbayes.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert not end.value.code
    printed = capsys.readouterr().out
    assert f"usage: iclbayes {name}" in printed
    if name in ("fit", "compare", "posterior"):
        for law in iclbayes.laws.LAWS:
            assert law in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no command: give one of fit, compare, posterior"),
        (["fot"], "unknown command fot; did you mean fit?"),
        (["--hlep"], "unknown option --hlep; did you mean --help?"),
        (["train"], "unknown command train; the commands are fit, compare"),
        (["fit"], "missing: CURVES"),
        (["fit", "c.csv", "--lawe", "power"], "unknown option --lawe; did you mean --law?"),
        (
            ["compare", "c.csv", "--loss", "squard"],
            "unknown loss 'squard': choose one of ",
        ),
        (["posterior", "c.csv", "--no-discrepanc"], "did you mean --no-discrepancy?"),
        (["collect", "--modell", "x"], "unknown option --modell; did you mean --model?"),
        (["import-lm-eval"], "missing: "),
    ],
)
def test_mistakes_in_options_are_one_line_and_status_2(arguments, said, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("iclbayes: error: ") and printed.err.count("\n") == 1
    assert said in printed.err and printed.out == ""


def test_python_m_runs_the_command_line(tmp_path):
    assert run("--version").stdout == f"iclbayes {iclbayes.__version__}\n"
    wrong = run("fit", "absent.csv", folder=tmp_path)
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr.count("\n") == 1 and "no such file" in wrong.stderr
    assert not list(tmp_path.iterdir())


def test_the_process_of_a_command_is_the_installed_script_and_passes_its_status_on():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["iclbayes"].split(":")
    code = (
        "import gc, sys; before = gc.get_threshold()[0]\n"
        f"from {module} import {function} as program; assert gc.get_threshold()[0] == before\n"
        "status = program(); assert gc.get_threshold()[0] > before; sys.exit(status)"
    )
    for arguments, status in ((["--version"], 0), (["fit", "absent.csv"], 2)):
        assert (
            subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True).returncode == status
        )


def test_help_and_version_import_nothing_heavy():
    call = "from iclbayes.cli.main import main; assert main([sys.argv[1]]) == 0"
    for flag in ("--help", "--version"):
        assert not imported(call, flag) & set(HEAVY)
    assert not imported("import iclbayes") & set(HEAVY)
    assert not imported("import iclbayes.cli.fit, iclbayes.cli.compare, iclbayes.cli.posterior") & set(HEAVY)


def test_fit_imports_neither_numpyro_nor_arviz(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("shots,prob\n0,0.2\n1,0.3\n2,0.5\n4,0.6\n8,0.7\n16,0.75\n")
    call = "from iclbayes.cli.main import main; assert main(sys.argv[1:]) == 0"
    arguments = ["fit", str(path), "--law", "power", "--starts", "2", "--out", str(tmp_path / "fits.csv")]
    modules = imported(call, *arguments)
    assert "jax" in modules and not modules & {"numpyro", "arviz", "matplotlib", "torch", "transformers"}
    assert (tmp_path / "fits.csv").exists()


def test_example_writes_files_that_the_other_commands_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["example", "new"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in told] == [
        *("new/unsafe_answers.csv", "new/unsafe_answers.json", "new/synthetic.csv", "new/lm_eval")
    ]
    assert main(["import-lm-eval", "new/lm_eval", "--out", "curves.csv"]) == 0
    assert iclbayes.read_curves("curves.csv", group_by=["model", "task"]).n_curves == 2
    (tmp_path / "file").write_text("")
    assert main(["example", "file/inside"]) == 2
