"""The world: a mixture of hidden Markov models over entities × slots with one shared table of symbols.

Source: GINC (Xie et al. 2022, arXiv 2111.02080) as used by Arora et al. (arXiv 2410.16531).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..errors import InputError


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """Sizes and temperatures of a world; with the seed they determine it completely.

    Raises:
      InputError: a size or temperature that makes no world.
    """

    seed: int = 0
    hmms: int = 5  # H, the tasks
    entities: int = 10  # E
    slots: int = 10  # S, properties; slot 0 emits the delimiter
    symbols: int = 50  # V; symbol 0 is the delimiter
    temperature: float = 0.1  # of the weights on permutation matrices
    start_temperature: float = 10.0
    stay: float = 0.9  # weight of the identity in the entity transitions

    def __post_init__(self):
        for name, least in (("seed", 0), ("hmms", 1), ("entities", 1), ("slots", 2), ("symbols", 2)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
                raise InputError(f"world: {name} is {value!r}; give an integer of at least {least}")
        for name in ("temperature", "start_temperature"):
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f"world: {name} is {getattr(self, name)!r}; give a number above 0")
        if not 0 <= self.stay <= 1:
            raise InputError(f"world: stay is {self.stay!r}; give a weight between 0 and 1")

    @classmethod
    def paper(cls, seed: int = 0) -> "WorldConfig":
        """The published world: 5 HMMs, 10 entities, 10 slots, 50 symbols."""
        return cls(seed=seed)

    @classmethod
    def small(cls, seed: int = 0) -> "WorldConfig":
        """A world for two CPU cores: 4 HMMs, 5 entities, 5 slots, 24 symbols."""
        return cls(seed=seed, hmms=4, entities=5, slots=5, symbols=24)

    @property
    def states(self) -> int:
        """Number of hidden states of each HMM, E·S."""
        return self.entities * self.slots

    @property
    def pad(self) -> int:
        """Token that fills up rows, V."""
        return self.symbols

    @property
    def bos(self) -> int:
        """Token that begins a document, V + 1."""
        return self.symbols + 1

    @property
    def vocab_size(self) -> int:
        """Number of tokens that a model needs: V symbols, PAD and BOS."""
        return self.symbols + 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class World:
    """The arrays of a world; a pytree whose static part is its config.

    Hidden state h = entity · S + slot. A transition of the hidden state moves entity and slot independently,
    each by a random permutation: P_z(h → h') = entity_transition[e, e'] · slot_transition[z, s, s'].

    Attributes:
      emission: symbols [E, S], int32; column 0 is the delimiter, symbol 0.
      slot_transition: probabilities [H, S, S] from row to column.
      entity_transition: probabilities [E, E] from row to column, shared by the HMMs.
      start: probabilities [H, E·S] of a document's first hidden state.
      slot_permutations: [H, S, S]; entry [z, i, s] is where permutation i takes slot s.
      slot_thresholds: [H, S] uint32, cumulative weights of these permutations times 2³².
      entity_permutations: [E + 1, E]; the last is the identity.
      entity_thresholds: [E + 1] uint32.
      emitters: [V, m] int32, the states that emit each symbol, filled up with −1. Emissions are
        deterministic, so these are the only states that survive an observation; m is the largest number of
        them.
    """

    config: WorldConfig = dataclasses.field(metadata={"static": True})
    emission: jax.Array
    slot_transition: jax.Array
    entity_transition: jax.Array
    start: jax.Array
    slot_permutations: jax.Array
    slot_thresholds: jax.Array
    entity_permutations: jax.Array
    entity_thresholds: jax.Array
    emitters: jax.Array

    def transition(self) -> jax.Array:
        """Hidden transitions [H, E·S, E·S]: the Kronecker product of entity and slot transitions."""
        full = jnp.einsum("ef,zst->zesft", self.entity_transition, self.slot_transition)
        return full.reshape(-1, self.config.states, self.config.states)


def make_world(config: WorldConfig, dtype: DTypeLike = jnp.float32) -> World:
    """Draws the world of `config.seed`.

    Slot transitions of HMM z are Σ_i w_i Π_i over S random permutation matrices with w = softmax((u − ½) /
    temperature), u uniform; entity transitions are such a mixture over E, times 1 − stay, plus stay times the
    identity. Emissions are uniform over symbols 1…V−1 except in slot 0. Start is softmax((u − ½) /
    start_temperature).

    Args:
      config: sizes and seed.
      dtype: of the probabilities. Everything is drawn and added up in float64 first.
    """
    # One stream a part, so that for instance more HMMs leave emissions and entities as they were.
    # Permutations are sorted uniforms because NumPy keeps the stream of `random`, not that of `permutation`,
    # stable across versions.
    table, entity, hmms = (np.random.Generator(np.random.PCG64([config.seed, part])) for part in range(3))
    n_entities, n_slots = config.entities, config.slots

    drawn = table.random((n_entities, n_slots))
    emission = 1 + np.minimum((drawn * (config.symbols - 1)).astype(np.int64), config.symbols - 2)
    emission[:, 0] = 0

    entity_permutations, weights = _permutation_mixture(entity, n_entities, config.temperature)
    entity_permutations = np.concatenate([entity_permutations, np.arange(n_entities)[None]])
    entity_weights = np.append((1 - config.stay) * weights, config.stay)

    slot_permutations, slot_weights, start = [], [], []
    for _ in range(config.hmms):
        permutations, weights = _permutation_mixture(hmms, n_slots, config.temperature)
        slot_permutations.append(permutations)
        slot_weights.append(weights)
        start.append(_softmax((hmms.random(config.states) - 0.5) / config.start_temperature))

    return World(
        config=config,
        emission=jnp.asarray(emission, jnp.int32),
        slot_transition=jnp.asarray(np.stack(list(map(_matrix, slot_permutations, slot_weights))), dtype),
        entity_transition=jnp.asarray(_matrix(entity_permutations, entity_weights), dtype),
        start=jnp.asarray(np.stack(start), dtype),
        slot_permutations=jnp.asarray(np.stack(slot_permutations), jnp.int32),
        slot_thresholds=jnp.asarray(np.stack(list(map(_thresholds, slot_weights)))),
        entity_permutations=jnp.asarray(entity_permutations, jnp.int32),
        entity_thresholds=jnp.asarray(_thresholds(entity_weights)),
        emitters=jnp.asarray(_emitters(emission.ravel(), config.symbols), jnp.int32),
    )


def _permutation_mixture(rng: np.random.Generator, size: int, temperature: float):
    """`size` random permutations [size, size] and their weights [size]."""
    permutations = np.argsort(rng.random((size, size)), axis=1)
    return permutations, _softmax((rng.random(size) - 0.5) / temperature)


def _softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max())
    return shifted / shifted.sum()


def _matrix(permutations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Transition matrix Σ_i w_i Π_i."""
    size = permutations.shape[1]
    matrix = np.zeros((size, size))
    for permutation, weight in zip(permutations, weights):
        matrix[np.arange(size), permutation] += weight
    return matrix


def _thresholds(weights: np.ndarray) -> np.ndarray:
    """Cumulative weights on the scale of 32 random bits: finer than a float32 uniform, and cheaper to
    draw."""
    return np.minimum(np.cumsum(weights) * 2.0**32, 2.0**32 - 1).astype(np.uint32)


def _emitters(emission: np.ndarray, symbols: int) -> np.ndarray:
    counts = np.bincount(emission, minlength=symbols)
    emitters = np.full((symbols, counts.max()), -1)
    for symbol in range(symbols):
        states = np.flatnonzero(emission == symbol)
        emitters[symbol, : states.size] = states
    return emitters
