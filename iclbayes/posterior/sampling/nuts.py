"""NUTS over many units at once, in lanes that run freely.

Mapping a sampler over chains makes every chain wait for the longest tree of its batch, at every draw. Here the state of the tree
(its two ends, the subtree being grown, the checkpoints of its U-turn tests) is a lane's own data, and one iteration of one
loop takes one leapfrog step in every lane: a lane whose tree is complete notes its draw and begins the next one at once.
Lanes then wait for each other only at the end of all draws, when their numbers of steps have averaged out.

The transition is that of the No-U-Turn sampler with multinomial draws from the trajectory (Hoffman and Gelman 2014, arXiv
1111.4246; Betancourt 2017, arXiv 1701.02434) in the iterative form of Phan, Pradhan and Jankowiak 2019 (arXiv 1912.11554): to
see whether a subtree has turned, the momenta at leaves of even number are kept, at most one per depth.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

DIVERGENCE = 1000.0  # an energy error above this ends the trajectory; the limit of Stan and numpyro


class Adaptation(NamedTuple):
    """Dual averaging of the step size (Hoffman and Gelman 2014, section 3.2), per lane.

    Attributes:
      log_step: the step size in use.
      average: of its logarithm, weighted towards late ones: the step size to keep.
      error: running mean of target − acceptance.
      centre: what log_step is pulled to.
      t: updates so far.
    """

    log_step: Array
    average: Array
    error: Array
    centre: Array
    t: Array


def start_adaptation(log_step: Array) -> Adaptation:
    """Adaptation before its first update, pulled to twice the step size that it starts with."""
    zero = jnp.zeros_like(log_step)
    return Adaptation(log_step, log_step, zero, log_step + jnp.log(2.0), zero)


def adapt(state: Adaptation, accept: Array, target: Array) -> Adaptation:
    """One update from the mean acceptance probability of a trajectory."""
    t = state.t + 1
    error = state.error + (target - accept - state.error) / (t + 10)
    log_step = state.centre - jnp.sqrt(t) / 0.05 * error
    average = state.average + t**-0.75 * (log_step - state.average)
    return Adaptation(log_step, average, error, state.centre, t)


class Point(NamedTuple):
    """z, momentum r, gradient g of the potential: [..., P]."""

    z: Array
    r: Array
    g: Array


class Draw(NamedTuple):
    """A candidate: z, its gradient, potential and Hamiltonian, and the log weight of the (sub)tree that it stands for."""

    z: Array
    g: Array
    value: Array
    energy: Array
    weight: Array


class Lane(NamedTuple):
    """State of one lane (leading axes: lanes).

    Attributes:
      left, right: ends of the tree; at: the last leaf; going: +1 or −1.
      tree, subtree: candidates; tree_r, subtree_r: sums of their momenta.
      marks_r, marks_sum: [D, P] momenta, and sums of momenta, at the checkpoints of the subtree.
      depth: doublings done; leaf: leaves of the subtree; energy: at the start.
      accept, steps: sum of acceptance probabilities, leapfrog steps of the tree.
      count: draws done.
      step: adaptation of the step size.
    """

    left: Point
    right: Point
    at: Point
    going: Array
    tree: Draw
    subtree: Draw
    tree_r: Array
    subtree_r: Array
    marks_r: Array
    marks_sum: Array
    depth: Array
    leaf: Array
    energy: Array
    accept: Array
    steps: Array
    count: Array
    step: Adaptation


class Chains(NamedTuple):
    """What a run leaves, lanes [U, C].

    Attributes:
      z: [U, C, N, P]; energy, diverging, n_steps: [U, C, N]. Only the first n draws are written.
      log_step: [U, C] of the averaged step size.
    """

    z: Array
    energy: Array
    diverging: Array
    n_steps: Array
    log_step: Array


def run(
    potential: Callable[[Array], Array],
    keys: Array,
    z: Array,
    log_step: Array,
    target: Array,
    n: Array,
    adapting: Array,
    *,
    n_max: int,
    max_depth: int,
) -> Chains:
    """n draws in every lane.

    Args:
      potential: [U, C, P] → [U, C], each lane's value from its own z.
      keys: [U] raw keys; the draws of a unit depend on its own key and potential alone.
      z: [U, C, P] starts.
      log_step: [U, C] step sizes.
      target: [U] acceptance probability to adapt to.
      n: [U] draws; at most n_max, the length of the buffers.
      adapting: [U] whether to adapt the step size.
    """
    n_units, n_chains, size = z.shape
    lanes = (n_units, n_chains)
    n, adapting, target = n[:, None], adapting[:, None], target[:, None]
    momenta = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 0), (n_chains, n_max + 1, size)))(
        keys
    )
    turns = jax.vmap(lambda k: jax.random.bits(jax.random.fold_in(k, 1), (n_chains, n_max + 1), jnp.uint32))(
        keys
    )
    units, chains = jnp.arange(n_units)[:, None], jnp.arange(n_chains)
    levels = jnp.arange(max_depth)
    powers = 2 ** jnp.arange(max_depth + 1)

    def value_and_slope(z):
        value, pull = jax.vjp(potential, z)
        (slope,) = pull(jnp.ones_like(value))
        fine = jnp.isfinite(value) & jnp.isfinite(slope).all(-1)
        return jnp.where(fine, value, jnp.inf), jnp.where(fine[..., None], slope, 0.0)

    def plant(draw: Draw, count: Array) -> dict:
        """The fields of a lane at the first leaf of a new tree."""
        r = momenta[units, chains, count]
        energy = draw.value + 0.5 * jnp.sum(r**2, -1)
        seed = Point(draw.z, r, draw.g)
        zero, none = jnp.zeros(lanes), jnp.zeros(lanes, int)
        tree = draw._replace(energy=energy, weight=zero)
        fields = {"left": seed, "right": seed, "tree": tree, "tree_r": r, "energy": energy}
        return fields | {"depth": none, "accept": zero, "steps": none}

    def aim(lane: Lane) -> Lane:
        """The lane at the start of its next subtree."""
        bit = turns[units, chains, lane.count] >> lane.depth.astype(jnp.uint32) & 1
        right = bit.astype(bool)
        return lane._replace(
            going=jnp.where(right, 1.0, -1.0),
            at=_where(right, lane.right, lane.left),
            leaf=jnp.zeros(lanes, int),
        )

    def iteration(carry):
        i, lane, out = carry
        bits = jax.vmap(lambda k: jax.random.bits(jax.random.fold_in(k, i + 2), (2, n_chains), jnp.uint32))(
            keys
        )
        chance, merge_chance = jnp.moveaxis((bits.astype(jnp.float64) + 0.5) * 2.0**-32, 1, 0)
        # One leapfrog step.
        step = (jnp.exp(lane.step.log_step) * lane.going)[..., None]
        r = lane.at.r - 0.5 * step * lane.at.g
        z = lane.at.z + step * r
        value, g = value_and_slope(z)
        r = r - 0.5 * step * g
        at = Point(z, r, g)
        energy = value + 0.5 * jnp.sum(r**2, -1)
        error = energy - lane.energy
        diverging = ~(error <= DIVERGENCE)
        # The new leaf joins the subtree.
        first = lane.leaf == 0
        weight = jnp.where(diverging, -jnp.inf, -error)
        total = jnp.where(first, weight, jnp.logaddexp(lane.subtree.weight, weight))
        leaf_draw = Draw(z, g, value, energy, total)
        taken = first | (jnp.log(chance) < weight - total)
        subtree = _where(taken, leaf_draw, lane.subtree)._replace(weight=total)
        subtree_r = jnp.where(first[..., None], r, lane.subtree_r + r)
        # Its U-turns: see `checkpoints`.
        low, high = checkpoints(lane.leaf)
        write = ((lane.leaf % 2 == 0) & (lane.leaf >= 0))[..., None] & (levels == high[..., None])
        marks_r = jnp.where(write[..., None], r[..., None, :], lane.marks_r)
        marks_sum = jnp.where(write[..., None], subtree_r[..., None, :], lane.marks_sum)
        span = subtree_r[..., None, :] - lane.marks_sum + lane.marks_r
        inner = turning(lane.marks_r, r[..., None, :], span)
        checked = (levels >= low[..., None]) & (levels <= high[..., None])
        turned = jnp.any(inner & checked & (lane.leaf % 2 == 1)[..., None], -1)
        leaf = lane.leaf + 1
        full = (leaf == powers[lane.depth]) & ~turned & ~diverging
        # A full subtree joins the tree.
        right = lane.going > 0
        joined = jnp.log(merge_chance) < subtree.weight - lane.tree.weight
        tree = _where(full & joined, subtree, lane.tree)
        tree = tree._replace(
            weight=jnp.where(full, jnp.logaddexp(lane.tree.weight, subtree.weight), lane.tree.weight)
        )
        new_right = _where(full & right, at, lane.right)
        new_left = _where(full & ~right, at, lane.left)
        tree_r = lane.tree_r + jnp.where(full[..., None], subtree_r, 0.0)
        depth = lane.depth + full
        outer = full & turning(new_left.r, new_right.r, tree_r)
        done = turned | diverging | outer | (depth == max_depth)
        accept = lane.accept + jnp.minimum(1.0, jnp.exp(-jnp.maximum(error, 0.0)))
        steps = lane.steps + 1
        # Note the candidate; the note that stays is the one of the finished tree.
        running = lane.count < n
        slot = jnp.where(running, lane.count, n_max)
        note = jnp.concatenate(
            [tree.z, jnp.stack([tree.energy, diverging.astype(z.dtype), steps.astype(z.dtype)], -1)], -1
        )
        out = out.at[units, chains, slot].set(note, mode="promise_in_bounds", unique_indices=True)
        # Where the tree is done, plant the next; where the subtree is, aim anew.
        done &= running
        adapted = adapt(lane.step, accept / steps, target)
        count = lane.count + done
        grown = lane._replace(
            left=new_left, right=new_right, at=at, tree=tree, subtree=subtree, tree_r=tree_r, subtree_r=subtree_r,
            marks_r=marks_r, marks_sum=marks_sum, depth=depth, leaf=leaf, accept=accept, steps=steps, count=count,
            step=_where(done & adapting, adapted, lane.step),
        )  # fmt: skip
        planted = grown._replace(**plant(tree, count))
        grown = _where(done, planted, grown)
        return i + 1, _where(done | full, aim(grown), grown), out

    value, g = value_and_slope(z)
    blank, none = jnp.zeros((*lanes, max_depth, size)), jnp.zeros(lanes, int)
    draw = Draw(z, g, value, value, jnp.zeros(lanes))
    fields = plant(draw, none)
    lane = Lane(
        **fields, at=fields["left"], going=jnp.ones(lanes), subtree=draw, subtree_r=fields["tree_r"], marks_r=blank,
        marks_sum=blank, leaf=none, count=none, step=start_adaptation(log_step),
    )  # fmt: skip
    out = jnp.zeros((*lanes, n_max + 1, size + 3))
    _, lane, out = jax.lax.while_loop(lambda c: jnp.any(c[1].count < n), iteration, (0, aim(lane), out))
    out = out[:, :, :n_max]
    final = jnp.where(adapting, lane.step.average, lane.step.log_step)
    return Chains(
        out[..., :size], out[..., size], out[..., size + 1] > 0, out[..., size + 2].astype(int), final
    )


def checkpoints(leaf: Array) -> tuple[Array, Array]:
    """Lowest and highest checkpoint against which a leaf of odd number is tested; the highest is where an even one is kept."""
    high = jnp.bitwise_count(leaf >> 1).astype(int)
    trailing = jnp.bitwise_count((~leaf & (leaf + 1)) - 1).astype(int)
    return high - trailing + 1, high


def turning(left: Array, right: Array, total: Array) -> Array:
    """Whether a trajectory of these end momenta and sum of momenta has turned back on itself."""
    middle = total - 0.5 * (left + right)
    return (jnp.sum(left * middle, -1) <= 0) | (jnp.sum(right * middle, -1) <= 0)


def _where(which: Array, a, b):
    """Leafwise choice by lane."""
    return jax.tree.map(
        lambda x, y: jnp.where(which.reshape(which.shape + (1,) * (x.ndim - which.ndim)), x, y), a, b
    )
