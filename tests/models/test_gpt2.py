"""GPT-2 against `transformers`, the attention formulations against each other, structure and exchange."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from iclbayes.errors import InputError
from iclbayes.models import (
    ATTENTION,
    GPT2,
    GPT2Config,
    count_params,
    export_gpt2,
    flops_per_token,
    gelu_new,
    import_gpt2,
    resolve_attention,
)

CONFIG = GPT2Config(vocab_size=26, context=16, n_layers=2, n_heads=4, width=32)
TOKENS = np.random.default_rng(0).integers(0, CONFIG.vocab_size, (3, CONFIG.context))
CPU_ATTENTION = sorted(set(ATTENTION) - {"flash"})


@pytest.fixture(scope="module")
def model() -> GPT2:
    """A model whose every parameter is random, so that no bias or norm hides an error by being 0 or 1."""
    model = GPT2(CONFIG, rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    rng = np.random.default_rng(1)
    noisy = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), state
    )
    nnx.update(model, noisy)
    return model


@nnx.jit
def logits_of(model, tokens):
    return model(tokens)


def test_export_gives_the_same_logits_in_transformers(model, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    export_gpt2(model, tmp_path / "model")
    export_gpt2(model, tmp_path / "model")  # replaces the earlier export
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        expected = theirs(torch.tensor(TOKENS)).logits.numpy()
    np.testing.assert_allclose(logits_of(model, TOKENS), expected, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    assert sum(parameter.numel() for parameter in theirs.parameters()) == count_params(model)["total"]


def test_import_gives_the_same_logits_as_transformers(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=26, n_positions=16, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
        )
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        expected = theirs(torch.tensor(TOKENS)).logits.numpy()
    theirs.save_pretrained(tmp_path)
    np.testing.assert_allclose(logits_of(import_gpt2(tmp_path), TOKENS), expected, atol=1e-4)


def test_loss_and_gradients_equal_those_of_transformers(model, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(export_gpt2(model, tmp_path / "model"))
    loss = theirs(torch.tensor(TOKENS), labels=torch.tensor(TOKENS)).loss
    loss.backward()

    @nnx.jit
    def loss_and_grads(model):
        def mean_loss(model):
            log_probs = jax.nn.log_softmax(model(TOKENS)[:, :-1])
            return -jnp.mean(jnp.take_along_axis(log_probs, TOKENS[:, 1:, None], axis=-1))

        return nnx.value_and_grad(mean_loss)(model)

    ours, grads = loss_and_grads(model)
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-5)
    pairs = [
        (grads["token_embedding"], theirs.transformer.wte.weight),
        (grads["position_embedding"], theirs.transformer.wpe.weight),
        (grads["blocks"][0]["qkv"]["kernel"], theirs.transformer.h[0].attn.c_attn.weight),
        (grads["blocks"][1]["mlp_in"]["bias"], theirs.transformer.h[1].mlp.c_fc.bias),
        (grads["blocks"][0]["norm_1"]["scale"], theirs.transformer.h[0].ln_1.weight),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours[...], theirs.grad.numpy(), atol=1e-5)


def test_no_output_depends_on_later_tokens(model):
    def summed_logits(inputs_BxLxD, position):
        # The blocks, fed from a continuous input, so that a gradient with respect to it exists.
        for block in model.blocks:
            inputs_BxLxD = block(inputs_BxLxD)
        return model.unembed(model.final_norm(inputs_BxLxD))[:, position].sum()

    inputs = jax.random.normal(jax.random.key(0), (2, CONFIG.context, CONFIG.width))
    for position in (0, 5):
        grad_BxLxD = jax.jit(jax.grad(summed_logits), static_argnums=1)(inputs, position)
        size_L = np.abs(grad_BxLxD).max(axis=(0, 2))
        assert (size_L[: position + 1] > 0).all()
        assert (size_L[position + 1 :] == 0).all()


@pytest.mark.parametrize("name", CPU_ATTENTION)
@pytest.mark.parametrize("length", [7, 130])
def test_formulations_of_attention_agree_with_the_definition(name, length):
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v, cotangent = (2 * jax.random.normal(key, (2, length, 3, 8)) for key in keys)

    def out_and_grads(attend):
        out, pullback = jax.vjp(attend, q, k, v)
        return out, *pullback(cotangent)

    def definition(q, k, v):
        scores = jnp.einsum("bihd,bjhd->bhij", q, k) / np.sqrt(8)
        scores = jnp.where(np.tri(length, dtype=bool), scores, -jnp.inf)
        return jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(scores), v)

    expected = jax.jit(lambda: out_and_grads(definition))()
    actual = jax.jit(lambda: out_and_grads(ATTENTION[name]))()
    for a, e in zip(actual, expected, strict=True):
        # Values of up to 10 in float32, sums of 130 in another order: some processors differ by 3e-6 of a value.
        np.testing.assert_allclose(a, e, atol=2e-5, rtol=1e-5)


def test_auto_takes_flash_attention_only_where_the_backend_has_it():
    assert resolve_attention("auto", jnp.bfloat16, 64, backend="gpu") == "flash"
    assert resolve_attention("auto", jnp.float32, 64, backend="gpu") == "xla"
    assert resolve_attention("auto", jnp.bfloat16, 64, backend="cpu") == "blocked"
    assert resolve_attention("xla", jnp.bfloat16, 64, backend="gpu") == "xla"


def test_bfloat16_compute_keeps_parameters_and_logits_in_float32():
    model = GPT2(dataclasses.replace(CONFIG, dtype="bfloat16"), rngs=nnx.Rngs(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {jnp.dtype("float32")}
    exact = logits_of(GPT2(CONFIG, rngs=nnx.Rngs(0)), TOKENS)
    logits = logits_of(model, TOKENS)
    assert logits.dtype == jnp.float32
    assert model.hidden(jnp.asarray(TOKENS)).dtype == jnp.bfloat16
    np.testing.assert_allclose(logits, exact, atol=0.02)  # logits are of order 0.3; bfloat16 has 8 bits


def test_initial_weights_follow_gpt2():
    model = GPT2(GPT2Config(vocab_size=50, context=64, n_layers=8, n_heads=4, width=128), rngs=nnx.Rngs(3))
    block = model.blocks[5]
    np.testing.assert_allclose(block.qkv.kernel[...].std(), 0.02, rtol=0.05)
    np.testing.assert_allclose(block.mlp_out.kernel[...].std(), 0.02 / 4, rtol=0.05)  # √(2·8) = 4
    np.testing.assert_allclose(block.attention_out.kernel[...].std(), 0.02 / 4, rtol=0.05)
    assert not np.array_equal(block.qkv.kernel[...], model.blocks[4].qkv.kernel[...])


def test_remat_changes_nothing(model):
    rematerialised = GPT2(dataclasses.replace(CONFIG, remat=True), rngs=nnx.Rngs(0))
    nnx.update(rematerialised, nnx.state(model))

    @nnx.jit
    def grads_of(model):
        return nnx.grad(lambda model: jnp.square(model(TOKENS)).mean())(model)

    for a, b in zip(jax.tree.leaves(grads_of(model)), jax.tree.leaves(grads_of(rematerialised)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_counts_of_parameters_and_operations():
    vocab, context, layers, width = 26, 16, 2, 32
    counts = count_params(GPT2(CONFIG, rngs=nnx.Rngs(0)))
    per_block = 12 * width**2 + 13 * width  # 4 D² + 8 D² matrices; biases 3D + D + 4D + D; two norms 4D
    assert counts["non_embedding"] == layers * per_block + 2 * width
    assert counts["token_embedding"] == vocab * width
    assert counts["total"] == counts["non_embedding"] + (vocab + context) * width
    expected = 6 * (layers * 12 * width**2 + vocab * width) + 12 * layers * context * width
    assert flops_per_token(CONFIG) == expected
    assert flops_per_token(CONFIG, backward=False) == expected / 3


def test_gelu_new_is_the_tanh_approximation():
    x = jnp.linspace(-8, 8, 321)
    np.testing.assert_allclose(gelu_new(x), jax.nn.gelu(x, approximate=True), atol=1e-6)
    np.testing.assert_allclose(
        jax.grad(lambda x: gelu_new(x).sum())(x), jax.vmap(jax.grad(jax.nn.gelu))(x), atol=1e-5
    )


def test_mistakes_are_named(model, tmp_path):
    with pytest.raises(InputError, match="not a multiple of n_heads"):
        GPT2Config(width=10, n_heads=4)
    with pytest.raises(InputError, match="attention 'fast' is unknown; choose auto"):
        GPT2Config(attention="fast")
    with pytest.raises(InputError, match="at least 1"):
        GPT2Config(n_layers=0)
    with pytest.raises(InputError, match="exceed the model's context 16"):
        model.hidden(jnp.zeros((1, 17), jnp.int32))
    with pytest.raises(InputError, match=r"config\.json: cannot be read"):
        import_gpt2(tmp_path)

    folder = export_gpt2(model, tmp_path / "model")
    description = json.loads((folder / "config.json").read_text())
    for change, message in [
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"n_embd": 64}, "has shape"),
        ({"n_layer": 3}, r"transformer\.h\.2\.ln_1\.weight is missing"),
    ]:
        (folder / "config.json").write_text(json.dumps(description | change))
        with pytest.raises(InputError, match=message):
            import_gpt2(folder)
    (folder / "model.safetensors").write_bytes(b"not tensors")
    (folder / "config.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        import_gpt2(folder)
    (folder / "notes.txt").write_text("precious")
    with pytest.raises(InputError, match="is not an exported model"):
        export_gpt2(model, folder)
