"""What the scripts are asked for, checked before their first second of work: every stage, the last ones too."""

import math
from collections.abc import Iterable, Sequence

from iclbayes import laws, suppression
from iclbayes.errors import InputError, check_each_once, check_fraction, check_whole
from iclbayes.ginc.sampling import shots_per_prompt

from .config import Config

MOST = 2**31 - 1  # what arrays on the device are counted with
LARGEST_SEED = 2**63 - 1


def check(config: Config, flag: str = "--") -> None:
    """Raises InputError unless every stage of the run can be done. Computes nothing.

    Args:
      config: what is asked for.
      flag: what stands before the names of its options.
    """
    for name in ("layers", "seeds", "ks"):
        check_each_once(f"{flag}{name}", getattr(config, name))
    check_comparison(config.laws, config.fractions, flag)
    _check_sizes(config, flag)
    for k in config.ks:
        shots_per_prompt(k, config.context)
    hmms = config.world.hmms
    check_whole(f"{flag}prompts (two for each source or more)", config.prompts, 2 * hmms, MOST)
    check_weights(config.weights, hmms, flag)
    for layers in config.layers:
        config.model(layers)
        for seed in config.seeds:
            config.training(layers, seed)
    if config.suppress:
        check_tunings(
            config.tunings().values(), f"{flag}suppress", config.suppress, config.favoured, hmms, flag
        )


def check_comparison(names: Sequence[str], fractions: Sequence[float], flag: str = "--") -> None:
    """Raises InputError unless these are laws and shares of the shots to compare them at."""
    check_each_once(f"{flag}laws", names)
    check_each_once(f"{flag}fractions", fractions)
    for law in names:
        laws.get(law)
    for fraction in fractions:
        check_fraction(f"{flag}fractions", fraction)


def check_weights(weights: Sequence[float], hmms: int, flag: str = "--") -> None:
    """Raises InputError unless there are no weights, or one for each HMM that makes a mixture."""
    if not weights:
        return
    if len(weights) != hmms:
        raise InputError(
            f"{flag}weights: there are {len(weights)}; give one for each of {hmms} HMMs, or none"
        )
    if not all(0 <= weight < math.inf for weight in weights) or sum(weights) <= 0:
        raise InputError(
            f"{flag}weights {' '.join(map(str, weights))}: give finite numbers of at least 0, not all of them 0"
        )


def check_tunings(
    tunings: Iterable[suppression.Tuning],
    option: str,
    amounts: Sequence[int],
    favoured: int,
    hmms: int,
    flag: str = "--",
) -> None:
    """Raises InputError unless models of a world of so many HMMs can be fine-tuned so, on each of the amounts.

    Args:
      tunings: by method.
      option, amounts: the option that gives the amounts, and they.
      favoured: the task.
      hmms: of the world.
      flag: what stands before the names of options.
    """
    if hmms < 2:
        raise InputError(
            f"{option}: a world of one task has none to suppress; give no amounts, or a world of two HMMs or more"
        )
    check_whole(f"{flag}favoured", favoured, 0, hmms - 1)
    check_each_once(option, amounts)
    for tuning in tunings:
        for amount in amounts:
            tuning.training(check_whole(option, amount, 1, MOST))


def _check_sizes(config: Config, flag: str) -> None:
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
        check_whole(f"{flag}{name.replace('_', '-')}", getattr(config, name), least, MOST)
    for name in ("hmms", "entities", "slots", "symbols"):
        check_whole(f"{flag}world.{name}", getattr(config.world, name), 1, MOST)
    check_whole(f"{flag}world.seed", config.world.seed, 0, LARGEST_SEED)
    for seed in config.seeds:
        check_whole(f"{flag}seeds", seed, 0, LARGEST_SEED)
    for layers in config.layers:
        check_whole(f"{flag}layers", layers, 1, MOST)
    config.rows  # noqa: B018 (a kind of rows that is none is told)
