"""What some writers read, made on the spot: a language model of a thousand weights with its tokenizer, questions, logs of
inspect_ai."""

import json
from pathlib import Path


def write_model(folder: Path) -> None:
    """A GPT-2 of two narrow layers with random weights, and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate([*letters, "<|end|>"])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(letters) + 1, n_positions=512, n_embd=16, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(folder)


def write_task(path: Path, count: int = 8) -> None:
    """Questions with answers, JSON lines."""
    path.write_text(
        "".join(
            json.dumps({"question": f"Is {i} even?", "answer": "no" if i % 2 else "yes"}) + "\n"
            for i in range(count)
        )
    )


def write_past_curves(path: Path) -> None:
    """Curves of four models, CSV."""
    rows = [f"m{m},{n},{40 + 5 * i + 3 * m},100" for m in range(4) for i, n in enumerate((0, 1, 2, 4, 8, 16))]
    path.write_text("\n".join(["model,shots,n_correct,n_test", *rows]) + "\n")


def write_inspect_logs(folder: Path) -> None:
    """Logs of a sweep over 0, 1, 2 and 4 shots. Raises ImportError where inspect_ai is not installed."""
    from inspect_ai import log

    folder.mkdir(exist_ok=True)
    for shots, right in ((0, 0.2), (1, 0.4), (2, 0.5), (4, 0.7)):
        score = log.EvalScore(
            name="match",
            scorer="match",
            metrics={"accuracy": log.EvalMetric(name="accuracy", value=right)},
        )
        written = log.EvalLog(
            status="success",
            eval=log.EvalSpec(
                created="2026-01-01T00:00:00+00:00",
                task="quiz",
                dataset=log.EvalDataset(samples=10),
                model="mockllm/model",
                config=log.EvalConfig(),
                task_args={"num_fewshot": shots},
            ),
            results=log.EvalResults(total_samples=10, completed_samples=10, scores=[score]),
        )
        log.write_eval_log(written, str(folder / f"{shots}.json"))
