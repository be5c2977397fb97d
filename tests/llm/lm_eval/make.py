"""Makes the results in `sweep/` beside this file with lm-evaluation-harness; a minute on two cores.

    pip install 'lm-eval[hf]==0.4.13'
    python tests/llm/lm_eval/make.py

A randomly initialised GPT-2 with a tokenizer trained on the spot answers 24 questions of each of two local
tasks after N = 0, 1, 2 and 4 shots:

    lm_eval run --model hf --model_args pretrained=model --tasks colours,sizes --include_path . \\
        --num_fewshot N --device cpu --batch_size 8 --log_samples --output_path sweep/N

Descriptions of the machine are taken out of the results, and the samples of one of the two tasks are left
out; nothing else is changed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
OBJECTS = ("leaf", "sky", "coal", "snow", "blood", "sun", "grass", "sea")
COLOURS = ("green", "blue", "black", "white", "red", "yellow", "green", "blue")
TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{train: {name}_train.jsonl, test: {name}_test.jsonl}}
training_split: train
test_split: test
fewshot_split: train
output_type: multiple_choice
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""
MACHINE = (
    "pretty_env_info",
    "git_hash",
    "task_hashes",
    "total_evaluation_time_seconds",
    "start_time",
    "end_time",
)


def rows(name, count):
    choices = ["green", "blue", "black", "white"] if name == "colours" else ["big", "small"]
    for i in range(count):
        thing, number = OBJECTS[i % 8], i // 8
        label = (
            choices.index(COLOURS[i % 8])
            if name == "colours" and COLOURS[i % 8] in choices
            else i % len(choices)
        )
        yield {"question": f"What is the {thing} number {number} like?", "choices": choices, "label": label}


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        texts = []
        for name in ("colours", "sizes"):
            for split, count in (("train", 16), ("test", 24)):
                made = list(rows(name, count))
                texts += [f"Q: {row['question']}\nA: {choice}" for row in made for choice in row["choices"]]
                Path(f"{name}_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
            Path(f"{name}.yaml").write_text(TASK.format(name=name))
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=alphabet)
        tokenizer.train_from_iterator(texts, trainer)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", bos_token="<|end|>")
        fast.save_pretrained("model")
        torch.manual_seed(0)
        size = {"vocab_size": len(fast), "n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 2}
        config = GPT2Config(**size, initializer_range=0.5, bos_token_id=0, eos_token_id=0)
        GPT2LMHeadModel(config).save_pretrained("model")
        for shots in (0, 1, 2, 4):
            command = [
                sys.executable,
                "-m",
                "lm_eval",
                "run",
                "--model",
                "hf",
                "--model_args",
                "pretrained=model",
            ]
            command += ["--tasks", "colours,sizes", "--include_path", ".", "--num_fewshot", str(shots)]
            command += [
                "--device",
                "cpu",
                "--batch_size",
                "8",
                "--log_samples",
                "--output_path",
                f"sweep/{shots}",
            ]
            subprocess.run(command, check=True)
        shutil.rmtree(HERE / "sweep", ignore_errors=True)
        for path in sorted(Path("sweep").rglob("*.json*")):
            if path.name.startswith("samples_colours"):
                continue
            target = HERE / path
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text()
            if path.suffix == ".json":
                found = json.loads(text)
                text = json.dumps({k: v for k, v in found.items() if k not in MACHINE}, indent=1) + "\n"
            target.write_text(text)


main()
