"""Makes the results in `choices/` beside this file with lm-evaluation-harness; seconds on one core.

    pip install lm-eval==0.4.13
    python tests/llm/lm_eval/make_choices.py

Tasks whose right choices are told in every way that the harness knows, answered by a model whose log likelihoods are a hash of
context and continuation, so that tests can compute them anew.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NUMBERS = ["1", "2", "3", "4"]
CHOICES = ["one thing", "another", "a third one", "4th"]


def documents(n: int = 16) -> list[dict]:
    """The questions: right choices as a place, a text that is a number, two places, and labels of zeros and ones."""
    places = [int(hashlib.md5(f"place {i}".encode()).hexdigest(), 16) for i in range(n)]
    return [
        {
            "q": f"question {i}",
            "gold": place % 4,
            "golds": sorted({place % 4, place // 4 % 4}),
            "number": NUMBERS[place // 16 % 4],
            "labels": [1, i % 2, 0, 0],
            "two": ["cup", "bag"],
        }
        for i, place in enumerate(places)
    ]


def log_likelihood(context: str, continuation: str) -> float:
    """A number between −6 and 0 that looks random."""
    return -0.01 - 6 * int(hashlib.md5((context + continuation).encode()).hexdigest()[:8], 16) / 2**32


def mc2(doc: dict, results: list) -> dict[str, float]:
    """The share of the right choices together, as `truthfulqa_mc2` has it."""
    import numpy as np

    weights = np.exp([log for log, _ in results])
    return {"acc": float(weights[np.array(doc["labels"]) == 1].sum() / weights.sum())}


TASKS = {
    "place": {"doc_to_choice": CHOICES, "doc_to_target": "gold"},
    "numbers_text": {"doc_to_choice": NUMBERS, "doc_to_target": "number"},
    "numbers_place": {"doc_to_choice": NUMBERS, "doc_to_target": "gold"},
    "several": {"doc_to_choice": CHOICES, "doc_to_target": "golds", "metrics": ["acc"]},
    "mutual": {"doc_to_choice": CHOICES, "doc_to_target": "gold", "metrics": ["acc", "acc_mutual_info"]},
    "contexts": {
        "doc_to_text": lambda doc: doc["gold"] % 2,
        "doc_to_choice": lambda doc: [f"The {thing}" for thing in doc["two"]],
        "doc_to_target": lambda doc: "was too big.",
        "metrics": ["acc"],
    },
    "mc2": {"doc_to_choice": CHOICES, "doc_to_target": 0, "process_results": mc2, "metrics": ["acc"]},
    "normed": {"doc_to_choice": CHOICES, "doc_to_target": "gold", "metrics": ["acc_norm"]},
}


def main() -> None:
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker

    class Hashed(LM):
        def loglikelihood(self, requests):
            return [(log_likelihood(*request.args), False) for request in requests]

        def loglikelihood_rolling(self, requests):
            raise NotImplementedError

        def generate_until(self, requests):
            raise NotImplementedError

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "documents.json")
        data.write_text(json.dumps(documents()))
        common = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
        }
        common |= {"output_type": "multiple_choice", "doc_to_text": "{{q}}"}
        configs = []
        for name, task in TASKS.items():
            metrics = [
                {"metric": m, "aggregation": "mean", "higher_is_better": True}
                for m in task.get("metrics", ["acc"])
            ]
            own = {key: value for key, value in task.items() if key != "metrics"}
            configs.append(common | own | {"task": name, "metric_list": metrics})
        tracker = EvaluationTracker(output_path=folder)
        found = lm_eval.simple_evaluate(
            Hashed(), tasks=configs, num_fewshot=0, log_samples=True, bootstrap_iters=0
        )
        samples = found.pop("samples")
        tracker.general_config_tracker.log_experiment_args("hashed", "pretrained=hashed", None, None, False)
        for secret in ("pretty_env_info", "git_hash", "upper_git_hash", "configs"):
            found.pop(secret, None)  # what describes the machine
        tracker.save_results_aggregated(results=found, samples=samples)
        for name, own in samples.items():
            tracker.save_results_samples(task_name=name, samples=own)
        shutil.rmtree(HERE / "choices", ignore_errors=True)
        shutil.copytree(Path(folder, "hashed"), HERE / "choices")


if __name__ == "__main__":
    main()
