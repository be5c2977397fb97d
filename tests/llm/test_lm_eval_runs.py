"""Which runs of lm-evaluation-harness are told apart, which are equal, and that every layout is read or refused in one line."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval_files import anything, folder_of, run, shared

from iclbayes import InputError, read_curves
from iclbayes.cli.import_lm_eval import ImportLmEval
from iclbayes.llm.lm_eval import read_results


def test_revisions_of_a_model_are_curves_of_their_own(tmp_path):
    out = tmp_path / "curves.csv"
    frame = ImportLmEval(shared("lm_eval_01_zero"), out).run()
    assert dict(zip(frame["revision"], frame["prob"])) == {
        "step1000": 0.31,
        "step93000": 0.46,
        "step143000": 0.43,
    }
    assert frame["revision"].tolist() == ["step1000", "step93000", "step143000"]
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["curves_by"] == ["model", "task", "revision"] and about["skipped"] == []
    assert read_curves(out, group_by=about["curves_by"]).n_groups == 3


@pytest.mark.parametrize(
    ("column", "one", "other", "values"),
    [
        ("revision", {"model_args": "pretrained=lab/tiny"}, {"model_args": "pretrained=lab/tiny,revision=b"}, ["b", "main"]),
        ("peft", {"model_args": {"pretrained": "lab/tiny", "peft": "lab/lora"}}, {}, ["lab/lora", "none"]),
        (
            "dtype",
            {"model_args": "pretrained=lab/tiny,dtype=half"},
            {"model_args": "pretrained=lab/tiny,dtype=auto", "model_dtype": "torch.bfloat16"},
            ["bfloat16", "float16"],
        ),
        ("load_in_4bit", {"model_args": "pretrained=lab/tiny,load_in_4bit=True"}, {}, ["True", "none"]),
        ("gguf_file", {"model_args": "pretrained=lab/tiny,gguf_file=q4.gguf"}, {}, ["none", "q4.gguf"]),
        ("never_heard_of", {"model_args": {"pretrained": "lab/tiny", "never_heard_of": 3}}, {}, ["3", "none"]),
        ("chat_template", {"top": {"chat_template": "{{x}}", "chat_template_sha": "abc"}}, {}, ["abc", "none"]),
        ("system_instruction", {"top": {"system_instruction": "Be brief."}}, {}, ["Be brief.", "none"]),
        ("fewshot_as_multiturn", {"top": {"fewshot_as_multiturn": True}}, {}, ["True", "none"]),
        ("gen_kwargs", {"gen_kwargs": {"temperature": 0.7}}, {"gen_kwargs": {}}, ['none', '{"temperature": "0.7"}']),
        ("generation_kwargs", {"own": {"generation_kwargs": {"k": 1}}}, {"own": {"generation_kwargs": {"k": 2}}}, None),
        ("prompt", {"own": {"doc_to_text": "Q: {{q}}"}}, {"own": {"doc_to_text": "Question: {{q}}"}}, None),
        ("task_version", {"top": {"versions": {"quiz": 0}}}, {"top": {"versions": {"quiz": 2.0}}}, ["0", "2.0"]),
        ("model_source", {"top": {"model_source": "vllm"}}, {"top": {"model_source": "hf"}}, ["hf", "vllm"]),
        ("model_sha", {"model_sha": "a" * 40}, {"model_sha": "b" * 40}, ["a" * 12, "b" * 12]),
    ],
)  # fmt: skip
def test_a_setting_that_makes_numbers_differ_is_a_column(tmp_path, column, one, other, values):
    frame, about = read_results(folder_of(tmp_path, run(value=0.25, **one), run(value=0.75, **other)))
    assert about["curves_by"] == ["model", "task", column] and about["skipped"] == []
    assert sorted(frame["accuracy"]) == [0.25, 0.75] and set(frame["model"]) == {"lab/tiny"}
    assert values is None or sorted(frame[column]) == values
    assert len(set(frame[column])) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"batch_size": 8}, {"batch_size": "auto", "device": "cuda:1"}),
        (
            {"model_args": "pretrained=lab/tiny,device_map=auto"},
            {"model_args": "pretrained=lab/tiny,parallelize=True"},
        ),
        ({"model_sha": "a" * 40, "model_dtype": "torch.float32"}, {}),  # one of them does not tell
        ({"top": {"chat_template": None, "fewshot_as_multiturn": False}}, {}),
        (
            {"gen_kwargs": "temperature=0.7,do_sample=true"},
            {"gen_kwargs": {"do_sample": True, "temperature": 0.7}},
        ),
        ({"top": {"versions": {}}}, {}),
        (
            {"own": {"doc_to_text": "<function text at 0x7f01>"}},
            {"own": {"doc_to_text": "<function text at 0x7f02>"}},
        ),
    ],
)
def test_runs_that_differ_in_nothing_that_counts_are_points_of_one_curve(tmp_path, one, other):
    frame, about = read_results(folder_of(tmp_path, run(0, value=0.25, **one), run(4, value=0.75, **other)))
    assert about["curves_by"] == ["model", "task"] and frame["shots"].tolist() == [0, 4]


def test_of_equal_runs_that_with_more_samples_counts_and_the_note_says_so(tmp_path):
    frame, about = read_results(shared("lm_eval_08_limit"))
    assert frame[["accuracy", "n_test"]].to_numpy().tolist() == [[0.3, 1000]]
    [note] = about["skipped"]
    assert note.startswith("a smaller run of cap_quiz after 2 shots") and note.endswith(
        "has 1000 samples, not 3"
    )


@pytest.mark.parametrize(
    ("runs", "value", "why"),
    [
        ([run(n=3, value=1.0, date=9.0), run(n=1000, value=0.3)], 0.3, "has 1000 samples, not 3"),
        ([run(value=0.3, date=5.0), run(value=0.4, date=2.0)], 0.3, "is newer, with all settings equal"),
        (
            [run(value=0.3, date="2026-02-01"), run(value=0.4, date="2026-01-30T10:00:00+02:00")],
            0.3,
            "is newer",
        ),
        (
            [run(value=0.3), run(value=0.4)],
            0.4,
            "is equal in all settings and in age, and comes later by name",
        ),
        (
            [run(value=0.3, top={"n-samples": {}}), run(value=0.4, date=9.0, top={"n-samples": {}}, limit=5)],
            0.3,
            "was not cut short by a limit",
        ),
    ],
)
def test_which_of_two_equal_runs_counts_and_why(tmp_path, runs, value, why):
    frame, about = read_results(folder_of(tmp_path, *runs))
    assert [*frame.filter(["accuracy", "prob"]).iloc[0]] == [value]
    [note] = about["skipped"]
    assert why in note and "quiz after 2 shots (lab/tiny)" in note


def test_seeds_are_replicate_rows_that_a_curve_averages(tmp_path):
    seeds = [
        run(value=v, n=n, fewshot_seed=s) for s, (v, n) in enumerate([(0.2, 100), (0.4, 100), (0.9, 200)])
    ]
    out = tmp_path / "curves.csv"
    frame = ImportLmEval(folder_of(tmp_path, *seeds), out).run()
    assert frame["fewshot_seed"].tolist() == [0, 1, 2] and frame["accuracy"].tolist() == [0.2, 0.4, 0.9]
    curves = read_curves(out, group_by=["model", "task"])
    assert curves.n_correct.tolist() == [20 + 40 + 180] and curves.n_test.tolist() == [400]
    # Runs from before seeds were written down had the harness's defaults.
    old, new = run(value=0.1, date=1.0), run(value=0.2, date=2.0, fewshot_seed=1234)
    (tmp_path / "old").mkdir()
    frame, _ = read_results(folder_of(tmp_path / "old", old, new))
    assert frame["accuracy"].tolist() == [0.2] and "fewshot_seed" not in frame


def test_thousands_of_notes_are_one_with_a_count(tmp_path, capsys):
    for i in range(2000):
        (tmp_path / f"torn{i:04d}.json").write_text("{")
    for i in range(30):
        (tmp_path / f"run{i:02d}.json").write_text(json.dumps(run(date=float(i))))
    ImportLmEval(tmp_path, tmp_path / "curves.csv").run()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "2000 files that are no JSON; the first: " in lines[0]
    assert "29 runs equal to another with more samples, or newer; the first: " in lines[1]


def test_each_task_has_its_first_metric_that_is_a_share(tmp_path):
    frame, about = read_results(shared("lm_eval_07"))
    assert dict(zip(frame["task"], frame["metric"])) == {
        "gsm8k": "exact_match,strict-match",
        "hellaswag": "acc,none",
        "lambada_openai": "acc,none",
    }
    assert frame["n_correct"].tolist() == [30, 44, 44] and about["skipped"] == []
    bits = run(task="wikitext", found={"word_perplexity,none": 12.0, "bits_per_byte,none": 0.81})
    lower = run(
        task="harm",
        found={"rate,none": 0.2, "safe,none": 0.8},
        top={"higher_is_better": {"harm": {"rate": False}}},
    )
    nothing = run(
        task="predicted", found={"alias": "predicted", "bypass,none": 999, "bypass_stderr,none": "N/A"}
    )
    frame, about = read_results(folder_of(tmp_path, bits, lower, nothing))
    assert dict(zip(frame["task"], frame["metric"])) == {"harm": "safe,none"}
    assert len(about["skipped"]) == 2
    for task, number in (("wikitext", "word_perplexity,none 12"), ("predicted", "bypass,none 999")):
        assert any(
            f"task {task} has no metric that is a share" in note and number in note
            for note in about["skipped"]
        )
    with pytest.raises(
        InputError, match=r"no task can be read; .*task predicted has no metric that is a share"
    ):
        read_results(folder_of(tmp_path / "..", nothing) / "results_2026-01-01T00-00-00.000001.json")


@pytest.mark.parametrize("metric", [None, "exact", "feelings"])
@pytest.mark.parametrize(
    "found",
    [
        {"feelings,none": 0.0, "feelings_stderr,none": 0.0, "percent_parseable,none": 0.0},
        {"exact,none": 0.34, "exact_stderr,none": "N/A", "HasAns_exact,none": 0.67, "f1,none": 0.9},
    ],
)
def test_percentages_of_weak_models_are_no_shares(tmp_path, found, metric):
    folder = folder_of(tmp_path, run(task="weak", found=found), run(task="quiz", value=0.5))
    if metric is None:
        frame, about = read_results(folder)
        assert frame["task"].tolist() == ["quiz"] and len(about["skipped"]) == 1
        assert "task weak has percentages (" in about["skipped"][0]
    else:
        with pytest.raises(
            InputError, match=r"no task can be read; .*task weak has percentages|has the metric"
        ):
            read_results(folder, metric=metric)


def test_layouts_of_leaderboards(tmp_path):
    frame, about = read_results(shared("lm_eval_11_v1"))
    assert frame[["model", "task", "shots", "prob"]].to_numpy().tolist() == [
        ["lab/tiny", "arc:challenge", 0, 0.3],
        ["lab/tiny", "arc:challenge", 25, 0.4],
    ]
    assert about["skipped"] == []
    newer = {
        "config_general": {"model_name": "lab/tiny", "model_sha": "c0ffee"},
        "results": {
            "leaderboard|gsm8k|5|0": {"qem": 0.25, "qem_stderr": 0.01},
            "leaderboard|mmlu:_average|5": {"acc": 0.9},
            "all": {"qem": 0.25},
        },
        "config_tasks": {"leaderboard|gsm8k": {"original_num_docs": 1319, "effective_num_docs": 80}},
    }
    (tmp_path / "results_2024-01-01T10-00-00.000001.json").write_text(json.dumps(newer))
    frame, _ = read_results(tmp_path)
    assert frame.iloc[0].to_dict() == {
        "model": "lab/tiny", "task": "gsm8k", "metric": "qem", "shots": 5,
        "n_correct": 20, "n_test": 80, "accuracy": 0.25, "stderr": 0.01,
    }  # fmt: skip


def test_results_listed_by_prompt(tmp_path):
    """As BigScience's version of the harness writes them: an entry for each task, prompt and metric."""
    entries = [
        {
            "task_name": "axb",
            "prompt_name": "GPT-3 style",
            "acc": 0.25,
            "acc_stderr": 0.01,
            "prompt_jinja": "{{x}}",
        },
        {"task_name": "axb", "prompt_name": "GPT-3 style", "acc_norm": 0.5, "acc_norm_stderr": 0.02},
        {"task_name": "axb", "prompt_name": "does it follow", "acc": 0.75, "acc_stderr": 0.03},
    ]
    config = {"model": "hf-causal", "model_args": "pretrained=lab/tiny", "num_fewshot": 1}
    (tmp_path / "run.json").write_text(json.dumps({"results": entries, "config": config}))
    frame, about = read_results(tmp_path)
    assert about["curves_by"] == ["model", "task", "prompt_name"] and set(frame["shots"]) == {1}
    assert frame[["prompt_name", "prob", "stderr"]].to_numpy().tolist() == [
        ["GPT-3 style", 0.25, 0.01],
        ["does it follow", 0.75, 0.03],
    ]


def test_settings_that_only_other_models_have_are_no_columns(tmp_path):
    neox = run(
        value=0.25, model_args={"save": "ckpts/19M", "iteration": 1000, "wandb_group": "x"}, model="neox"
    )
    del neox["model_name"]
    frame, about = read_results(folder_of(tmp_path, run(value=0.75), neox))
    assert about["curves_by"] == ["model", "task"] and frame["model"].tolist() == ["lab/tiny", "neox"]


def test_numbers_that_are_no_finite_numbers_are_none(tmp_path):
    sick = run(task="sick", found={"mae,none": float("inf"), "acc,none": float("nan")})
    frame, about = read_results(folder_of(tmp_path, run(), sick))
    assert frame["task"].tolist() == ["quiz"] and "(it has no number)" in about["skipped"][0]


def test_dates_as_text_and_bare_numbers_of_samples(tmp_path):
    frame, _ = read_results(shared("lm_eval_11_olddate"))
    assert frame[["shots", "n_correct", "n_test"]].to_numpy().tolist() == [[3, 20, 40]]
    frame, _ = read_results(folder_of(tmp_path, run(top={"n-samples": {"quiz": 40}, "date": "yesterday"})))
    assert frame[["n_correct", "n_test"]].to_numpy().tolist() == [[20, 40]]


@pytest.mark.parametrize("shots", [None, "", 2.5, -1, True, [3], 1e300])
def test_a_task_that_does_not_say_its_shots_is_named(tmp_path, shots):
    folder = folder_of(tmp_path, run(shots))
    with pytest.raises(InputError, match="no task says how many shots it had"):
        read_results(folder)
    folder_of(tmp_path, run(shots), run(5, task="other"))
    frame, about = read_results(folder)
    assert (
        frame["task"].tolist() == ["other"] and "task quiz does not say how many shots" in about["skipped"][0]
    )


def test_adapters_stand_beside_the_model_they_are_on(tmp_path):
    args = {"pretrained": "lab/tiny", "peft": "lab/lora"}
    adapted = run(value=0.9, model_args=args, top={"model_name": "lab/lora"})  # as the harness calls it
    frame, _ = read_results(folder_of(tmp_path, run(value=0.1), adapted))
    assert frame[["model", "peft", "accuracy"]].to_numpy().tolist() == [
        ["lab/tiny", "lab/lora", 0.9],
        ["lab/tiny", "none", 0.1],
    ]


NAMES = (
    *("results", "configs", "config", "n-shot", "n-samples", "versions", "groups", "group_subtasks", "date"),
    *(
        "model_name",
        "config_general",
        "higher_is_better",
        "chat_template",
        "system_instruction",
        "lm_eval_version",
    ),
    *("config_tasks", "model_source", "chat_template_sha"),
)
INNER = (
    "quiz",
    "h|quiz|5",
    "all",
    "acc,none",
    "acc",
    "acc_stderr,none",
    "model_args",
    "num_fewshot",
    "effective",
    "limit",
)
inner = st.dictionaries(
    st.sampled_from(INNER),
    st.dictionaries(st.sampled_from(INNER), anything, max_size=4) | anything,
    max_size=4,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.dictionaries(st.sampled_from(NAMES), inner | anything, max_size=8), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(["accuracy", "prob"]),
)
def test_no_json_is_a_traceback(tmp_path, contents, sound, value):
    for i, content in enumerate(contents):
        if sound:
            content = {key: content.get(key, value) for key, value in run().items()} | content
        (tmp_path / f"results_{i}.json").write_text(json.dumps(content))
    for old in tmp_path.glob("results_*.json"):
        if int(old.stem.split("_")[1]) >= len(contents):
            old.unlink()
    try:
        ImportLmEval(tmp_path, tmp_path / "curves.csv", value=value).run()
    except InputError as error:
        assert "\n" not in str(error)
    else:
        about = json.loads((tmp_path / "curves.json").read_text())
        read_curves(tmp_path / "curves.csv", group_by=[*about["curves_by"], "metric"])


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "1" * 5000, '{"results": {"a": NaN}}', '{"results": {"a\\ud800": {"acc": 1e999}}}'],
)
def test_json_that_breaks_readers_is_one_line(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value)
