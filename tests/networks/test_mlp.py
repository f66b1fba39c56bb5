"""Tests of gan_jax.networks and its MLP: forward passes in NumPy, and how weights are drawn."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import networks
from gan_jax.networks import MLP, Variables
from gan_jax.networks.layers import ACTIVATIONS, INITIALIZERS, OUTPUTS

NEAR = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


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


def run(network: MLP, params, x, key=None) -> jax.Array:
    """Outputs of a network without statistics."""
    y, stats = networks.apply(network, Variables(jax.tree.map(jnp.float32, params), {}), x, key)
    assert stats == {}
    return y


def init(network: MLP, x, seed: int = 0, mean=None) -> Variables:
    mean = jnp.zeros(network.out_shape) if mean is None else mean
    return networks.init(network, jax.random.key(seed), jnp.float32(x), mean)


def drawn(network: MLP, fan_in: int, seed: int = 0):
    """Initial parameters, layer by layer, as pairs (kernel, bias)."""
    params = init(network, jnp.zeros((1, fan_in)), seed).params
    return [(np.asarray(p["kernel"]), np.asarray(p["bias"])) for _, p in sorted(params.items())]


@pytest.mark.parametrize("out_shape", [(), (4, 4, 1)])
@pytest.mark.parametrize("in_shape", [(3,), (4, 4, 1)])
@pytest.mark.parametrize("widths", [(), (5, 3)])
def test_shapes(widths, in_shape, out_shape):
    network, x = mlp(widths=widths, out_shape=out_shape), jnp.ones((7, *in_shape))
    variables = jax.eval_shape(functools.partial(init, network), x)
    y, _ = jax.eval_shape(functools.partial(networks.apply, network), variables, x)
    assert (y.shape, y.dtype) == ((7, *out_shape), jnp.float32)
    sizes = (math.prod(in_shape), *widths, math.prod(out_shape))
    layers = [variables.params[f"Dense_{i}"] for i in range(len(sizes) - 1)]
    assert [p["kernel"].shape for p in layers] == list(itertools.pairwise(sizes))
    assert [p["bias"].shape for p in layers] == [(size,) for size in sizes[1:]]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_pass_in_numpy(activation, output):
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in ((4, 5), (5, 3), (3, 16))]
    x = rng.normal(size=(6, 2, 2, 1))
    act = {
        "relu": lambda h: np.maximum(h, 0),
        "linear": lambda h: h,
        "leaky_relu": lambda h: np.where(h > 0, h, 0.2 * h),
        "tanh": np.tanh,
    }[activation]
    out = {"linear": lambda h: h, "tanh": np.tanh, "sigmoid": lambda h: 1 / (1 + np.exp(-h))}[
        output
    ]
    h = x.reshape(6, 4)
    for w, b in layers[:-1]:
        h = act(h @ w + b)
    expected = out(h @ layers[-1][0] + layers[-1][1]).reshape(6, 4, 4, 1)
    params = {f"Dense_{i}": {"kernel": w, "bias": b} for i, (w, b) in enumerate(layers)}
    NEAR(run(mlp(activation=activation, output=output), params, jnp.float32(x)), expected)


def test_sigmoid_output_reaches_0_and_1():
    network, x = mlp(output="sigmoid"), 1e4 * jax.random.normal(jax.random.key(1), (50, 3))
    y = run(network, init(network, x).params, x)
    assert (y.min(), y.max()) == (0, 1)


def test_maxout_is_the_maximum_of_pieces():
    x = np.random.default_rng(0).normal(size=(6, 4))
    (w, b), (v, c) = (
        (np.random.default_rng(i).normal(size=shape), np.arange(shape[1]) / 3)
        for i, shape in enumerate([(4, 6), (3, 3)], 1)
    )
    affine = x @ w + b
    units = np.maximum(affine[:, 0::2], affine[:, 1::2])  # the pieces of a unit are adjacent
    params = {"Dense_0": {"kernel": w, "bias": b}, "Dense_1": {"kernel": v, "bias": c}}
    network = mlp(widths=(3,), out_shape=(3,), activation="linear", pieces=2)
    NEAR(run(network, params, jnp.float32(x)), units @ v + c)


# Dropout


def identity(width: int, **changes):
    """A network that passes its input through one hidden layer, and its parameters."""
    network = mlp(widths=(width,), out_shape=(width,), activation="linear", **changes)
    layer = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    return network, {"Dense_0": layer, "Dense_1": layer}


@pytest.mark.parametrize(
    ("rates", "kept"),
    [((0.2, 0.0), 0.8), ((0.0, 0.5), 0.5), ((0.5, 0.5), 0.25)],
    ids=["input", "hidden", "both"],
)
def test_dropout_is_inverted_and_independent(rates, kept):
    network, params = identity(100, input_dropout=rates[0], dropout=rates[1])
    y = run(network, params, jnp.ones((200, 100)), jax.random.key(0))
    assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / kept).item()}
    np.testing.assert_allclose(np.mean(y != 0), kept, atol=5 * np.sqrt(kept * (1 - kept) / y.size))
    assert len(np.unique(y, axis=0)) == 200  # each example has its own mask
    assert len(np.unique(y, axis=1).T) == 100


def test_dropout_masks_depend_on_the_key_only():
    network, params = identity(20, input_dropout=0.5, dropout=0.5)
    x = jnp.arange(60.0).reshape(3, 20)
    one, again, two = (run(network, params, x, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != two)
    np.testing.assert_array_equal(run(network, params, x), x)  # no key, no dropout


# Initialisation


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_bias_of_the_data_mean(output):
    mean = jnp.array([[0.0, 0.3], [0.9, 1.0]])[..., None]
    network = mlp(out_shape=mean.shape, output=output, init_scale=1e-9)
    plain = init(network, jnp.ones((1, 4)), mean=mean).params
    network = network.clone(output_bias="data_mean")
    params = init(network, jnp.ones((1, 4)), mean=mean).params
    # The logits of 0 and 1 are clipped to those of 1e-7 and 1 - 1e-7.
    np.testing.assert_allclose(run(network, params, jnp.ones((1, 4)))[0], mean, atol=2e-7)
    assert not plain["Dense_2"]["bias"].any()
    params["Dense_2"]["bias"] = plain["Dense_2"]["bias"]
    jax.tree.map(np.testing.assert_array_equal, params, plain)


def assert_normal(w: np.ndarray, std: float) -> None:
    """Moments and tails of a normal distribution, not truncated, to five standard errors."""
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    np.testing.assert_allclose(w.std(), std, rtol=5 / math.sqrt(2 * w.size))
    for bound in (1, 2, 3):
        share = math.erfc(bound / math.sqrt(2))
        error = math.sqrt(share * (1 - share) / w.size)
        assert abs(np.mean(np.abs(w) > bound * std) - share) < 5 * error, bound


def assert_uniform(w: np.ndarray, bound: float) -> None:
    assert -bound <= w.min() < -0.99 * bound < 0.99 * bound < w.max() <= bound
    counts, _ = np.histogram(w, bins=10, range=(-bound, bound))
    np.testing.assert_allclose(counts, w.size / 10, atol=5 * math.sqrt(w.size * 0.09))


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_initializers(initializer):
    network = mlp(widths=(300, 200), out_shape=(100,), initializer=initializer, init_scale=0.5)
    layers = drawn(network, 400)
    for (kernel, bias), fan_in in zip(layers, (400, 300, 200), strict=True):
        assert not bias.any()
        if initializer == "uniform":
            assert_uniform(kernel, 0.5)
        else:
            std = {"he_normal": 0.5 * math.sqrt(2 / fan_in), "normal": 0.5}[initializer]
            assert_normal(kernel, std)


def test_layers_and_seeds_draw_differently():
    network = mlp(widths=(5, 5), out_shape=(5,))
    kernels = [kernel for seed in (0, 1) for kernel, _ in drawn(network, 5, seed)]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(kernels, 2)) > 0.1
    np.testing.assert_array_equal(drawn(network, 5)[0][0], kernels[0])


# Normalisation


def test_batch_norm_by_minibatch_then_by_average():
    network = mlp(widths=(5,), out_shape=(3,), batch_norm=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4))
    params = init(network, x, mean=jnp.zeros(3)).params
    assert params["Dense_0"].keys() == {"kernel"}  # the bias is batch norm's
    assert params["Dense_1"].keys() == {"kernel", "bias"}
    scale, shift = rng.normal(size=(2, 5))
    params |= {"BatchNorm_0": {"scale": jnp.float32(scale), "bias": jnp.float32(shift)}}
    w, v = (np.float64(params[f"Dense_{i}"]["kernel"]) for i in range(2))
    old = {"mean": rng.normal(size=5), "var": rng.uniform(1, 2, 5)}
    variables = Variables(params, {"BatchNorm_0": jax.tree.map(jnp.float32, old)})
    hidden = x @ w

    def expected(mean, variance) -> np.ndarray:
        normalised = (hidden - mean) / np.sqrt(variance + 1e-5)
        return np.maximum(normalised * scale + shift, 0) @ v

    y, new = networks.apply(network, variables, x, train=True)
    NEAR(y, expected(hidden.mean(axis=0), hidden.var(axis=0)))
    NEAR(new["BatchNorm_0"]["mean"], 0.95 * old["mean"] + 0.05 * hidden.mean(axis=0))
    NEAR(new["BatchNorm_0"]["var"], 0.95 * old["var"] + 0.05 * hidden.var(axis=0))
    y, same = networks.apply(network, variables, x)
    NEAR(y, expected(old["mean"], old["var"]))
    jax.tree.map(np.testing.assert_array_equal, same, variables.stats)


def effective(network: MLP, variables: Variables, train: bool = False) -> np.ndarray:
    """The matrix by which a linear network multiplies its input."""
    size = len(variables.params["Dense_0"]["kernel"])
    x = jnp.concatenate([jnp.eye(size), jnp.zeros((1, size))])
    y = np.asarray(networks.apply(network, variables, x, train=train)[0])
    return y[:-1] - y[-1]


SPECTRAL = mlp(widths=(5,), out_shape=(4,), activation="linear", spectral_norm=True)


@pytest.mark.parametrize("train", [False, True])
def test_spectral_norm_starts_at_1(train):
    # From a single power iteration on such matrices, spectral norms would be about 1.3.
    network = SPECTRAL.clone(widths=(200,), out_shape=(100,))
    variables = init(network, jnp.zeros((1, 300)))
    first, second = (np.float64(variables.params[f"Dense_{i}"]["kernel"]) for i in range(2))
    expected = first / np.linalg.norm(first, 2) @ second / np.linalg.norm(second, 2)
    actual = effective(network, variables, train)
    assert np.linalg.norm(actual - expected) < 0.05 * np.linalg.norm(expected)


def matrix(fan_in: int, fan_out: int) -> jax.Array:
    """A matrix with singular values 4, 2, 1, ..., on which the power method converges quickly."""
    rng = np.random.default_rng(fan_in)
    u, _ = np.linalg.qr(rng.normal(size=(fan_in, fan_in)))
    v, _ = np.linalg.qr(rng.normal(size=(fan_out, fan_out)))
    n = min(fan_in, fan_out)
    return jnp.float32((u[:, :n] * 4 / 2 ** np.arange(n)) @ v[:n])


@functools.cache
def moved() -> Variables:
    """SPECTRAL with other kernels than it started with, and biases of 1."""
    variables = init(SPECTRAL, jnp.zeros((1, 6)))
    params = {
        f"Dense_{i}": {"kernel": matrix(a, b), "bias": jnp.ones(b)}
        for i, (a, b) in enumerate([(6, 5), (5, 4)])
    }
    return variables._replace(params=params)


def test_spectral_norm_is_learned_in_training_only():
    variables = moved()
    _, same = networks.apply(SPECTRAL, variables, jnp.ones((2, 6)))
    jax.tree.map(np.testing.assert_array_equal, same, variables.stats)
    w = variables.params["Dense_0"]["kernel"]
    u = variables.stats["SpectralNorm_0"]["Dense_0/kernel/u"]
    _, new = networks.apply(SPECTRAL, variables, jnp.ones((2, 6)), train=True)
    v = u @ w.T / np.linalg.norm(u @ w.T)  # one power iteration
    NEAR(new["SpectralNorm_0"]["Dense_0/kernel/u"], v @ w / np.linalg.norm(v @ w))
    learn = jax.jit(functools.partial(networks.apply, SPECTRAL, train=True))
    for _ in range(30):
        variables = variables._replace(stats=learn(variables, jnp.ones((2, 6)))[1])
    first, second = (np.float64(variables.params[f"Dense_{i}"]["kernel"]) for i in range(2))
    NEAR(effective(SPECTRAL, variables), first / 4 @ second / 4)
    zero = networks.apply(SPECTRAL, variables, jnp.zeros((1, 6)))[0][0]
    NEAR(zero, np.ones(5) @ second / 4 + 1)  # biases are not normalised


def test_spectral_norm_is_differentiated():
    # The length of a normalised kernel has no effect, so the gradient is orthogonal to it.
    variables, x = moved(), jax.random.normal(jax.random.key(1), (4, 6))

    @jax.grad
    def grad(params):
        return jnp.sum(networks.apply(SPECTRAL, variables._replace(params=params), x)[0] ** 2)

    for layer, own in grad(variables.params).items():
        kernel = variables.params[layer]["kernel"]
        size = float(np.linalg.norm(own["kernel"]) * np.linalg.norm(kernel))
        assert size > 0.1
        assert abs(np.sum(own["kernel"] * kernel)) < 1e-5 * size
