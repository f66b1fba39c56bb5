"""Tests of features: against NumPy, of conditional discriminators, and their cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import algorithms, config, data, networks
from gan_jax.algorithms import vae
from gan_jax.errors import InputError
from gan_jax.evaluation import features
from gan_jax.networks import MLP, DCGANDiscriminator
from gan_jax.spec import AutoencoderSpec, GANSpec, Prior
from gan_jax.state import Player, State
from tests.conftest import linear, make_spec, tiny_config
from tests.networks.conftest import batch_norm, conv, randomised, relu


def images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def game(discriminator, shape=(12, 20, 1), **changes) -> tuple[GANSpec, State]:
    """A game on images, with a random discriminator."""
    spec = make_spec(discriminator=discriminator, generator=linear(*shape), **changes)
    width = spec.classes or spec.text
    y = jnp.zeros((1, width)) if width else None
    variables, _, _ = randomised(discriminator, *shape, y=y)
    return spec, State(jnp.int32(0), jnp.zeros(2), {"d": Player(*variables, None)}, {})


def unit(x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cells(x: np.ndarray) -> np.ndarray:
    """Max-pooled to 4x4 cells, or as many as there are pixels."""

    def spans(n: int) -> list[slice]:
        if n <= 4:
            return [slice(i, i + 1) for i in range(n)]
        return [slice(i * n // 4, int(np.ceil((i + 1) * n / 4))) for i in range(4)]

    rows, columns = spans(x.shape[1]), spans(x.shape[2])
    return np.array([[[image[r, c].max((0, 1)) for c in columns] for r in rows] for image in x])


def test_pooling_by_hand():
    column = np.arange(7.0).reshape(1, 7, 1, 1)  # cells of pixels 0-1, 1-3, 3-5 and 5-6
    expected = np.array([1, 3, 5, 6]) / 71**0.5
    np.testing.assert_allclose(features.pooled(jnp.asarray(column))[0], expected, rtol=1e-6)
    np.testing.assert_allclose(features.pooled(jnp.array([[3.0, -4.0]])), [[0.6, -0.8]])
    np.testing.assert_array_equal(features.pooled(jnp.zeros((1, 2))), [[0, 0]])
    x = np.random.default_rng(0).normal(size=(2, 9, 6, 3))
    np.testing.assert_allclose(features.pooled(jnp.asarray(x)), unit(cells(x)), rtol=1e-5)


def test_discriminator_in_numpy():
    network = DCGANDiscriminator((3, 4), hidden=(7,))
    _, params, stats = randomised(network, 12, 20, 1)
    spec, state = game(network, pixel_low=-1.0)
    x = images(5, 12, 20, 1)
    maps = relu(conv(x / 127.5 - 1, params["Conv_0.kernel"], stride=2), 0.2)
    expected = [unit(cells(maps))]
    maps = conv(maps, params["Conv_1.kernel"], stride=2)
    # Running averages: the features of an image do not depend on others.
    maps = relu(batch_norm(maps, params, "BatchNorm_0", stats), 0.2)
    expected.append(unit(cells(maps)))
    dense = (maps.reshape(5, -1) @ params["Dense_0.kernel"])[:, None, None]
    expected.append(unit(relu(batch_norm(dense, params, "BatchNorm_1", stats), 0.2)))
    found = features.compute(features.discriminator(spec, state), x)
    np.testing.assert_allclose(found, np.hstack(expected), atol=1e-5)
    one = features.compute(features.discriminator(spec, state, "conv1"), x)
    np.testing.assert_allclose(one, expected[1], atol=1e-5)
    with pytest.raises(InputError, match="--layer=conv2: expected one of conv0, conv1, dense0"):
        features.discriminator(spec, state, "conv2")


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet", "r3gan"])
def test_hidden_layers(name):
    settings = {"discriminator.name": name, "image_size": 16}
    settings |= {"discriminator.widths": (4, 6)} if name != "mlp" else {}
    settings |= {"resnet": {"discriminator.blocks": 1}}.get(name, {})
    settings |= {"r3gan": {"discriminator.group_size": 2}}.get(name, {})
    c = config.replace(tiny_config(), settings)
    spec = config.spec(c, (16, 16, 1))
    d = algorithms.shapes(spec, config.hparams(c)).players["d"].variables
    x = jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.float32)
    found = jax.eval_shape(functools.partial(networks.hidden, spec.discriminator), d, x)
    assert {layer: x.shape[1:] for layer, x in found.items()} == {
        "mlp": {"dense0": (4,)},
        "dcgan": {"conv0": (8, 8, 4), "conv1": (4, 4, 6)},
        "resnet": {"block0": (8, 8, 4), "block1": (4, 4, 6), "block2": (4, 4, 6), "sum": (6,)},
        "r3gan": {"stage0": (16, 16, 4), "stage1": (8, 8, 6), "sum": (6,)},
    }[name]


def test_conditional_discriminators():
    x = images(3, 8, 8, 1)

    def found(condition, **changes):
        network = DCGANDiscriminator((3, 4), hidden=(5,), condition=condition, batch_norm=False)
        spec, state = game(network, (8, 8, 1), **changes)
        return features.discriminator(spec, state, "conv1"), spec, state

    chosen, spec, state = found("projection", classes=10)
    y = jnp.eye(10)[jnp.array([4, 0, 9])]  # any
    arguments = state.players["d"].variables, jnp.float32(x / 255), y
    maps = jax.jit(functools.partial(networks.hidden, spec.discriminator))(*arguments)["conv1"]
    np.testing.assert_allclose(features.compute(chosen, x), features.pooled(maps), atol=1e-6)
    with pytest.raises(InputError, match="needs a hidden layer of D: all depend on the condition"):
        found("concat", classes=10)
    _, spec, state = found("text", text=6)  # joined to the last map
    with pytest.raises(InputError, match=r"expected one of conv0, conv1$"):
        features.discriminator(spec, state, "dense0")


@pytest.mark.parametrize(("classes", "infers"), [(3, True), (3, False), (0, False)])
def test_codes_are_not_logits_of_classes(classes, infers):
    encoder = linear(2 + 3 * infers)
    variables, params, _ = randomised(encoder, 4, 4, 1)
    spec = AutoencoderSpec(
        batch_size=5,
        z_dim=2,
        prior=Prior("normal"),
        generator=linear(4, 4, 1),
        encoder=encoder,
        optimizer="sgd",
        likelihood="bernoulli",
        infers_classes=infers,
        classes=classes,
    )
    state = State(jnp.int32(0), jnp.zeros(2), {"encoder": Player(*variables, None)}, {})
    x = images(5, 4, 4, 1)
    output = x.reshape(5, -1) / 255 @ params["Dense_0.kernel"] + params["Dense_0.bias"]
    found = features.compute(features.encoder(spec, state), x)
    np.testing.assert_allclose(found, output[:, -2:], atol=1e-5)


def test_discriminators_without_features():
    spec, state = game(MLP((), (), "relu", "linear", "uniform", 0.5), (8, 8, 1))
    with pytest.raises(InputError, match="it has none"):
        features.discriminator(spec, state)
    with pytest.raises(InputError, match="2 images at once"):
        features.discriminator(spec._replace(pack=2), state)


def test_points():
    c = config.load("ring")
    with pytest.raises(InputError, match="ring holds points, not images"):
        features.load(c, config.spec(c, (2,)), None, None)


def test_codes_are_means_of_a_vae():
    c = config.replace(config.load("vae_mnist"), {"dataset": "digits", "z_dim": 3})
    x = images(4, 8, 8, 1)
    spec = config.spec(c, (8, 8, 1))
    variables, _, _ = randomised(spec.encoder, 8, 8, 1)
    state = State(jnp.int32(0), jnp.zeros(2), {"encoder": Player(*variables, None)}, {})
    chosen = features.load(c, spec, state, None)
    mean, _, _ = vae.posterior(spec, state.players["encoder"].variables, jnp.float32(x / 255))
    np.testing.assert_allclose(features.compute(chosen, x), mean, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="algorithm vae has no discriminator of images"):
        features.load(c, spec, state, "discriminator")
    with pytest.raises(InputError, match="--layer=conv0 is of --features=discriminator, not enc"):
        features.load(c, spec, state, None, "conv0")


def test_channels_follow_the_run():
    colour = images(3, 4, 4, 3)
    grey = np.stack([np.asarray(Image.fromarray(x).convert("L")) for x in colour])
    found = features.compute(features.pixels((4, 4, 1)), colour)
    np.testing.assert_array_equal(found, np.float32(grey.reshape(3, -1)) / 255)
    found = features.compute(features.pixels((4, 4, 3)), grey[..., None])
    np.testing.assert_array_equal(found, np.float32(grey.repeat(3)).reshape(3, -1) / 255)


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """A cache of its own, features of random pixels, and the images of each computation."""
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "_BLOCK", 4)
    spec, state = game(MLP((3,), (), "relu", "linear", "uniform", 0.5), (2, 2, 1))
    calls = []
    chosen = features.discriminator(spec, state)

    def compute(x):
        calls.append(x)
        return chosen.compute(x)

    return chosen._replace(compute=compute), calls, (spec, state)


def test_cache(counted, tmp_path, caplog):
    chosen, calls, (spec, state) = counted
    dataset = data.from_arrays(images(10, 2, 2, 1))
    first = features.cached(chosen, dataset)
    assert isinstance(first, np.memmap)
    assert len(calls) == 3
    np.testing.assert_array_equal(first, features.compute(chosen, dataset.images))
    calls.clear()
    np.testing.assert_array_equal(features.cached(chosen, dataset), first)
    assert not calls
    features.cached(chosen, data.from_arrays(images(10, 2, 2, 1, seed=1)))  # other data
    assert calls
    d = state.players["d"]
    trained = d._replace(params=jax.tree.map(lambda x: x + 1, d.params))
    other = features.discriminator(spec, state.replace_players(d=trained))
    assert other.sha256 != chosen.sha256
    assert not np.array_equal(features.cached(other, dataset), first)
    entries = list((tmp_path / "cache/features").iterdir())
    assert len(entries) == 3
    assert not caplog.records
    expected = np.array(first)
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-5])
    np.testing.assert_array_equal(features.cached(chosen, dataset), expected)
    assert "computing features again" in caplog.text


def test_unwritable_cache(counted, tmp_path, caplog):
    chosen, _, _ = counted
    (tmp_path / "cache").write_text("a file")
    dataset = data.from_arrays(images(10, 2, 2, 1))
    expected = features.compute(chosen, dataset.images)
    np.testing.assert_array_equal(features.cached(chosen, dataset), expected)
    assert "not cached" in caplog.text
