"""Tests of MLPs: forward passes in NumPy, dropout, initialisation and normalisation."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from gan_jax.networks import MLP, Variables
from gan_jax.networks.layers import ACTIVATIONS, INITIALIZERS, OUTPUTS
from tests.networks.conftest import NEAR, apply, assert_normal, init, randomised, shapes


def mlp(**changes) -> MLP:
    fields = {
        "widths": (5, 3),
        "out_shape": (4, 4, 1),
        "activation": "relu",
        "output": "linear",
        "initializer": "uniform",
        "init_scale": 1.0,
    }
    return MLP(**fields | changes)


@pytest.mark.parametrize("out_shape", [(), (4, 4, 1)])
@pytest.mark.parametrize("widths", [(), (5, 3)])
def test_shapes(widths, out_shape):
    sizes = (2 * 2 * 3, *widths, math.prod(out_shape))
    expected = {f"Dense_{i}.kernel": pair for i, pair in enumerate(itertools.pairwise(sizes))}
    expected |= {f"Dense_{i}.bias": (size,) for i, size in enumerate(sizes[1:])}
    network = mlp(widths=widths, out_shape=out_shape)
    assert shapes(network, 2, 2, 3) == expected
    variables, *_ = randomised(network, 2, 2, 3)
    y, _ = jax.eval_shape(lambda x: apply(network, variables, x), jnp.ones((7, 2, 2, 3)))
    assert (y.shape, y.dtype) == ((7, *out_shape), jnp.float32)


@pytest.mark.parametrize(
    ("activation", "output", "scale"),
    [*((name, "linear", 1) for name in ACTIVATIONS), *(("relu", x, 1e3) for x in OUTPUTS)],
)
def test_forward_pass_in_numpy(activation, output, scale):
    network = mlp(activation=activation, output=output)
    variables, params, _ = randomised(network, 2, 2, 1)
    h = x = scale * np.random.default_rng(1).normal(size=(6, 2, 2, 1))
    act = {
        "relu": lambda h: np.maximum(h, 0),
        "linear": lambda h: h,
        "leaky_relu": lambda h: np.where(h > 0, h, 0.2 * h),
        "tanh": np.tanh,
    }[activation]
    out = {"linear": lambda h: h, "tanh": np.tanh, "sigmoid": scipy.special.expit}[output]
    h = h.reshape(6, 4)
    for i in range(2):
        h = act(h @ params[f"Dense_{i}.kernel"] + params[f"Dense_{i}.bias"])
    h = out(h @ params["Dense_2.kernel"] + params["Dense_2.bias"]).reshape(6, 4, 4, 1)
    y, stats = apply(network, variables, jnp.float32(x))
    NEAR(y, h)
    assert stats == {}
    if output == "sigmoid":
        assert (y.min(), y.max()) == (0, 1)


def test_maxout():
    network = mlp(widths=(3,), out_shape=(3,), activation="linear", pieces=2)
    variables, params, _ = randomised(network, 4)
    x = np.random.default_rng(1).normal(size=(6, 4))
    affine = x @ params["Dense_0.kernel"] + params["Dense_0.bias"]
    units = np.maximum(affine[:, 0::2], affine[:, 1::2])  # the pieces of a unit are adjacent
    expected = units @ params["Dense_1.kernel"] + params["Dense_1.bias"]
    NEAR(apply(network, variables, jnp.float32(x))[0], expected)


@pytest.mark.parametrize("rates", [(0.2, 0.0), (0.0, 0.5)], ids=["input", "hidden"])
def test_inverted_independent_dropout(rates):
    width, kept = 100, 1 - sum(rates)
    network = mlp(
        widths=(width,),
        out_shape=(width,),
        activation="linear",
        input_dropout=rates[0],
        dropout=rates[1],
    )
    layer = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    variables, x = Variables({"Dense_0": layer, "Dense_1": layer}, {}), jnp.ones((200, width))
    y, again, other = (apply(network, variables, x, jax.random.key(i))[0] for i in (0, 0, 1))
    np.testing.assert_array_equal(y, again)
    assert np.any(y != other)
    np.testing.assert_array_equal(apply(network, variables, x)[0], x)  # no key, no dropout
    assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / kept).item()}
    np.testing.assert_allclose(np.mean(y != 0), kept, atol=5 * np.sqrt(kept * (1 - kept) / y.size))
    assert len(np.unique(y, axis=0)) == 200  # each example has its own mask
    assert len(np.unique(y, axis=1).T) == width


# Initialisation


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_bias_from_data_mean(output):
    mean = jnp.array([[0.0, 0.3], [0.9, 1.0]])[..., None]
    plain = mlp(widths=(), out_shape=mean.shape, output=output, init_scale=1e-9)
    network = plain.clone(output_bias="data_mean")
    variables = init(network, (4,), mean=mean)
    # The logits of 0 and 1 are clipped to those of 1e-7 and 1 - 1e-7.
    np.testing.assert_allclose(apply(network, variables, jnp.ones((1, 4)))[0][0], mean, atol=2e-7)
    kernel = variables.params["Dense_0"]["kernel"]
    np.testing.assert_array_equal(init(plain, (4,)).params["Dense_0"]["kernel"], kernel)


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_initial_distribution(initializer):
    network = mlp(widths=(300, 200), out_shape=(100,), initializer=initializer, init_scale=0.5)
    params = init(network, (400,)).params
    for i, fan_in in enumerate((400, 300, 200)):
        w = np.asarray(params[f"Dense_{i}"]["kernel"])
        assert not params[f"Dense_{i}"]["bias"].any()
        if initializer == "uniform":
            assert -0.5 <= w.min() < -0.495 < 0.495 < w.max() <= 0.5
            counts, _ = np.histogram(w, bins=10, range=(-0.5, 0.5))
            np.testing.assert_allclose(counts, w.size / 10, atol=5 * math.sqrt(w.size * 0.09))
        else:
            std = {"he_normal": 0.5 * math.sqrt(2 / fan_in), "normal": 0.5}[initializer]
            assert_normal(w, std)
            share = math.erfc(3 / math.sqrt(2))  # beyond 3 standard deviations: not truncated
            assert abs(np.mean(np.abs(w) > 3 * std) - share) < 5 * math.sqrt(share / w.size)


def test_layers_and_seeds_differ():
    network = mlp(widths=(5, 5), out_shape=(5,))
    layers = [layer for seed in (0, 1) for layer in init(network, (5,), seed).params.values()]
    for a, b in itertools.combinations(layers, 2):
        assert np.abs(a["kernel"] - b["kernel"]).max() > 0.1


# Normalisation


def test_batch_norm_statistics():
    network = mlp(widths=(5,), out_shape=(3,), batch_norm=True)
    variables, params, stats = randomised(network, 4)
    assert "Dense_0.bias" not in params  # batch norm has one
    x = np.random.default_rng(1).normal(size=(8, 4))
    hidden = x @ params["Dense_0.kernel"]
    mean, var = hidden.mean(axis=0), hidden.var(axis=0)
    old_mean, old_var = stats["BatchNorm_0.mean"], stats["BatchNorm_0.var"]

    def expected(mean: np.ndarray, var: np.ndarray) -> np.ndarray:
        scaled = (hidden - mean) / np.sqrt(var + 1e-5) * params["BatchNorm_0.scale"]
        active = np.maximum(scaled + params["BatchNorm_0.bias"], 0)
        return active @ params["Dense_1.kernel"] + params["Dense_1.bias"]

    y, new = apply(network, variables, jnp.float32(x), train=True)
    NEAR(y, expected(mean, var))
    NEAR(new["BatchNorm_0"]["mean"], 0.95 * old_mean + 0.05 * mean)
    NEAR(new["BatchNorm_0"]["var"], 0.95 * old_var + 0.05 * var)
    y, same = apply(network, variables, jnp.float32(x))
    NEAR(y, expected(old_mean, old_var))
    jax.tree.map(np.testing.assert_array_equal, same, variables.stats)


SPECTRAL = mlp(widths=(5,), out_shape=(4,), activation="linear", spectral_norm=True)


def test_initial_spectral_norm():
    # From a single power iteration on such matrices, spectral norms would be about 1.3.
    network = SPECTRAL.clone(widths=(80,), out_shape=(40,))
    variables = init(network, (120,))
    first, second = (np.float64(variables.params[f"Dense_{i}"]["kernel"]) for i in range(2))
    expected = first / np.linalg.norm(first, 2) @ second / np.linalg.norm(second, 2)
    for train in (False, True):
        actual = apply(network, variables, jnp.eye(120), train=train)[0]
        assert np.linalg.norm(actual - expected) < 0.05 * np.linalg.norm(expected)


def moved() -> Variables:
    """SPECTRAL with kernels on which the power method converges quickly, and biases of 1."""
    variables = init(SPECTRAL, (6,))
    params = {}
    for i, (fan_in, fan_out) in enumerate([(6, 5), (5, 4)]):
        rng = np.random.default_rng(i)
        u, _ = np.linalg.qr(rng.normal(size=(fan_in, fan_in)))
        v, _ = np.linalg.qr(rng.normal(size=(fan_out, fan_out)))
        kernel = u[:, :fan_out] * 4 / 2 ** np.arange(fan_out) @ v  # singular values 4, 2, 1, ...
        params[f"Dense_{i}"] = {"kernel": jnp.float32(kernel), "bias": jnp.ones(fan_out)}
    return variables._replace(params=params)


def test_spectral_norm_updates_in_training_only():
    variables, x = moved(), jnp.concatenate([jnp.eye(6), jnp.zeros((1, 6))])
    _, same = apply(SPECTRAL, variables, x)
    jax.tree.map(np.testing.assert_array_equal, same, variables.stats)
    w = variables.params["Dense_0"]["kernel"]
    u = variables.stats["SpectralNorm_0"]["Dense_0/kernel/u"]
    _, new = apply(SPECTRAL, variables, x, train=True)
    v = u @ w.T / np.linalg.norm(u @ w.T)  # one power iteration
    NEAR(new["SpectralNorm_0"]["Dense_0/kernel/u"], v @ w / np.linalg.norm(v @ w))
    for _ in range(30):
        variables = variables._replace(stats=apply(SPECTRAL, variables, x, train=True)[1])
    first, second = (np.float64(variables.params[f"Dense_{i}"]["kernel"]) for i in range(2))
    y = np.asarray(apply(SPECTRAL, variables, x)[0])
    NEAR(y[:-1] - y[-1], first / 4 @ second / 4)
    NEAR(y[-1], np.ones(5) @ second / 4 + 1)  # biases are not normalised


def test_gradient_through_spectral_norm():
    # The length of a normalised kernel has no effect, so the gradient is orthogonal to it.
    variables, x = moved(), jax.random.normal(jax.random.key(1), (4, 6))

    @jax.jit
    @jax.grad
    def grad(params):
        return jnp.sum(apply(SPECTRAL, variables._replace(params=params), x)[0] ** 2)

    for layer, own in grad(variables.params).items():
        kernel = variables.params[layer]["kernel"]
        size = float(np.linalg.norm(own["kernel"]) * np.linalg.norm(kernel))
        assert size > 0.1
        assert abs(np.sum(own["kernel"] * kernel)) < 1e-5 * size
