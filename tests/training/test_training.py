"""The training loop: its arithmetic against PyTorch and NumPy, and its runs against uninterrupted ones."""

import dataclasses
import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from flax import nnx

from iclbayes import training
from iclbayes.errors import InputError
from iclbayes.models import GPT2, GPT2Config
from iclbayes.training import step as training_step

MODEL = GPT2Config(vocab_size=12, context=16, n_layers=1, n_heads=2, width=16)
# Logs, evaluations and checkpoints fall on different steps, on purpose.
CONFIG = training.TrainConfig(
    steps=40,
    batch_size=8,
    learning_rate=1e-2,
    warmup_steps=4,
    log_every=4,
    eval_every=10,
    checkpoint_every=6,
    steps_per_dispatch=3,
)


def counting(key, step):
    """Sequences that count upwards modulo 11 from a random start; token 11 stays free for padding."""
    del step
    start = jax.random.randint(key, (CONFIG.batch_size, 1), 0, 11)
    return (start + jnp.arange(MODEL.context)) % 11


def run(folder, hook=None, **options):
    return training.train(MODEL, CONFIG, counting, folder, on_eval=hook, progress=False, **options)


def held_out_loss(step, model):
    return {"eval_loss": training.evaluate(model, counting(jax.random.key(99), 0)).loss, "twice": 2.0 * step}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    return run(tmp_path_factory.mktemp("whole") / "run", held_out_loss)


def same_bits(a: GPT2, b: GPT2):
    for x, y in zip(jax.tree.leaves(nnx.state(a)), jax.tree.leaves(nnx.state(b)), strict=True):
        np.testing.assert_array_equal(x, y)


def same_rows(folder, whole):
    rows, expected = (pd.read_csv(Path(f) / "metrics.csv") for f in (folder, whole.run_dir))
    assert rows["step"].is_unique
    # The throughput is the only column that a clock writes.
    pd.testing.assert_frame_equal(
        rows.drop(columns="tokens_per_s"), expected.drop(columns="tokens_per_s"), check_exact=True
    )


@pytest.mark.smoke
def test_learns_to_count_and_writes_what_it_did(whole):
    metrics = whole.metrics
    assert metrics["loss"].iloc[0] > 2.0  # ln 11 = 2.4
    assert metrics["eval_loss"].iloc[-1] < 0.8
    assert list(metrics["step"]) == [4, 8, 10, 12, 16, 20, 24, 28, 30, 32, 36, 40]
    assert list(metrics["tokens"]) == [128 * step for step in metrics["step"]]
    assert list(metrics.loc[metrics["eval_loss"].notna(), "step"]) == [10, 20, 30, 40]
    assert list(metrics.loc[metrics["loss"].notna(), "step"]) == list(range(4, 41, 4))
    rates = training.learning_rate_at(CONFIG, np.arange(3, 40, 4))
    np.testing.assert_allclose(metrics["learning_rate"].dropna(), rates, rtol=1e-6)
    kept = sorted(int(path.name) for path in (whole.run_dir / "checkpoints").iterdir())
    assert kept == [36, 40]


@pytest.mark.smoke
def test_a_run_that_was_interrupted_ends_with_the_same_bits(whole, tmp_path):
    def interrupt(step, model):
        if step == 30:  # the last checkpoint is that of step 24, the last row that of step 28
            raise KeyboardInterrupt
        return held_out_loss(step, model)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", interrupt)
    assert max(pd.read_csv(tmp_path / "run" / "metrics.csv")["step"]) == 28
    (tmp_path / "run" / "checkpoints" / "30.orbax-checkpoint-tmp").mkdir()  # a checkpoint half written
    result = run(tmp_path / "run", held_out_loss, resume=True)
    assert result.steps == CONFIG.steps
    same_bits(result.model, whole.model)
    same_rows(tmp_path / "run", whole)


KILLED = """
import os, signal, sys
sys.path[:0] = {tests!r}
import conftest, test_training

def kill(step, model):
    if step == 20:
        with open({folder!r} + "/metrics.csv", "a") as file:
            file.write("20,25")  # a row half written
        os.kill(os.getpid(), signal.SIGKILL)
    return test_training.held_out_loss(step, model)

test_training.run({folder!r}, kill)
"""


def test_a_run_that_was_killed_ends_with_the_same_bits(whole, tmp_path):
    folder = tmp_path / "run"
    script = KILLED.format(
        tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])], folder=str(folder)
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert process.returncode == -signal.SIGKILL, process.stderr
    result = run(folder, held_out_loss, resume=True)
    same_bits(result.model, whole.model)
    same_rows(folder, whole)


def test_a_complete_run_resumes_to_itself_and_its_model_loads(whole):
    before = (whole.run_dir / "metrics.csv").read_bytes()
    result = run(whole.run_dir, resume=True)
    same_bits(result.model, whole.model)
    assert (whole.run_dir / "metrics.csv").read_bytes() == before
    loaded = training.load_model(whole.run_dir)
    assert loaded.config == MODEL
    same_bits(loaded, whole.model)
    earlier = training.load_model(whole.run_dir, step=36, attention="einsum")
    assert earlier.config == dataclasses.replace(MODEL, attention="einsum")
    assert not np.array_equal(earlier.token_embedding[...], loaded.token_embedding[...])


def test_starting_from_a_model_leaves_it_alone(whole, tmp_path):
    before = jax.tree.map(np.array, nnx.state(whole.model))
    config = dataclasses.replace(CONFIG, steps=3, warmup_steps=0, log_every=1)
    rows = counting(jax.random.key(5), 0)
    batches = training.rows_batch_fn(rows, CONFIG.batch_size)
    result = training.train(whole.model, config, batches, tmp_path / "tuned", progress=False)
    same_bits(whole.model, nnx.merge(nnx.graphdef(whole.model), before))
    assert not np.array_equal(result.model.token_embedding[...], whole.model.token_embedding[...])
    # The first loss is that of the model that it started from.
    expected = training.evaluate(whole.model, rows).loss
    np.testing.assert_allclose(result.metrics["loss"][0], expected, rtol=1e-6)


def test_another_seed_is_another_run_and_progress_is_told(whole, tmp_path):
    told = []

    def once(seed, **options):
        config = dataclasses.replace(CONFIG, seed=seed)
        return training.train(MODEL, config, counting, tmp_path / str(seed), **options)

    zero = once(0, on_eval=held_out_loss, progress=told.append)
    assert sum(told) == CONFIG.steps and all(n > 0 for n in told)
    same_bits(zero.model, whole.model)
    told.clear()
    once(0, progress=told.append, resume=True)
    assert told == [CONFIG.steps]  # what had been done before
    one = once(1, progress=False)
    assert not np.array_equal(zero.model.token_embedding[...], one.model.token_embedding[...])


def test_the_schedule_rises_to_the_peak_and_falls_to_the_last_step():
    config = training.TrainConfig(steps=10, warmup_steps=3, learning_rate=2.0)
    expected = [0.5, 1.0, 1.5, 2.0, 12 / 7, 10 / 7, 8 / 7, 6 / 7, 4 / 7, 2 / 7]
    np.testing.assert_allclose([training.learning_rate_at(config, s) for s in range(10)], expected, rtol=1e-6)
    flat = training.TrainConfig(steps=4, warmup_steps=0, learning_rate=1.0)
    np.testing.assert_allclose(training.learning_rate_at(flat, np.arange(4)), [1, 0.75, 0.5, 0.25])


def test_runs_of_other_lengths_rates_and_seeds_share_one_compiled_step(whole, tmp_path):
    """Traced schedules: the second run compiles nothing, and still does what its own schedule says."""
    rows = counting(jax.random.key(5), 0)
    batches = training.rows_batch_fn(rows, CONFIG.batch_size)
    options = {"log_every": 1, "weight_decay": 0.02, "eval_every": 0}
    configs = [
        dataclasses.replace(CONFIG, steps=3, warmup_steps=0, **options),
        dataclasses.replace(CONFIG, steps=7, warmup_steps=4, learning_rate=0.02, seed=1, **options),
    ]
    sizes, results = [], []
    for i, config in enumerate(configs):
        results.append(training.train(whole.model, config, batches, tmp_path / str(i), progress=False))
        sizes.append((training_step.advance._cache_size(), training_step.start._cache_size()))
    assert sizes[0] == sizes[1]
    assert not np.array_equal(results[0].model.token_embedding[...], results[1].model.token_embedding[...])
    # The same run with its schedule compiled in as constants, by hand.
    config, params = configs[1], nnx.state(whole.model)
    optimizer = training.make_optimizer(config)
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, batch):
        grads = jax.grad(lambda p: training.lm_loss(nnx.merge(nnx.graphdef(whole.model), p), batch)[0])(
            params
        )
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for s in range(config.steps):
        params, state = update(params, state, batches(jax.random.key(0), jnp.int32(s)))
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(nnx.state(results[1].model)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_optimizer_equals_adamw_of_pytorch():
    torch = pytest.importorskip("torch")
    config = training.TrainConfig(
        steps=8, warmup_steps=2, learning_rate=0.1, weight_decay=0.3, beta2=0.98, clip_norm=1.0
    )
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)}
    params = {name: x.astype(np.float32) for name, x in params.items()}
    theirs = {name: torch.nn.Parameter(torch.tensor(x)) for name, x in params.items()}
    adamw = torch.optim.AdamW(
        [
            {"params": [theirs["kernel"]], "weight_decay": 0.3},
            {"params": [theirs["bias"]], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    ours, optimizer = jax.tree.map(jnp.asarray, params), training.make_optimizer(config)
    state = optimizer.init(ours)

    @jax.jit
    def update(grads, state, ours):
        updates, state = optimizer.update(grads, state, ours)
        return state, optax.apply_updates(ours, updates)

    for step in range(8):
        size = 3.0 if step % 2 else 0.1  # clipped, and not
        grads = {n: (size * rng.normal(size=x.shape)).astype(np.float32) for n, x in params.items()}
        state, ours = update(grads, state, ours)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(grads[name])
        torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)
        for group in adamw.param_groups:
            group["lr"] = 0.1 * min((step + 1) / 3, (8 - step) / 6)
        adamw.step()
    for name, parameter in theirs.items():
        np.testing.assert_allclose(ours[name], parameter.detach().numpy(), atol=2e-6)


@nnx.jit
def logits_of(model, tokens):
    return model(tokens)


def numpy_token_log_probs(model, tokens):
    logits = np.asarray(logits_of(model, tokens), np.float64)[:, :-1]
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(log_probs, np.asarray(tokens)[:, 1:, None], -1)[..., 0]


@pytest.fixture(scope="module")
def rough():
    """A model with large random weights and rows with padding at the end."""
    model = GPT2(MODEL, rngs=nnx.Rngs(7))
    nnx.update(model, jax.tree.map(lambda x: 4 * x, nnx.state(model)))
    tokens = np.random.default_rng(1).integers(0, 11, (5, 16)).astype(np.int32)
    tokens[1, 9:] = tokens[4, 3:] = 11
    return model, tokens


def test_padding_is_never_a_target(rough):
    model, tokens = rough
    log_probs, real = numpy_token_log_probs(model, tokens), tokens[:, 1:] != 11
    losses = nnx.jit(lambda m: [training.lm_loss(m, tokens, pad=pad)[0] for pad in (11, None)])(model)
    np.testing.assert_allclose(losses, [-log_probs[real].mean(), -log_probs.mean()], rtol=1e-5)

    result = training.evaluate(model, tokens, batch_size=2, pad=11)  # the last batch is short
    np.testing.assert_allclose(result.loss, -log_probs[real].mean(), rtol=1e-5)
    np.testing.assert_allclose(result.nll, -(log_probs * real).sum(1), rtol=1e-5)
    np.testing.assert_array_equal(result.tokens, real.sum(1))
    unpadded = training.evaluate(model, tokens, batch_size=2)
    np.testing.assert_allclose(unpadded.stderr, log_probs.mean(1).std(ddof=1) / np.sqrt(5), rtol=1e-4)


def test_cross_entropy_and_its_gradient_stay_finite_for_large_logits():
    logits = jnp.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
    targets = jnp.array([1, 2])
    value, pullback = jax.vjp(lambda x: training.cross_entropy(x, targets), logits)
    np.testing.assert_allclose(value, [1000.0, np.log(1 + np.exp(-1) + np.exp(-2))], rtol=1e-6)
    softmax = np.exp([1.0, 2.0, 3.0]) / np.exp([1.0, 2.0, 3.0]).sum()
    np.testing.assert_allclose(
        pullback(jnp.ones(2))[0], [[1, -1, 0], softmax - np.array([0, 0, 1])], atol=1e-6
    )


def test_rows_come_once_an_epoch_in_orders_that_differ():
    rows = {"x": np.arange(10), "y": np.arange(10) ** 2}
    batch_fn = training.rows_batch_fn(rows, 3, seed=4)
    epochs = []
    for epoch in range(2):
        batches = [batch_fn(jax.random.key(0), jnp.int32(3 * epoch + i)) for i in range(3)]
        x = np.concatenate([b["x"] for b in batches])
        np.testing.assert_array_equal(np.concatenate([b["y"] for b in batches]), x**2)
        assert len(set(x.tolist())) == 9
        epochs.append(x.tolist())
    assert epochs[0] != epochs[1]
    in_order = training.rows_batch_fn(rows, 5, shuffle=False)(jax.random.key(0), jnp.int32(3))
    np.testing.assert_array_equal(in_order["x"], [5, 6, 7, 8, 9])
    assert training.steps_for_epochs(10, 3, 2) == 6


def test_dpo_equals_its_formula(rough, whole):
    model, tokens = rough
    reference, beta = whole.model, 0.1
    pairs = training.preference_pairs(reference, tokens[:2], tokens[2:4], batch_size=4)

    def log_prob(model, tokens):
        return (numpy_token_log_probs(model, tokens) * (tokens[:, 1:] != 11)).sum(1)

    chosen, rejected = (log_prob(model, t) - log_prob(reference, t) for t in (tokens[:2], tokens[2:4]))
    margin = beta * (chosen - rejected)
    loss_fn = functools.partial(training.dpo_loss, beta=beta, pad=11)
    compiled = nnx.jit(loss_fn)
    loss, metrics = compiled(model, pairs)
    np.testing.assert_allclose(loss, np.log1p(np.exp(-margin)).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["margin"], margin.mean(), rtol=1e-5)
    assert metrics["preferred"] == (margin > 0).mean()
    np.testing.assert_allclose(compiled(reference, pairs)[0], np.log(2), atol=1e-6)

    # The chain rule by hand: ∇ loss = −mean β σ(−margin) ∇ (ln π(c) − ln π(r)).
    weight = jnp.asarray(-beta / (1 + np.exp(margin)) / 2, jnp.float32)

    def weighted(model):
        scores = [-training.sequence_nll(model, t, 11)[0] for t in (tokens[:2], tokens[2:4])]
        return weight @ (scores[0] - scores[1])

    @nnx.jit
    def both_grads(model):
        return nnx.grad(lambda m: loss_fn(m, pairs)[0])(model), nnx.grad(weighted)(model)

    actual, expected = both_grads(model)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-5 * max(1.0, float(jnp.abs(e[...]).max())))


def test_preference_tuning_runs_on_the_same_loop(whole, tmp_path):
    down = jnp.flip(counting(jax.random.key(3), 0), axis=1)
    up = counting(jax.random.key(4), 0)
    pairs = training.preference_pairs(whole.model, down, up, batch_size=8)
    config = dataclasses.replace(CONFIG, steps=8, warmup_steps=0, log_every=1, learning_rate=1e-3)
    batches = training.rows_batch_fn(pairs, 8)
    result = training.train(
        whole.model, config, batches, tmp_path / "dpo", loss_fn=training.dpo_loss, progress=False
    )
    np.testing.assert_allclose(result.metrics["loss"][0], np.log(2), atol=1e-6)
    assert result.metrics["loss"].iloc[-1] < 0.5
    assert result.metrics["preferred"].iloc[-1] == 1
    assert (np.diff(result.metrics["margin"]) > 0).all()


def test_mistakes_are_named(whole, tmp_path):
    with pytest.raises(InputError, match=r"warmup_steps is 10 of 10 steps"):
        training.TrainConfig(steps=10, warmup_steps=10)
    with pytest.raises(InputError, match=r"log_every is 0; give at least 1"):
        training.TrainConfig(log_every=0)
    with pytest.raises(InputError, match="holds no checkpoint"):
        training.load_model(tmp_path)
    with pytest.raises(InputError, match=r"no checkpoint of step 7; choose from \[36, 40\]"):
        training.load_model(whole.run_dir, step=7)
    with pytest.raises(InputError, match="already holds a training run"):
        run(whole.run_dir)
    changed = dataclasses.replace(CONFIG, learning_rate=0.5, checkpoint_every=7)
    with pytest.raises(InputError, match=r"train\.learning_rate is 0\.01 there and 0\.5 now"):
        training.train(MODEL, changed, counting, whole.run_dir, resume=True)
    deeper = dataclasses.replace(MODEL, n_layers=2)
    with pytest.raises(InputError, match=r"model\.n_layers is 1 there and 2 now"):
        training.train(deeper, CONFIG, counting, whole.run_dir, resume=True)
    with pytest.raises(InputError, match="a batch of 4 from 3 rows"):
        training.rows_batch_fn(np.zeros((3, 2)), 4)
    with pytest.raises(InputError, match="give equal shapes"):
        training.preference_pairs(whole.model, np.zeros((2, 4), int), np.zeros((3, 4), int))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is no config of a training run"):
        training.load_model(tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    def broken(model, tokens):
        loss, metrics = training.lm_loss(model, tokens)
        return loss / 0.0, metrics

    with pytest.raises(InputError, match=r"the loss is (inf|nan) by step 4; lower the learning rate"):
        run(tmp_path / "run", loss_fn=broken)
