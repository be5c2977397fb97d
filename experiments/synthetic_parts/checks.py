"""What a run of `synthetic.py` is asked for, checked before its first second of work: every stage, the last ones too."""

import math
from collections.abc import Sequence

from iclbayes import laws
from iclbayes.errors import InputError, check_whole
from iclbayes.ginc.sampling import shots_per_prompt

from .config import Config

MOST = 2**31 - 1  # what arrays on the device are counted with
LARGEST_SEED = 2**63 - 1


def check(config: Config) -> None:
    """Raises InputError unless every stage of the run can be done. Computes nothing."""
    for name in ("layers", "seeds", "ks", "laws", "fractions"):
        _check_each_once(name, getattr(config, name))
    for law in config.laws:
        laws.get(law)
    for fraction in config.fractions:
        if not 0 < fraction <= 1:
            raise InputError(
                f"--fractions {fraction}: is no share of the shots; give numbers above 0, up to 1"
            )
    _check_sizes(config)
    for k in config.ks:
        shots_per_prompt(k, config.context)
    hmms = config.world.hmms
    check_whole("--prompts (two for each source or more)", config.prompts, 2 * hmms, MOST)
    check_weights(config.weights, hmms)
    for layers in config.layers:
        config.model(layers)
        for seed in config.seeds:
            config.training(layers, seed)
    if config.suppress:
        _check_suppression(config)


def check_weights(weights: Sequence[float], hmms: int) -> None:
    """Raises InputError unless there are no weights, or one for each HMM that makes a mixture."""
    if not weights:
        return
    if len(weights) != hmms:
        raise InputError(f"--weights: there are {len(weights)}; give one for each of {hmms} HMMs, or none")
    if not all(0 <= weight < math.inf for weight in weights) or sum(weights) <= 0:
        raise InputError(
            f"--weights {' '.join(map(str, weights))}: give finite numbers of at least 0, not all of them 0"
        )


def _check_each_once(name: str, values: Sequence) -> None:
    if not values:
        raise InputError(f"--{name}: nothing is given; give at least one")
    if len(set(values)) < len(values):
        raise InputError(f"--{name} {' '.join(map(str, values))}: give each once")


def _check_sizes(config: Config) -> None:
    for name, least in (
        *(
            ("width", 1),
            ("heads", 1),
            ("context", 2),
            ("steps", 1),
            ("documents", 0),
            ("epochs", 1),
            ("blocks", 1),
        ),
        *(("batch_size", 1), ("warmup_steps", 0), ("evals", 0), ("eval_rows", 2)),
    ):
        check_whole(f"--{name.replace('_', '-')}", getattr(config, name), least, MOST)
    for name in ("hmms", "entities", "slots", "symbols"):
        check_whole(f"--world.{name}", getattr(config.world, name), 1, MOST)
    check_whole("--world.seed", config.world.seed, 0, LARGEST_SEED)
    for seed in config.seeds:
        check_whole("--seeds", seed, 0, LARGEST_SEED)
    for layers in config.layers:
        check_whole("--layers", layers, 1, MOST)
    config.rows  # noqa: B018 (a kind of rows that is none is told)


def _check_suppression(config: Config) -> None:
    hmms = config.world.hmms
    if hmms < 2:
        raise InputError(
            "--suppress: a world of one task has none to suppress; leave it empty, or give --world.hmms 2"
        )
    check_whole("--favoured", config.favoured, 0, hmms - 1)
    _check_each_once("suppress", config.suppress)
    for amount in config.suppress:
        check_whole("--suppress", amount, 1, MOST)
        for tuning in config.tunings().values():
            tuning.training(amount)
