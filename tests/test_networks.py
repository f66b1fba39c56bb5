"""Tests of gan_jax.networks: shapes, forward passes by NumPy, and how weights are drawn."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import networks
from gan_jax.networks import ACTIVATIONS, INITIALIZERS, MLP, OUTPUTS


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
    """The output of a network that keeps nothing besides parameters."""
    return networks.apply(network, networks.Variables(params, {}), x, key)[0]


def square(initializer: str, **changes) -> MLP:
    """Three layers of one shape, which compiles its draws only once."""
    return mlp(widths=(5, 5), out_shape=(5,), initializer=initializer, **changes)


def drawn(network: MLP, fan_in: int, seed: int = 0):
    """The network's parameters, layer by layer, as pairs (kernel, bias)."""
    x = jnp.zeros((1, fan_in))
    params = networks.init(network, jax.random.key(seed), x, jnp.zeros(network.out_shape)).params
    return [(np.asarray(p["kernel"]), np.asarray(p["bias"])) for _, p in sorted(params.items())]


@pytest.mark.parametrize("out_shape", [(), (2,), (4, 4, 1)])
@pytest.mark.parametrize("in_shape", [(3,), (4, 4, 1)])
@pytest.mark.parametrize("widths", [(), (5,), (5, 3)])
def test_shapes(widths, in_shape, out_shape):
    network = mlp(widths=widths, out_shape=out_shape)
    x = jnp.ones((7, *in_shape))
    mean = jnp.zeros(out_shape)
    params, _ = jax.eval_shape(
        functools.partial(networks.init, network), jax.random.key(0), x, mean
    )
    out = jax.eval_shape(functools.partial(run, network), params, x)
    assert out.shape == (7, *out_shape)
    assert out.dtype == jnp.float32
    sizes = (math.prod(in_shape), *widths, math.prod(out_shape))
    layers = [params[f"Dense_{i}"] for i in range(len(sizes) - 1)]
    assert [p["kernel"].shape for p in layers] == list(itertools.pairwise(sizes))
    assert [p["bias"].shape for p in layers] == [(size,) for size in sizes[1:]]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_pass_is_that_of_numpy(activation, output):
    network = mlp(activation=activation, output=output)
    rng = np.random.default_rng(0)
    sizes = (4, 5, 3, 16)
    layers = [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in itertools.pairwise(sizes)]
    x = rng.normal(size=(6, 2, 2, 1))
    act = {
        "relu": lambda h: np.maximum(h, 0),
        "linear": lambda h: h,
        "leaky_relu": lambda h: np.where(h > 0, h, 0.2 * h),
        "tanh": np.tanh,
    }[activation]
    out = {"linear": lambda h: h, "sigmoid": lambda h: 1 / (1 + np.exp(-h))}
    h = x.reshape(6, 4)
    for w, b in layers[:-1]:
        h = act(h @ w + b)
    expected = out[output](h @ layers[-1][0] + layers[-1][1]).reshape(6, 4, 4, 1)
    params = {f"Dense_{i}": {"kernel": w, "bias": b} for i, (w, b) in enumerate(layers)}
    params = jax.tree.map(jnp.float32, params)
    actual = run(network, params, jnp.float32(x))
    # the sums have at most 5 terms of size 10: float32 is good to 1e-5 of them
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_batch_is_mapped_example_by_example():
    network = mlp(output="sigmoid")
    x = jax.random.normal(jax.random.key(1), (5, 3))
    params = networks.init(network, jax.random.key(0), x, jnp.zeros(network.out_shape)).params
    whole = run(network, params, x)
    one_by_one = [run(network, params, x[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(whole, one_by_one, rtol=1e-6, atol=1e-7)


def test_maxout_takes_the_largest_of_its_pieces():
    network = mlp(widths=(3,), out_shape=(3,), activation="linear", pieces=2)
    x = np.random.default_rng(0).normal(size=(6, 4))
    (w, b), (v, c) = (
        (np.random.default_rng(i).normal(size=shape), np.arange(shape[1]) / 3)
        for i, shape in enumerate([(4, 6), (3, 3)], 1)
    )
    affine = x @ w + b
    units = np.maximum(affine[:, 0::2], affine[:, 1::2])  # unit by unit, its two pieces in turn
    params = {"Dense_0": {"kernel": w, "bias": b}, "Dense_1": {"kernel": v, "bias": c}}
    actual = run(network, jax.tree.map(jnp.float32, params), jnp.float32(x))
    np.testing.assert_allclose(actual, units @ v + c, rtol=1e-4, atol=1e-5)


def identity(width: int, **changes):
    """A network that passes its input through a hidden layer as it is, and its parameters."""
    network = mlp(widths=(width,), out_shape=(width,), activation="linear", **changes)
    layer = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    return network, {"Dense_0": layer, "Dense_1": layer}


@pytest.mark.parametrize(("field", "rate"), [("input_dropout", 0.2), ("dropout", 0.5)])
def test_dropout_drops_its_share_and_scales_up_what_it_keeps(field, rate):
    network, params = identity(100, **{field: rate})
    out = run(network, params, jnp.ones((200, 100)), jax.random.key(0))
    assert set(np.unique(out).tolist()) == {0.0, np.float32(1 / (1 - rate)).item()}
    error = np.sqrt(rate * (1 - rate) / out.size)
    np.testing.assert_allclose(np.mean(out == 0), rate, atol=5 * error)
    assert len(np.unique(out, axis=0)) == 200  # each example has a mask of its own
    assert len(np.unique(out, axis=1).T) == 100


def test_layers_drop_out_independently():
    network, params = identity(100, input_dropout=0.5, dropout=0.5)
    out = run(network, params, jnp.ones((200, 100)), jax.random.key(0))
    np.testing.assert_allclose(np.mean(out != 0), 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 20_000))


def test_a_key_decides_the_masks_and_without_one_nothing_is_dropped():
    network, params = identity(20, input_dropout=0.5, dropout=0.5)
    x = jnp.arange(60.0).reshape(3, 20)
    one, again, two = (run(network, params, x, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != two)
    np.testing.assert_array_equal(run(network, params, x), x)


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_bias_of_the_data_mean_starts_the_network_there(output):
    mean = jnp.array([[0.0, 0.3], [0.9, 1.0]])[..., None]
    network = mlp(out_shape=mean.shape, output=output, output_bias="data_mean", init_scale=1e-9)
    x = jnp.ones((1, 4))
    params = networks.init(network, jax.random.key(0), x, mean).params
    # A sigmoid that must reach 0 or 1 is stopped at 1e-7 from them.
    np.testing.assert_allclose(run(network, params, x)[0], mean, atol=2e-7)
    assert not params["Dense_0"]["bias"].any()
    plain = networks.init(
        mlp(out_shape=mean.shape, init_scale=1e-9), jax.random.key(0), x, mean
    ).params
    np.testing.assert_array_equal(plain["Dense_2"]["kernel"], params["Dense_2"]["kernel"])
    assert not plain["Dense_2"]["bias"].any()


def test_sigmoid_output_keeps_to_0_and_1_and_reaches_both():
    x = 1e4 * jax.random.normal(jax.random.key(1), (50, 3))
    network = mlp(output="sigmoid")
    out = run(
        network,
        networks.init(network, jax.random.key(0), x, jnp.zeros(network.out_shape)).params,
        x,
    )
    assert out.min() == 0
    assert out.max() == 1


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_biases_start_at_zero_and_weights_do_not(initializer):
    for kernel, bias in drawn(square(initializer), 5):
        assert not bias.any()
        assert kernel.all()


def assert_moments(w: np.ndarray, std: float) -> None:
    """Mean 0 and the given standard deviation, within five standard errors."""
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    # for the normal; the uniform's standard error is smaller
    np.testing.assert_allclose(w.std(), std, rtol=5 / math.sqrt(2 * w.size))


def assert_normal_tails(w: np.ndarray, std: float) -> None:
    """The normal's share beyond 1, 2 and 3 std; a truncated one has nothing beyond 2.3."""
    for bound in (1, 2, 3):
        share = math.erfc(bound / math.sqrt(2))
        error = math.sqrt(share * (1 - share) / w.size)
        assert abs(np.mean(np.abs(w) > bound * std) - share) < 5 * error, bound


def test_he_normal_has_std_one_over_root_of_half_the_fan_in_and_is_not_truncated():
    network = mlp(widths=(300, 200), out_shape=(100,), initializer="he_normal")
    for (kernel, _), fan_in in zip(drawn(network, 400), (400, 300, 200), strict=True):
        std = 1 / math.sqrt(fan_in / 2)
        assert_moments(kernel, std)
        assert_normal_tails(kernel, std)


def test_uniform_keeps_to_its_range_fills_it_and_ignores_the_width():
    scale = 0.05
    network = mlp(widths=(300, 200), out_shape=(100,), initializer="uniform", init_scale=scale)
    for kernel, _ in drawn(network, 400):
        assert -scale <= kernel.min() < -0.99 * scale
        assert 0.99 * scale < kernel.max() <= scale
        assert_moments(kernel, scale / math.sqrt(3))
        counts, _ = np.histogram(kernel, bins=10, range=(-scale, scale))
        # five standard errors of a bin's count
        np.testing.assert_allclose(counts, kernel.size / 10, atol=5 * math.sqrt(kernel.size * 0.09))


def test_normal_has_std_scale_whatever_the_width_and_is_not_truncated():
    scale = 0.02
    network = mlp(widths=(300, 200), out_shape=(100,), initializer="normal", init_scale=scale)
    for kernel, _ in drawn(network, 400):
        assert_moments(kernel, scale)
        assert_normal_tails(kernel, scale)


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_the_scale_multiplies_the_weights(initializer):
    one, half = (drawn(square(initializer, init_scale=s), 5) for s in (1.0, 0.5))
    for (kernel, _), (halved, _) in zip(one, half, strict=True):
        np.testing.assert_allclose(halved, 0.5 * kernel, rtol=1e-5)


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_layers_and_seeds_draw_differently_and_a_seed_draws_the_same_again(initializer):
    network = square(initializer)
    (a, _), (b, _), (c, _) = drawn(network, 5)
    scale = np.abs(a).max()
    assert min(np.abs(a - b).max(), np.abs(b - c).max()) > 0.1 * scale
    np.testing.assert_array_equal(drawn(network, 5)[0][0], a)
    assert np.abs(drawn(network, 5, seed=1)[0][0] - a).max() > 0.1 * scale


# Networks that keep statistics.


def test_a_network_without_normalisation_keeps_nothing():
    x = jnp.ones((4, 3))
    for train in (False, True):
        variables = networks.init(mlp(), jax.random.key(0), x, jnp.zeros((4, 4, 1)))
        assert variables.stats == {}
        assert networks.apply(mlp(), variables, x, None, train)[1] == {}


def normalised_by(h: np.ndarray, mean, variance) -> np.ndarray:
    return (h - mean) / np.sqrt(variance + 1e-5)


def test_batch_norm_normalises_by_the_batch_in_training_and_by_what_it_learned_after():
    network = mlp(widths=(5,), out_shape=(3,), batch_norm=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4))
    variables = networks.init(network, jax.random.key(0), jnp.float32(x), jnp.zeros(3))
    scale, shift = rng.normal(size=(2, 5))  # which are learned, and of which the shift is the bias
    params = variables.params | {
        "BatchNorm_0": jax.tree.map(jnp.float32, {"scale": scale, "bias": shift})
    }
    assert params["Dense_0"].keys() == {"kernel"}
    assert params["Dense_1"].keys() == {"kernel", "bias"}
    w, v = (np.float64(params[f"Dense_{i}"]["kernel"]) for i in range(2))
    old = {"mean": rng.normal(size=5), "var": rng.uniform(1, 2, 5)}
    stats = {"BatchNorm_0": jax.tree.map(jnp.float32, old)}
    hidden = x @ w
    near = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)

    def expected(mean, variance) -> np.ndarray:
        return np.maximum(normalised_by(hidden, mean, variance) * scale + shift, 0) @ v

    run = functools.partial(networks.apply, network, networks.Variables(params, stats), x)
    y, new = run(train=True)
    near(y, expected(hidden.mean(axis=0), hidden.var(axis=0)))
    near(new["BatchNorm_0"]["mean"], 0.95 * old["mean"] + 0.05 * hidden.mean(axis=0))
    near(new["BatchNorm_0"]["var"], 0.95 * old["var"] + 0.05 * hidden.var(axis=0))
    y, same = run()
    near(y, expected(old["mean"], old["var"]))
    jax.tree.map(np.testing.assert_array_equal, same, stats)


def matrix(fan_in: int, fan_out: int) -> jax.Array:
    """A weight matrix whose singular values, 4, 2, 1, ..., the power method tells apart quickly."""
    rng = np.random.default_rng(fan_in)
    u, _ = np.linalg.qr(rng.normal(size=(fan_in, fan_in)))
    v, _ = np.linalg.qr(rng.normal(size=(fan_out, fan_out)))
    n = min(fan_in, fan_out)
    return jnp.float32((u[:, :n] * 4 / 2 ** np.arange(n)) @ v[:n])


def spectral(*widths: int) -> tuple[MLP, networks.Variables]:
    """A network of such matrices, and biases of 1, from 6 inputs to a logit."""
    network = mlp(widths=widths, out_shape=(), activation="linear", spectral_norm=True)
    variables = networks.init(network, jax.random.key(0), jnp.zeros((1, 6)), jnp.zeros(()))
    params = {
        f"Dense_{i}": {"kernel": matrix(a, b), "bias": jnp.ones(b)}
        for i, (a, b) in enumerate(itertools.pairwise((6, *widths, 1)))
    }
    shapes = functools.partial(jax.tree.map, jnp.shape)
    assert shapes(params) == shapes(variables.params)
    return network, variables._replace(params=params)


def affine(network: MLP, variables: networks.Variables, train: bool) -> tuple[np.ndarray, float]:
    """The weights by which a linear network multiplies its input, and what it adds."""
    x = jnp.concatenate([jnp.eye(6), jnp.zeros((1, 6))])
    y = np.asarray(networks.apply(network, variables, x, None, train)[0])
    return y[:-1] - y[-1], y[-1]


@pytest.mark.parametrize("train", [False, True])
def test_spectral_norm_makes_a_linear_critic_1_lipschitz_at_once(train):
    network, variables = spectral()
    weights, bias = affine(network, variables, train)
    kernel = np.asarray(variables.params["Dense_0"]["kernel"])[:, 0]
    np.testing.assert_allclose(weights, kernel / np.linalg.norm(kernel), rtol=1e-5)
    assert bias == 1  # which is no matrix


def test_spectral_norm_divides_each_matrix_by_its_largest_singular_value():
    network, variables = spectral(5)
    first, second = (np.float64(variables.params[f"Dense_{i}"]["kernel"]) for i in range(2))
    learn = jax.jit(functools.partial(networks.apply, network, train=True))
    for _ in range(30):
        _, stats = learn(variables, jnp.ones((2, 6)))
        variables = variables._replace(stats=stats)
    values, rows = np.linalg.svd(first)[1:]
    kept = {name.rpartition("/")[2]: x for name, x in stats["SpectralNorm_0"].items()}
    np.testing.assert_allclose(kept["sigma"], values[0], rtol=1e-5)
    np.testing.assert_allclose(abs(kept["u"] @ rows[0]), 1, rtol=1e-5)  # up to its sign
    expected = first / values[0] @ second / np.linalg.norm(second)
    np.testing.assert_allclose(affine(network, variables, False)[0], expected[:, 0], rtol=1e-4)


def test_spectral_norm_learns_in_training_alone_and_a_step_at_a_time():
    network, variables = spectral(5)
    x = jnp.ones((2, 6))
    _, same = networks.apply(network, variables, x)
    jax.tree.map(np.testing.assert_array_equal, same, variables.stats)
    _, new = networks.apply(network, variables, x, train=True)
    u = variables.stats["SpectralNorm_0"]["Dense_0/kernel/u"]
    w = variables.params["Dense_0"]["kernel"]
    v = u @ w.T / np.linalg.norm(u @ w.T)
    one = v @ w / np.linalg.norm(v @ w)
    np.testing.assert_allclose(new["SpectralNorm_0"]["Dense_0/kernel/u"], one, rtol=1e-4, atol=1e-6)


def test_the_length_of_a_normalised_matrix_has_no_gradient():
    # Which holds only where the gradient knows of the division.
    network, variables = spectral(5)
    x = jax.random.normal(jax.random.key(1), (4, 6))

    @jax.grad
    def grad(params):
        return jnp.sum(networks.apply(network, variables._replace(params=params), x)[0] ** 2)

    for layer, own in grad(variables.params).items():
        kernel = variables.params[layer]["kernel"]
        size = float(np.linalg.norm(own["kernel"]) * np.linalg.norm(kernel))
        assert size > 0.1
        assert abs(np.sum(own["kernel"] * kernel)) < 1e-5 * size
