"""The one loop that serves every optimizer: a batch of minimisations, each with its own end."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from .levenberg_marquardt import LevenbergMarquardtState
from .objective import evaluate, evaluate_value
from .problem import Points, Problem

CLOSE = 0.2  # starts of a fit join when no raw parameter differs by more
# A start is given up if its value is above the best of its fit by more than SLACK times that, and if at the speed of its last
# round it would need more than HOPE steps to get there.
SLACK = 1.0
HOPE = 12
POOL_NUMBERS = 12_000  # points and matrix entries of all runs that advance together: a dozen such arrays fit in a core's cache


class Minimum(NamedTuple):
    """Where each of B minimisations ended.

    Attributes:
      theta: [B, P] the best point that was visited.
      value: [B] objective there; inf if the objective was never finite.
      steps: [B] evaluations made (before it joined another, if it did).
      converged: [B] whether it stopped because nothing was left to gain.
      given_up: [B] whether it was left behind for being too slow, see `compete`; who joined such a run shares its fate.
      follows: [B] the run that it joined, and whose end it has; itself, if it joined none.
      grad, gram: [B, P] and [B, P, P] gradient and Gauss–Newton matrix of the objective at theta, where the optimizer keeps
        them (Levenberg–Marquardt), else None.
    """

    theta: Array
    value: Array
    steps: Array
    converged: Array
    given_up: Array
    follows: Array
    grad: Array | None = None
    gram: Array | None = None


def minimise(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    data: Points,
    owner: Array,
    theta: Array,
    *,
    max_steps: int,
    idle: Array | None = None,
    gtol: float | None = None,
    ftol: float | None = None,
    patience: int = 20,
    pool: int | None = None,
    round_steps: int = 3,
    compete: int = 0,
) -> Minimum:
    """Runs `optimizer` on B minimisations until each has converged, at most about `max_steps` steps each.

    Each step evaluates value, gradient and Gauss–Newton matrix once and passes all of them, and a `value_fn` for line
    searches, to `optimizer.update`. An optimizer that keeps a `converged` flag in its state (Levenberg–Marquardt) decides
    itself when it is done; any other is done when the gradient is below `gtol` × value, or when `patience` steps together
    gained less than `ftol` × value. A run that has ended is left untouched, so a diverging one cannot spoil its neighbours.

    The B runs need very different numbers of steps (a median of a dozen, a tail of hundreds), so they are not advanced in
    lockstep: each round takes the first `pool` unfinished runs, advances them `round_steps` steps together and puts them
    back. The pool stays full until the queue is nearly empty, and is small enough that its points stay in the cache
    (default: about `POOL_NUMBERS` points and matrix entries).

    Args:
      data: points of C fits, [C, S, n] (batch first).
      owner: [B] the fit that each run belongs to.
      theta: [B, P] first guesses.
      idle: [B] runs to leave out: they end where they start, with value inf.
      compete: number k > 1 of neighbouring runs that are starts of the same fit, if only the best of them is wanted. Between
        rounds a run that came within `CLOSE` of a better one of its fit joins it, and one that is far above the best value of
        its fit (`SLACK`) and slow (`HOPE`) is given up. Who meets whom when depends on who shares the pool, so the path of a
        fit then depends on its neighbours; where it ends does up to tolerance, nearly always.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    dtype = theta.dtype
    ftol = ftol if ftol is not None else (1e-9 if dtype == jnp.float64 else 1e-6)
    gtol = gtol if gtol is not None else (1e-8 if dtype == jnp.float64 else 1e-5)
    n_runs = theta.shape[0]
    numbers = max(1, data.y[0].size) + theta.shape[1] ** 2
    fits_in_cache = 2 ** max(3, min(8, round(math.log2(POOL_NUMBERS / numbers))))
    pool = min(fits_in_cache if pool is None else pool, n_runs)

    def update(grad, state, theta, value, gram, own):
        value_fn = lambda t: evaluate_value(problem, t, own)  # noqa: E731
        # optax's line searches hand on what they do not know to value_fn, so only who keeps a `gram` gets one.
        extra = {} if optax.tree.get(state, "gram", None) is None else {"gram": gram}
        return optimizer.update(grad, state, theta, value=value, grad=grad, value_fn=value_fn, **extra)

    def step(points, run: _Run) -> _Run:
        # Inside a round the runs are the last axis of everything: small matrices then vectorise over runs.
        value, grad, gram = evaluate(problem, run.theta, points)
        finite = jnp.isfinite(value)
        better = finite & (value < run.best_value) & ~run.done
        best_value = jnp.where(better, value, run.best_value)
        if isinstance(run.state, LevenbergMarquardtState):  # knows this layout by itself
            updates, state = optimizer.update(grad, run.state, run.theta, value=value, gram=gram)
        else:
            updates, state = jax.vmap(update, in_axes=-1, out_axes=-1)(
                grad, run.state, run.theta, value, gram, points
            )
        moved = jnp.asarray(optax.apply_updates(run.theta, updates))
        lost = ~jnp.all(jnp.isfinite(moved), axis=0)
        steps = run.steps + ~run.done
        mark, mark_value = run.mark, run.mark_value

        flag = optax.tree.get(state, "converged", None)
        if flag is not None:
            ended = flag  # such an optimizer also steps back by itself from a value that is not finite
        else:
            lost = lost | ~finite
            flat = jnp.max(jnp.abs(grad), axis=0) <= gtol * jnp.abs(value)
            # Progress is judged over blocks of `patience` steps, since Adam's value is not monotone.
            due = steps - mark >= patience
            stalled = due & (mark_value - best_value <= ftol * jnp.abs(best_value) + 1e-22)
            mark = jnp.where(due, steps, mark)
            mark_value = jnp.where(due, best_value, mark_value)
            ended = flat | stalled
        new = _Run(
            theta=jnp.where(lost, run.theta, moved),
            state=state,
            best=jnp.where(better, run.theta, run.best),
            best_value=best_value,
            mark=mark,
            mark_value=mark_value,
            steps=steps,
            follows=run.follows,
            given_up=run.given_up,
            ended=ended,
            done=ended | lost | (steps >= max_steps),
        )
        return jax.tree.map(lambda a, b: jnp.where(run.done, b, a), new, run)

    def advance(carry):
        (numbers, others), lowest, chosen, upcoming = carry
        live = chosen < n_runs
        take = jnp.minimum(chosen, n_runs - 1)
        run = _unpack(start, *jax.tree.map(lambda a: jnp.moveaxis(a[take], 0, -1), (numbers, others)))
        before = run.best_value
        run = run._replace(done=run.done | ~live)
        points = jax.tree.map(lambda a: jnp.moveaxis(a[owner[take]], 0, -1), data)
        run = jax.lax.while_loop(
            lambda c: (c[0] < round_steps) & ~jnp.all(c[1].done),
            lambda c: (c[0] + 1, step(points, c[1])),
            (jnp.zeros((), jnp.int32), run),
        )[1]
        if compete > 1:
            fit = jnp.where(live, owner[take], -1)
            lowest = lowest.at[fit].min(run.best_value, mode="drop", wrap_negative_indices=False)
            gap = run.best_value - lowest[fit]
            slow = ~run.done & (gap > SLACK * jnp.abs(lowest[fit]))
            slow = slow & (gap * round_steps > HOPE * (before - run.best_value))
            follows = _join(run, fit, take, compete)
            run = run._replace(
                follows=follows, given_up=run.given_up | slow, done=run.done | slow | (follows != take)
            )
        back = lambda a, b: a.at[chosen].set(jnp.moveaxis(b, -1, 0), mode="drop")  # noqa: E731
        packed = jax.tree.map(back, (numbers, others), _pack(run, dtype))
        # Who is not done moves up, and the next ones in the queue take the places behind.
        going = live & ~run.done
        many = jnp.sum(going, dtype=jnp.int32)
        kept = chosen[jnp.nonzero(going, size=pool, fill_value=0)[0]]
        place = upcoming + places - many
        new = jnp.where(place < n_runs, queue[jnp.minimum(place, n_runs - 1)], n_runs)
        return packed, lowest, jnp.where(places < many, kept, new), upcoming + pool - many

    zero = jnp.zeros((n_runs,), jnp.int32)
    infinite = jnp.full((n_runs,), jnp.inf, dtype)
    never = jnp.zeros((n_runs,), bool)
    state = jax.vmap(optimizer.init)(theta)
    own = jnp.arange(n_runs, dtype=jnp.int32)
    start = _Run(
        theta,
        state,
        theta,
        infinite,
        zero,
        infinite,
        zero,
        own,
        never,
        never,
        never if idle is None else idle,
    )
    last = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), start)
    first = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), _pack(last, dtype))
    lowest = jnp.full((data.y.shape[0],), jnp.inf, dtype)
    places = jnp.arange(pool, dtype=jnp.int32)
    queue = own if idle is None else jnp.nonzero(~idle, size=n_runs, fill_value=n_runs)[0].astype(jnp.int32)
    packed, *_ = jax.lax.while_loop(
        lambda c: c[2][0] < n_runs, advance, (first, lowest, queue[:pool], jnp.asarray(pool, jnp.int32))
    )
    runs = _unpack(start, *jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), packed))
    runs = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), runs)
    follows = runs.follows
    if compete > 1:
        # Who follows a follower follows whom that one follows: chains of up to `compete` runs, halved each time.
        for _ in range(math.ceil(math.log2(compete))):
            follows = follows[follows]
        runs = jax.tree.map(lambda a: a[follows], runs)._replace(steps=runs.steps)
    converged = runs.ended & jnp.isfinite(runs.best_value)
    known = isinstance(runs.state, LevenbergMarquardtState)
    slopes = (runs.state.grad, runs.state.gram) if known else (None, None)
    return Minimum(runs.best, runs.best_value, runs.steps, converged, runs.given_up, follows, *slopes)


def _join(run: "_Run", fit: Array, take: Array, starts: int) -> Array:
    """[pool] the run that each run goes on as: the best one of the same fit within `CLOSE`, else itself (`take`).

    Runs of the same fit stand side by side in the pool, at most `starts` − 1 places apart: the pool is laid over itself
    that many places to either side.
    """
    size, dtype = len(fit), run.best.dtype
    place = jnp.arange(size)
    mine = jnp.concatenate([run.best, run.best_value[None], fit.astype(dtype)[None]])
    wide = jnp.pad(mine, ((0, 0), (starts - 1, starts - 1)), constant_values=-2.0)  # no fit has this number

    def look(i, found):
        value, where = found
        other = jax.lax.dynamic_slice_in_dim(wide, i, size, axis=1)
        shift = i - (starts - 1)
        near = jnp.max(jnp.abs(other[:-2] - run.best), axis=0) < CLOSE
        near = near & (other[-1] == fit) & (fit >= 0)
        better = (other[-2] < value) | ((other[-2] == value) & (shift < 0) & (where == place))
        return jnp.where(near & better, other[-2], value), jnp.where(near & better, place + shift, where)

    _, where = jax.lax.fori_loop(0, 2 * starts - 1, look, (run.best_value, place))
    return jnp.where(run.done, take, take[where]).astype(jnp.int32)


class _Run(NamedTuple):
    """State of the minimisations, each leaf with the leading axis [B] between rounds, and with it last inside one."""

    theta: Array
    state: optax.OptState
    best: Array
    best_value: Array
    mark: Array  # step and best value at the last check for progress
    mark_value: Array
    steps: Array
    follows: Array  # the run whose end it takes; itself, unless it was joined to another
    given_up: Array  # too slow to be of use
    ended: Array  # nothing left to gain
    done: Array  # ended, lost or out of steps


def _pack(run: _Run, dtype) -> tuple[Array, _Run]:
    """The leaves of `dtype` as one array [F, B], and the others, with None in their places: a gather instead of a dozen."""
    packed = [a.reshape(-1, a.shape[-1]) for a in jax.tree.leaves(run) if a.dtype == dtype]
    return jnp.concatenate(packed), jax.tree.map(lambda a: None if a.dtype == dtype else a, run)


def _unpack(like: _Run, numbers: Array, others: _Run) -> _Run:
    """The inverse of `_pack`; the leaves of `like` have the batch first and say what is where."""
    leaves, structure = jax.tree.flatten(like)
    rest, at, out = iter(jax.tree.leaves(others)), 0, []
    for leaf in leaves:
        if leaf.dtype != numbers.dtype:
            out.append(next(rest))
            continue
        size = math.prod(leaf.shape[1:])
        out.append(numbers[at : at + size].reshape(*leaf.shape[1:], numbers.shape[-1]))
        at += size
    return jax.tree.unflatten(structure, out)
