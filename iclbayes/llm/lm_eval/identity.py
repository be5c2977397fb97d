"""What makes the numbers of two runs differ: the model and how it was loaded, prompted and asked.

Settings that only decide how fast or where a run went are left out (`HARMLESS`); every other argument of the
model or entry of the run's `config` counts, known to us or not. Seeds are apart: runs that differ in them alone are replicates.
"""

import re
from typing import Any

from ..imports.lenient import plain, section, whole
from ..imports.settings import NONE, UNKNOWN, digest, no_address, text

HARMLESS = frozenset(
    [
        *("accelerate", "api_key", "auth_token", "backend", "base_url", "batch_size", "cache_dir"),
        *("cache_requests", "concurrency", "data_parallel_size", "device", "device_map"),
        *("device_map_option", "disable_log_stats", "download_dir", "enforce_eager"),
        *("gpu_memory_utilization", "gpus", "header", "logits_cache", "low_cpu_mem_usage"),
        *("max_batch_size", "max_cpu_memory", "max_memory", "max_memory_per_gpu", "max_num_seqs"),
        *("max_retries", "model", "model_name", "name", "num_concurrent", "offload_folder", "parallelize"),
        *("path", "pretrained", "seed", "swap_space", "tensor_parallel_size", "timeout"),
        *("tokenized_requests", "tp", "trust_remote_code", "use_accelerate", "use_auth_token", "use_cache"),
        "verify_certificate",
    ]
)
# Settings of GPT-NeoX, whose runs write all they have, that do not tell what was evaluated.
HARMLESS_STARTS = (
    "wandb",
    "tensorboard",
    "log_",
    "deepspeed_",
    "master_",
    "eval_",
    "sample_",
    "user_script",
    "config_files",
)
# What the harness itself says of a run, and identity or shots tell already or need not: anything else that stands there,
# such as the quantization in somebody's own version, counts.
OF_RUNS = frozenset(
    [
        *("model", "model_args", "model_name", "model_num_parameters", "model_dtype", "model_revision"),
        *("model_sha", "peft_sha", "delta_sha", "num_fewshot", "batch_sizes", "no_cache", "limit", "samples"),
        *("bootstrap_iters", "description_dict", "gen_kwargs", "random_seed", "numpy_seed", "torch_seed"),
        *(
            "fewshot_seed",
            "tasks",
            "write_out",
            "log_samples",
            "output_path",
            "output_base_path",
            "verbosity",
        ),
        *("check_integrity", "decontamination_ngrams_path", "predict_only", "provide_description"),
    ]
)
# The parts of a results file, in all layouts.
PARTS = frozenset(
    [
        *("results", "groups", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better"),
        *("n-samples", "samples", "config", "git_hash", "date", "pretty_env_info", "transformers_version"),
        *("lm_eval_version", "upper_git_hash", "eot_token_id", "max_length", "task_hashes", "model_source"),
        *(
            "model_name",
            "model_name_sanitized",
            "system_instruction",
            "system_instruction_sha",
            "chat_template",
        ),
        *("chat_template_sha", "fewshot_as_multiturn", "config_general", "config_tasks", "summary_general"),
        *("summary_tasks", "table_results"),
    ]
)
# What is said of when and where a run was, and under which name.
CIRCUMSTANCE = re.compile(
    r"(^|[_.\-])(times?|timestamp|dates?|seconds?|elapsed|duration|host|hostname|dir|path|folder|id|uuid|user|url)($|[_.\-])",
    re.IGNORECASE,
)
# The harness's own defaults, which runs before these were recorded had.
SEEDS = {"random_seed": 0, "numpy_seed": 1234, "torch_seed": 1234, "fewshot_seed": 1234}
BACKENDS = {
    "hf-causal": "hf",
    "hf-causal-experimental": "hf",
    "hf-auto": "hf",
    "huggingface": "hf",
    "gpt2": "hf",
}
DTYPES = {"float": "float32", "half": "float16", "fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
PROMPT = (
    *("dataset_path", "dataset_name", "test_split", "validation_split", "fewshot_split", "description"),
    *("doc_to_text", "doc_to_target", "doc_to_choice", "fewshot_delimiter", "target_delimiter", "gen_prefix"),
)
# Settings of the run that an argument of its model may share the name of.
AFTER_ARGUMENTS = (
    "chat_template",
    "system_instruction",
    "fewshot_as_multiturn",
    "gen_kwargs",
    "task_version",
    "prompt",
)
OF_TASKS = ("task_version",)
# A column that another, before it, already tells: (itself, what tells it beside the model and task).
TOLD = {"model_sha": "revision", "prompt": "task_version", "generation_kwargs": "gen_kwargs"}


def model_name(content: dict) -> str:
    """What the run calls its model: the pretrained one, also where an adapter stands on it."""
    config, given = section(content, "config"), model_arguments(content)
    named = [given.get(key) for key in ("pretrained", "model", "model_name", "path", "engine")]
    general = content.get("config_general")
    older = (
        [general.get("model_name"), section(general, "model_config").get("model_name")]
        if isinstance(general, dict)
        else []
    )
    for name in [*named, content.get("model_name"), *older, config.get("model_name"), config.get("model")]:
        if isinstance(name, (str, int)) and str(name).strip():
            return plain(name)
    return "model"


def model_arguments(content: dict) -> dict[str, Any]:
    """The run's `model_args`."""
    return _arguments(section(content, "config").get("model_args"))


def _arguments(given: Any) -> dict[str, Any]:
    """Arguments from a dictionary or from text a=1,b=2 (a part without = belongs to the one before)."""
    if isinstance(given, dict):
        return {str(key): value for key, value in given.items()}
    found: dict[str, Any] = {}
    last = None
    for part in given.split(",") if isinstance(given, str) else []:
        if "=" in part:
            last, value = part.split("=", 1)
            last = last.strip()
            found[last] = value.strip()
        elif last is not None:
            found[last] += f",{part}"
    return found


def identity(content: dict, task: str) -> dict[str, str]:
    """All that makes the run's numbers of a task differ, as text; `none` where a setting was not used.

    A setting that the run does not tell, and that need not have been the default, is `unknown`.
    """
    config, given, general = (
        section(content, "config"),
        model_arguments(content),
        section(content, "config_general"),
    )
    told = {
        "model_source": _backend(content, config),
        "revision": _first(given.get("revision"), config.get("model_revision"), default="main"),
        "model_sha": _first(config.get("model_sha"), general.get("model_sha"), default=UNKNOWN)[:12],
        "dtype": _dtype(config.get("model_dtype"), given.get("dtype"), general.get("model_dtype")),
    }
    for key, value in sorted((config | given).items()):
        counts = key in given or not (key in OF_RUNS or CIRCUMSTANCE.search(key))
        if counts and key not in HARMLESS and key not in told and not key.startswith(HARMLESS_STARTS):
            told[f"{key}_argument" if key in AFTER_ARGUMENTS else key] = text(value)
    told |= {
        "chat_template": _chat_template(content),
        "system_instruction": text(
            content.get("system_instruction") or content.get("system_instruction_sha")
        ),
        "fewshot_as_multiturn": text(content.get("fewshot_as_multiturn")),
        "gen_kwargs": _generation(config.get("gen_kwargs")),
        "description_dict": text(config.get("description_dict")),
    }
    own = section(content, "configs", task)
    told |= {
        "task_version": text(section(content, "versions").get(task, UNKNOWN)),
        "generation_kwargs": text(own["generation_kwargs"]) if "generation_kwargs" in own else UNKNOWN,
        "prompt": digest({key: no_address(own[key]) for key in PROMPT if own.get(key)}) if own else UNKNOWN,
    }
    return told


def besides(content: dict) -> dict[str, str]:
    """What a project writes into its results beside the harness's own parts: texts, whole numbers and switches."""
    told: dict[str, Any] = {}
    for key, value in content.items():
        if key not in PARTS and not key.startswith("tokenizer_"):
            told |= (
                {f"{key}.{inner}": v for inner, v in value.items()}
                if isinstance(value, dict)
                else {key: value}
            )
    return {
        key: text(v) for key, v in told.items() if isinstance(v, (str, int)) and not CIRCUMSTANCE.search(key)
    }


def seeds(content: dict) -> dict[str, int]:
    """The run's seeds; where it tells none, the harness's defaults."""
    config = section(content, "config")
    told = {name: whole(config.get(name)) for name in SEEDS} | {
        "seed": whole(model_arguments(content).get("seed"))
    }
    return {name: SEEDS.get(name, 0) if seed is None else seed for name, seed in told.items()}


def _first(*values: Any, default: str) -> str:
    return next((found for value in values if (found := text(value)) != NONE), default)


def _backend(content: dict, config: dict) -> str:
    source = content.get("model_source") or config.get("model")
    if not source or "model_args" not in config:
        return UNKNOWN
    return BACKENDS.get(text(source), text(source))


def _dtype(*values: Any) -> str:
    for value in values:
        name = text(value).removeprefix("torch.")
        if name not in (NONE, "auto"):
            return DTYPES.get(name, name)
    return UNKNOWN


def _chat_template(content: dict) -> str:
    """Digest of the template's text, or what stands for it."""
    template = content.get("chat_template_sha") or content.get("chat_template")
    found = text(template)
    return found[:12] if content.get("chat_template_sha") else (found if len(found) <= 20 else digest(found))


def _generation(given: Any) -> str:
    """Generation settings, alike whether a version wrote them as a dictionary or as text."""
    values = {key: plain(value) for key, value in _arguments(given).items()}
    return text(
        {key: value.lower() if value in ("True", "False") else value for key, value in values.items()}
    )
