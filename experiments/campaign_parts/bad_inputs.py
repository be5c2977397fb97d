"""A table of mistakes: what people and programs type and feed to the commands, all of which deserve one line.

Each has a name, the program, and the arguments behind it. Files that the arguments name are written by `write_files`.
"""

import dataclasses
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
from synthetic_parts.config import Config

from iclbayes.digests import write_sealed
from iclbayes.runs import as_json

from .programs import Program, main_of

GROUPED = ("--group-by", "model")
DIGITS = "9" * 400
LONG = "n" * 300
HUGE = str(2**70)


@dataclasses.dataclass(frozen=True)
class BadInput:
    """One mistake: what it is, and the arguments that make it, behind the name of the program."""

    what: str
    arguments: tuple[str, ...]
    program: Program = "iclbayes"

    @property
    def main(self) -> Callable[[Sequence[str]], int]:
        """The program's entry point."""
        return main_of(self.program)


def write_files(folder: Path) -> None:
    """Writes the files that the table names: one good file of curves, and damaged ones of every kind that is read."""
    shots = [0, 1, 2, 4, 8, 16]
    good = pd.DataFrame(
        {
            "model": ["a"] * 6 + ["b"] * 6,
            "variant": ["base"] * 6 + ["chat"] * 6,
            "shots": shots * 2,
            "n_correct": [9, 20, 34, 50, 61, 66, 12, 25, 30, 41, 60, 71],
            "n_test": [100] * 12,
        }
    )
    good.to_csv(folder / "good.csv", index=False)
    good.to_parquet(folder / "good.parquet", index=False)
    good.to_json(folder / "good.jsonl", orient="records", lines=True)
    for name, text in texts().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    whole = (folder / "good.parquet").read_bytes()
    for name, content in (
        ("cut.parquet", whole[: len(whole) // 2]),
        ("noise.parquet", b"PAR1" + b"\xff" * 100 + b"PAR1"),
        ("empty.parquet", b""),
        ("flipped.parquet", whole[:-40] + bytes(b ^ 0x55 for b in whole[-40:-8]) + whole[-8:]),
        ("cut.csv.gz", gzip.compress((folder / "good.csv").read_bytes())[:40]),
        ("noise.csv.gz", b"\x1f\x8bnoise"),
    ):
        (folder / name).write_bytes(content)
    write_sealed(as_json(Config(suppress=(), seeds=(0, 1))), _made(folder / "pretrained") / "config.json")
    for name in ("layers1_seed0", "layers2_seed0", "layers1_seed1"):  # the fourth model is not there
        (folder / "pretrained" / "models" / name / "checkpoints").mkdir(parents=True)
    (folder / "folder.csv").mkdir()
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "dangling.csv").symlink_to("nowhere.csv")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def deep(n: int = 100_000) -> str:
    """JSON that is a list in a list in a list …, `n` deep."""
    return "[" * n + "]" * n


def texts() -> dict[str, str | bytes]:
    """Contents of files that no command can use, by name."""
    head = "model,shots,prob\n"
    rows = "a,0,0.1\na,1,0.2\na,2,0.3\na,4,0.4\n"
    return CURVE_TEXTS | {
        "digits.csv": f"{head}{rows}a,{DIGITS},0.5\n",
        "digits.jsonl": f'{{"shots": {DIGITS * 12}, "prob": 0.5}}\n',
        "deep.json": deep(),
        "deep.jsonl": f'{{"shots": {deep()}, "prob": 0.5}}\n',
        "wide.csv": ",".join(f"c{i}" for i in range(5000)) + "\n" + ",".join("1" * 5000) + "\n",
        "long_cell.csv": f"{head}a,0,{'0' * 200_000}x\n",
        "quote.csv": f'{head}"a,0,0.1\n' + rows,
        "control.csv": "mod\x1b[31mel,shots,prob\na,zero\x07,0.1\n",
        "prior_list.json": "[]",
        "prior_deep.json": deep(),
        "prior_empty.json": "{}",
        "prior_types.json": json.dumps({"iclbayes": 3, "laws": 7, "versions": {}, "learned_from": []}),
        "prior_laws.json": json.dumps({"laws": {"bayesian_scoring": []}, "format": 1}),
        "good_task.csv": "question,answer\nq,a\nr,b\n",
        "task_blank.csv": "question,answer\nx,\n",
        "task_columns.csv": "a,b\nx,y\n",
        "task_header.csv": "question,answer\n",
        "task_deep.json": deep(),
        "task_half.jsonl": '{"question": "x", "answer": "y"}\n{"question": ',
        "task_types.jsonl": '{"question": {"x": 1}, "answer": ["y"], "answer_other": {"z": 1}, "answer_forms": 7}\n',
        "task_null.jsonl": '{"question": null, "answer": null}\n',
        "task_noise.jsonl": b"\xff\xfe\x00\x01" * 30,
        "task_noise.parquet": b"PAR1" + b"\x00" * 50,
        "results/deep.json": deep(),
        "listed/results_1.json": json.dumps({"results": [1, None, {"x": []}], "n-shot": 7, "configs": []}),
        "typed/results_1.json": json.dumps({"results": {"t": {"acc,none": "high"}}, "n-shot": {"t": "many"}}),
        "inf/results_1.json": '{"results": {"t": {"acc,none": Infinity}}, "n-shot": {"t": 1e999}}',
        "digits/results_1.json": f'{{"results": {{"t": {{"acc,none": 0.5}}}}, "n-shot": {{"t": {DIGITS * 12}}}}}',
        "empty_folder/readme.txt": "nothing here",
        "logs/log.json": "{}",
        "logs_deep/log.json": deep(),
        "logs_noise/log.eval": b"PK\x03\x04noise",
        **RUN_TEXTS,
    }


CURVE_TEXTS: dict[str, str | bytes] = {
    "empty.csv": "",
    "header.csv": "model,shots,prob\n",
    "blank.csv": "\n\n\n",
    "no_shots.csv": "model,prob\na,0.5\n",
    "no_value.csv": "model,shots\na,1\n",
    "negative.csv": "shots,prob\n-1,0.5\n2,0.6\n",
    "above.csv": "shots,prob\n0,1.5\n2,0.6\n",
    "words.csv": "shots,prob\nmany,0.5\n2,high\n",
    "nan.csv": "shots,prob\nnan,0.5\n2,nan\n",
    "infinite.csv": "shots,prob\ninf,0.5\n2,0.6\n",
    "no_test.csv": "shots,n_correct\n0,1\n2,2\n",
    "more_correct.csv": "shots,n_correct,n_test\n0,5,3\n",
    "no_weight.csv": "shots,prob,weight\n0,0.5,-1\n1,0.6,nan\n",
    "zero_weight.csv": "shots,prob,weight\n0,0.5,0\n1,0.6,0\n",
    "weight_words.csv": "shots,prob,weight\n0,0.5,much\n1,0.6,1\n",
    "stderr_negative.csv": "shots,prob,stderr\n0,0.5,-0.1\n1,0.6,0.1\n",
    "window_zero.csv": "shots,prob,window\n5,0.5,0\n6,0.6,0\n",
    "ragged.csv": "shots,prob\n1,0.5,7,8\n2\n",
    "utf16.csv": "shots,prob\n1,0.5\n".encode("utf-16"),
    "nulls.csv": b"shots,prob\n\x00\x00,\x00\n",
    "noise.csv": bytes(range(256)) * 4,
    "half.jsonl": '{"shots": 1, "prob": 0.5}\n{"shots": ',
    "scalar.jsonl": "7\n",
    "list.json": "[1, 2, 3]",
    "empty.jsonl": "",
    "nested.jsonl": '{"shots": {"a": 1}, "prob": [0.5]}\n',
    "mixed.jsonl": '{"shots": 1, "prob": 0.5}\n{"shots": "x", "prob": null}\n',
    "huge_number.jsonl": '{"shots": 1e400, "prob": 0.5}\n{"shots": 2, "prob": 0.5}\n',
    "utf8.jsonl": b'{"shots": 1, "prob": "\xff\xfe"}\n',
}

CONFIGS: dict[str, str | bytes] = {
    "cut": '{"preset": "quick", "wor',
    "list": "[]",
    "number": "7",
    "empty": "",
    "noise": b"\xff\xfe\x00",
    "deep": deep(),
    "types": '{"preset": 7, "world": 3, "layers": "many"}',
    "sealed": '{"preset": "quick", "sha256": "0000"}',
}
RUN_TEXTS = {f"run_{name}/config.json": text for name, text in CONFIGS.items()}

UNREADABLE = (
    *CURVE_TEXTS,
    *(
        "digits.csv",
        "digits.jsonl",
        "deep.json",
        "deep.jsonl",
        "wide.csv",
        "long_cell.csv",
        "quote.csv",
        "control.csv",
    ),
    *("cut.parquet", "noise.parquet", "empty.parquet", "flipped.parquet", "cut.csv.gz", "noise.csv.gz"),
    *(
        "folder.csv",
        "loop.csv",
        "dangling.csv",
        "nowhere.csv",
        f"{LONG}.csv",
        "",
        "good.csv/good.csv",
        "\x1b[31m.csv",
    ),
)
WHOLE = (
    "-1",
    "1.5",
    HUGE,
    DIGITS,
    "nan",
    "inf",
    "many",
    "",
    "1e400",
)  # for an option that wants a whole number above 0
NO_SEED = ("-1", "1.5", "nan", "many", "")  # of posteriors, which take any whole number from 0 up
SHARES = ("0", "-0.1", "1.5", "nan", "inf", "-inf", "1e400", "half", "")
PLACES = (
    "nowhere/out{}",
    "folder.csv",
    f"{LONG}{{}}",
    "good.csv/out{}",
    "loop.csv",
    "/dev/full",
    "/proc/out{}",
    "good.csv",
    "out.tiff",
    "",
    "a\0b{}",
)
STARTED: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "good.csv", *GROUPED, "--law", "power"),
    "compare": ("compare", "good.csv", *GROUPED, "--law", "power"),
    "posterior": ("posterior", "good.csv", *GROUPED, "--law", "power", "--method", "laplace"),
    "contrast": ("contrast", "good.csv", "--pair", "variant", "base", "chat", "--method", "laplace"),
    "report": ("report", "good.csv", *GROUPED, "--law", "power", "--method", "laplace"),
    "learn-prior": ("learn-prior", "good.csv", *GROUPED, "--law", "power", "--out", "prior.json"),
    "collect": ("collect", "--model", "nowhere/model", "--task", "task_header.csv", "--out", "c.csv"),
    "import-lm-eval": ("import-lm-eval", "empty_folder"),
    "import-inspect": ("import-inspect", "empty_folder"),
    "example": ("example", "folder.csv"),
}
NUMBERS = {  # options that take a number, and what they cannot be
    "fit": {
        "--seed": WHOLE,
        "--starts": ("0", "1000000000000", *WHOLE),
        "--max-steps": ("0", "1000000000000", *WHOLE),
        "--chunk-rows": ("0", "-1", HUGE, DIGITS, "many", ""),
        "--background": ("-1", "1.5", HUGE, DIGITS, "1000000000", "nan", "many", ""),
        "--fraction": SHARES,
        "--shot-offset": ("inf", "nan", "-1", "x", ""),
        "--baseline-offset": ("inf", "nan", "-1", "x", ""),
        "--window": ("-1", "nan", "x", ""),
    },
    "compare": {
        "--fraction": SHARES,
        "--seed": ("-1", HUGE, DIGITS),
        "--starts": ("0", "-1", "1000000000000"),
    },
    "posterior": {
        "--fraction": SHARES,
        "--level": SHARES,
        "--seed": NO_SEED,
        "--chains": ("0", "1000000000000", *WHOLE),
        "--warmup": ("1000000000000", *WHOLE),
        "--draws": ("0", "1000000000000", *WHOLE),
        "--shots": ("-1", "inf", "nan", DIGITS, "1e400"),
        "--upto": ("-1", "inf", "nan", DIGITS, "x", ""),
    },
    "contrast": {
        "--level": SHARES,
        "--tolerance": ("0", "-1", "nan", "inf", "x", ""),
        "--fraction": SHARES,
        "--seed": NO_SEED,
        "--draws": ("0", "-1", "1000000000000", DIGITS),
    },
    "report": {
        "--level": SHARES,
        "--seed": NO_SEED,
        "--draws": ("0", "-1", "1000000000000", DIGITS),
    },
    "learn-prior": {"--seed": NO_SEED},
    "collect": {
        "--shuffles": ("0", *WHOLE),
        "--max-shots": ("-1", "x", ""),
        "--flip": ("-1", "2", "nan", "inf", "x"),
        "--seed": ("x", "1.5", ""),
    },
}


def cases() -> Iterator[BadInput]:
    """The table."""
    yield from _of_words()
    for name in UNREADABLE:
        shown = "a name of 300 letters" if name.startswith(LONG) else repr(name)
        yield BadInput(f"fit: the file {shown}", ("fit", name, "--law", "power"))
    for name in ("deep.json", "digits.csv", "noise.parquet", "loop.csv", "noise.csv"):
        yield BadInput(
            f"posterior: the file {name!r}", ("posterior", name, "--law", "power", "--method", "laplace")
        )
        yield BadInput(
            f"fit in chunks: the file {name!r}", ("fit", name, "--law", "power", "--chunk-rows", "3")
        )
    for command, options in NUMBERS.items():
        for option, values in options.items():
            for value in dict.fromkeys(values):
                shown = value if len(value) < 20 else f"a number of {len(value)} digits"
                yield BadInput(f"{command}: {option} {shown!r}", (*STARTED[command], option, value))
    yield from _of_places()
    yield from _of_other_files()
    yield from _of_runs()
    yield from of_scripts()


def _of_words() -> Iterator[BadInput]:
    """Commands and options that do not exist, or stand in the wrong place."""
    for words in (
        (),
        ("fitt",),
        ("",),
        ("--nix",),
        ("fit",),
        ("posterior",),
        ("collect",),
        ("contrast", "good.csv"),
    ):
        yield BadInput(f"typed: {' '.join(('iclbayes', *words))!r}", words)
    for command, started in STARTED.items():
        for option in ("--nix", "--foce", "-x", "--seed=", "--out"):
            yield BadInput(f"{command}: {option}", (*started, option))
        yield BadInput(f"{command}: a word too many", (*started, "good.csv", "nix"))
    for option, value in (
        *(("--law", "nix"), ("--law", ""), ("--loss", "nix"), ("--value", "nix"), ("--group-by", "nix")),
        *(("--source", "nix"), ("--share", "nix"), ("--across", "nix"), ("--size", "8y5"), ("--size", "0x0")),
        *(("--size", "1e9x3"), ("--shots", "nix"), ("--overlay", "nix"), ("--group-by", "mod\x1bel")),
    ):
        more = ("--plot", "f.png") if option in ("--size", "--overlay") else ()
        yield BadInput(f"fit: {option} {value!r}", ("fit", "good.csv", option, value, *more))
    for option, value in (
        ("--likelihood", "nix"),
        ("--method", "nix"),
        ("--hierarchy", "nix"),
        ("--out", "draws.csv"),
        ("--forecast", "f.nc"),
        ("--prior", "nowhere.json"),
    ):
        yield BadInput(f"posterior: {option} {value!r}", (*STARTED["posterior"], option, value))
    for pair in (("nix", "a", "b"), ("model", "a", "nix"), ("model", "a", "a"), ("shots", "0", "1")):
        yield BadInput(
            f"contrast: --pair {pair}", ("contrast", "good.csv", "--pair", *pair, "--method", "laplace")
        )


def _of_places() -> Iterator[BadInput]:
    """Outputs that cannot be written where they are wanted."""
    for place in PLACES:
        for command, option, suffix in (
            *(("fit", "--out", ".csv"), ("fit", "--plot", ".png"), ("compare", "--out", ".csv")),
            *(
                ("posterior", "--out", ".nc"),
                ("posterior", "--forecast", ".csv"),
                ("posterior", "--plot", ".pdf"),
            ),
            *(("contrast", "--out", ".csv"), ("report", "--out", ".html"), ("learn-prior", "--out", ".json")),
            *(
                ("collect", "--out", ".csv"),
                ("import-lm-eval", "--out", ".csv"),
                ("import-inspect", "--out", ".csv"),
            ),
        ):
            path = place.format(suffix)
            shown = path if len(path) < 60 else "a name of 300 letters"
            yield BadInput(f"{command}: {option} {shown!r}", (*STARTED[command], option, path))
    for folder in ("good.csv", "good.csv/x", LONG, "/proc/x", "loop.csv"):
        yield BadInput(f"example: the folder {folder[:20]!r}", ("example", folder))


def _of_other_files() -> Iterator[BadInput]:
    """Priors, tasks, results and logs that cannot be read."""
    names = ("list", "deep", "empty", "types", "laws")
    for name in (*(f"prior_{x}.json" for x in names), "noise.csv", "folder.csv", "good.csv"):
        yield BadInput(f"posterior: --prior {name}", (*STARTED["posterior"], "--prior", name))
    for name in texts():
        if name.startswith("task_"):
            task = ("collect", "--model", "nowhere/model", "--task", name, "--out", "c.csv")
            yield BadInput(f"collect: the task {name}", task)
    for name in ("nix", "*.csv", f"{LONG}.csv", "loop.csv", "folder.csv", "", "task_\x1b[31m.csv"):
        task = ("collect", "--model", "nowhere/model", "--task", name, "--out", "c.csv")
        yield BadInput(f"collect: the task {name[:30]!r}", task)
    for url in (
        *(
            "nix",
            "http://",
            "http://[",
            "ftp://host/v1",
            "http://127.0.0.1:99999/v1",
            "http://127.0.0.1:x/v1",
        ),
        *(
            "http://127.0.0.1:0/v1",
            "http://127.0.0.1:-1/v1",
            "http://\x1b[31m/v1",
            "http://a b/v1",
            "file:///etc/passwd",
        ),
        *("http://" + "a" * 300 + "/v1", "http://127.0.0.1:1/v1", "http://xn--/v1", "http://\udcff/v1"),
    ):
        options = ("--backend", "openai", "--base-url", url, "--retries", "0")
        task = ("collect", "--model", "m", "--task", "good_task.csv", "--out", "c.csv")
        yield BadInput(f"collect: --base-url {url[:40]!r}", (*task, *options))
    none = (
        "empty_folder",
        "good.csv",
        "nowhere",
        LONG,
        "loop.csv",
        "",
    )  # folders that hold no results of anything
    for command, folders in (
        ("import-lm-eval", ("results", "listed", "typed", "inf", "digits", *none)),
        ("import-inspect", ("logs", "logs_deep", "logs_noise", *none)),
    ):
        for folder in folders:
            yield BadInput(f"{command}: {folder[:20]!r}", (command, folder))


def _of_runs() -> Iterator[BadInput]:
    """Runs of `synthetic.py` that must be refused before the first second of work."""
    for what, arguments in (
        *((f"--laws {x!r}", ("--laws", x)) for x in ("nix", "")),
        ("--laws", ("--laws",)),
        ("--layers", ("--layers",)),
        ("--seeds", ("--seeds",)),
        ("--ks", ("--ks",)),
        ("--fractions", ("--fractions",)),
        *((f"--layers {x}", ("--layers", x)) for x in ("0", "-1", "x", HUGE)),
        *((f"--seeds {x}", ("--seeds", x)) for x in ("-1", "x", HUGE)),
        *((f"--fractions {x}", ("--fractions", x)) for x in ("0", "-0.1", "1.5", "nan", "inf", "x")),
        *((f"--ks {x}", ("--ks", x)) for x in ("0", "-1", "1", "1000", "x", HUGE)),
        *((f"--prompts {x}", ("--prompts", x)) for x in ("0", "-1", "x", HUGE)),
        *((f"--suppress {x}", ("--suppress", x)) for x in ("0", "-1", "x", HUGE)),
        *((f"--favoured {x}", ("--favoured", x)) for x in ("-1", "3", "99", HUGE)),
        *((f"--eval-rows {x}", ("--eval-rows", x)) for x in ("0", "-1", "1", HUGE)),
        *((f"--evals {x}", ("--evals", x)) for x in ("-1", HUGE)),
        *((f"--steps {x}", ("--steps", x)) for x in ("0", "-1", HUGE)),
        *((f"--documents {x}", ("--documents", x)) for x in ("-1", HUGE)),
        *((f"--epochs {x}", ("--documents", "8", "--epochs", x)) for x in ("0", "-1")),
        *((f"--blocks {x}", ("--blocks", x)) for x in ("0", "-1")),
        *((f"--batch-size {x}", ("--batch-size", x)) for x in ("0", "-1", HUGE)),
        *((f"--width {x}", ("--width", x)) for x in ("0", "-1", "47", HUGE)),
        *((f"--heads {x}", ("--heads", x)) for x in ("0", "-1", "5")),
        *((f"--context {x}", ("--context", x)) for x in ("0", "-1", "2", HUGE)),
        *((f"--learning-rate {x}", ("--learning-rate", x)) for x in ("-1", "nan", "inf", "x")),
        *((f"--sft-learning-rate {x}", ("--sft-learning-rate", x)) for x in ("-1", "nan", "inf")),
        *((f"--dpo-learning-rate {x}", ("--dpo-learning-rate", x)) for x in ("-1", "nan", "inf")),
        *((f"--weight-decay {x}", ("--weight-decay", x)) for x in ("-1", "nan", "inf")),
        *((f"--beta2 {x}", ("--beta2", x)) for x in ("-1", "1", "2", "nan")),
        *((f"--warmup-steps {x}", ("--warmup-steps", x)) for x in ("-1", "x")),
        *(
            (f"--weights {x}", ("--weights", *x.split()))
            for x in ("1", "1 2", "-1 1 1", "nan 1 1", "0 0 0", "x")
        ),
        *((f"--world.hmms {x}", ("--world.hmms", x)) for x in ("0", "-1", "1", HUGE)),
        *((f"--world.symbols {x}", ("--world.symbols", x)) for x in ("0", "-1", HUGE)),
        *((f"--world.slots {x}", ("--world.slots", x)) for x in ("0", "-1", HUGE)),
        *((f"--world.entities {x}", ("--world.entities", x)) for x in ("0", "-1", HUGE)),
        *((f"--world.temperature {x}", ("--world.temperature", x)) for x in ("0", "-1", "nan", "inf")),
        *((f"--world.seed {x}", ("--world.seed", x)) for x in ("-1", HUGE, "x")),
        *((f"--{x}", (f"--{x}",)) for x in ("nix", "layres", "nix=3")),
        *((f"--preset {x}", ("--preset", x)) for x in ("nix", "")),
        *((f"--{x} nix", (f"--{x}", "nix")) for x in ("dtype", "kind", "optimizer", "forecaster")),
        ("--resume", ("--resume",)),
        ("a word too many", ("nix",)),
    ):
        place = () if "--resume" in arguments else ("--run-dir", "new_run")
        yield BadInput(f"synthetic.py: {what}", (*place, *arguments), "synthetic")
    for place in ("good.csv", "good.csv/x", LONG, "/proc/x", "loop.csv", "results", "run_\0"):
        yield BadInput(f"synthetic.py: --run-dir {place[:20]!r}", ("--run-dir", place), "synthetic")
    for name in CONFIGS:
        run = ("--run-dir", f"run_{name}")
        yield BadInput(f"synthetic.py: config.json, {name}", (*run, "--resume"), "synthetic")


NO_SHARES = ("0", "-0.1", "1.5", "nan", "inf", "x")
SCRIPTS: dict[str, tuple[str, ...]] = {
    "suppression": ("--run-dir", "pretrained", "--layers", "1"),
    "paper": ("--run-dir", "new_run", "--results", "new_results"),
    "real_llms": ("--curves", "good.csv", "--group-by", "model", "--out-dir", "new_out"),
}
SCRIPT_VALUES: dict[str, dict[str, tuple[str, ...]]] = {  # options of scripts, and what they cannot be
    "suppression": {
        "--amounts": ("", "0", "-1", "8 8", "x", HUGE),
        "--layers": ("3", "1 1", "x", HUGE),
        "--seeds": ("7", "0 0", "x", HUGE, "1 0"),
        "--favoured": ("-1", "3", "x", HUGE),
        "--sft-learning-rate": ("-1", "nan", "inf"),
        "--dpo-learning-rate": ("-1", "nan", "inf"),
        "--batch-size": ("0", "-1", HUGE),
        "--beta": ("0", "-1", "nan", "inf"),
        "--epochs": ("0", "-1", HUGE),
        "--evals": ("-1", HUGE),
        "--hypotheses": ("", "nix", "all_free all_free"),
        "--laws": ("nix", "power power"),
        "--fractions": ("", *NO_SHARES, "0.5 0.5"),
        "--method": ("nix",),
        "--forecaster": ("nix",),
        "--run-dir": ("nowhere", "good.csv", "results", "run_deep", "run_types", "run_sealed", LONG, "a\0b"),
        "--nix": ("",),
    },
    "paper": {
        "--stages": ("", "nix", "sft sft"),
        "--first": ("0", "3 3", "1", "x", HUGE),
        "--rest": ("0", "3", HUGE),
        "--results": ("good.csv", "new_run", "loop.csv", LONG, "/proc/x", "a\0b"),
        "--base.laws": ("", "nix"),
        "--base.fractions": NO_SHARES,
        "--base.ks": ("", "0", "5000"),
        "--base.prompts": ("0", HUGE),
        "--base.eval-rows": ("0",),
        "--base.seeds": ("-1", HUGE),
        "--base.world.seed": ("-1", HUGE),
        "--base.layers": ("1",),
        "--base.run-dir": ("elsewhere",),
        "--tune.amounts": ("", "0", HUGE),
        "--tune.favoured": ("5", "-1"),
        "--tune.laws": ("nix",),
        "--tune.fractions": NO_SHARES,
        "--tune.hypotheses": ("nix",),
        "--tune.beta": ("nan",),
        "--tune.seeds": ("7",),
        "--tune.method": ("sft",),
        "--tune.run-dir": ("elsewhere",),
    },
    "real_llms": {
        "--laws": ("", "nix", "power power"),
        "--fractions": ("", *NO_SHARES, "0.5 0.5"),
        "--law": ("nix", "power"),
        "--level": ("0", "1", "nan", "x"),
        "--tolerance": ("0", "-1", "nan", "inf"),
        "--chains": ("0", "-1", "1000000000000", HUGE),
        "--warmup": ("0", "-1", HUGE),
        "--draws": ("0", "-1", "1000000000000", HUGE),
        "--seed": ("-1", "x", HUGE),
        "--curves": ("", "nowhere.csv", "noise.csv", "good.csv good.csv"),
        "--group-by": ("nix", "model model"),
        "--base": ("a",),
        "--unsafe": ("nix",),
        "--value": ("nix",),
        "--method": ("nix",),
        "--out-dir": ("good.csv", "good.csv/x", "results", ".", "loop.csv", LONG, "/proc/x", "a\0b"),
    },
}


def of_scripts() -> Iterator[BadInput]:
    """Mistakes in what the longer experiments are asked for, refused before their first second of work."""
    for program, options in SCRIPT_VALUES.items():
        for option, values in options.items():
            for value in values:
                shown = value if len(value) < 30 else f"{len(value)} characters"
                more = (
                    ("--seeds", "1", "--layers", "2")
                    if (option, value) == ("--seeds", "1 0")
                    else (option, *value.split())
                )
                yield BadInput(f"{program}.py: {option} {shown!r}", (*SCRIPTS[program], *more), program)
