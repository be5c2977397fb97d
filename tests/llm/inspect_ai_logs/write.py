"""Writes logs with inspect_ai's mock model, for the tests of their import: python write.py FOLDER

A process of its own: inspect_ai leaves streams unclosed, which would be warnings, and so errors, of whatever test runs next.
"""

import pathlib
import sys

import inspect_ai
from inspect_ai.dataset import Sample
from inspect_ai.log import write_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, match, mean, scorer, stderr


def yes(*_):
    """What the model always answers; counting its tokens would need the network."""
    output = ModelOutput.from_content("mockllm", "yes")
    output.usage = ModelUsage()
    return output


@scorer(metrics=[mean(), stderr()])
def half():
    async def score(state, target):
        return Score(value=0.5 if target.text == "yes" else 0.0)

    return score


def tasks(arguments, right=5, n=10, scored=("match",), shots_of=None):
    """A task for each dictionary of arguments: n questions, of which the first `right` are answered rightly."""
    scorers = {"match": match(), "half": half()}

    @inspect_ai.task
    def quiz(num_fewshot=None, style="plain", k=None, fewshot_seed=None):
        samples = [
            Sample(
                input=f"question {i}",
                target="yes" if i < right else "no",
                metadata={"shown": shots_of[i]} if shots_of else {},
            )
            for i in range(n)
        ]
        return inspect_ai.Task(dataset=samples, scorer=[scorers[name] for name in scored])

    return [quiz(**one) for one in arguments]


def write(folder, arguments, model="mockllm/model", form="eval", settings=None, **content):
    return inspect_ai.eval(
        tasks(arguments, **content),
        model=get_model(model, custom_outputs=yes),
        log_dir=str(folder),
        log_format=form,
        display="none",
        **(settings or {}),
    )


def main(root):
    for form in ("eval", "json"):
        for shots, right in ((0, 3), (2, 6), (8, 9)):
            write(root / form, [{"num_fewshot": shots}], right=right, form=form)
    write(root / "argument", [{"k": 0}, {"k": 4}])
    for shots in (0, 4):
        write(root / "metadata", [{}], settings={"metadata": {"examples": shots}})
    write(root / "samples", [{}], right=6, shots_of=[0, 0, 0, 0, 2, 2, 2, 2, 2, 2])
    sweep = [{"num_fewshot": shots} for shots in (0, 2)]
    write(root / "varying", [*sweep, *(one | {"style": "chat"} for one in sweep)], "mockllm/a")
    write(root / "varying", sweep, "mockllm/a", settings={"temperature": 0.5, "max_connections": 3})
    write(root / "varying", sweep, "mockllm/b")
    for seed, right, n in ((1, 4, 10), (2, 8, 10), (2, 3, 3)):
        write(root / "seeds", [{"num_fewshot": 2, "fewshot_seed": seed}], right=right, n=n)
    write(root / "credit", [{"num_fewshot": 0}], right=4, scored=("half", "match"), settings={"epochs": 2})
    [_, log] = write(root / "broken", [{"num_fewshot": 0}, {"num_fewshot": 2}])
    log.status, log.results = "cancelled", None
    write_eval_log(log, log.location)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
