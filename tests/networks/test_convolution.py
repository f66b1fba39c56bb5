"""Tests of gan_jax.networks.convolution: against XLA's own, in loops and under vmap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.networks.convolution import convolution, transposed_convolution

CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)


def native(x, kernel, strides, padding, groups):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def random_case(seed):
    """(x, kernel), (strides, padding, groups), also with pixels that no window sees.

    No window is 2: on some of those XLA's own gradients abort.
    """
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 3]))
    channels, features = (groups * rng.integers(1, 4, 2)).tolist()
    window, strides = rng.choice([1, 3, 4, 5], 2).tolist(), tuple(rng.integers(1, 4, 2).tolist())
    padding = tuple(map(tuple, rng.integers(0, 4, (2, 2)).tolist()))
    size = [max(w - sum(p), 1) + rng.integers(0, 9) for w, p in zip(window, padding, strict=True)]
    x = rng.standard_normal((rng.integers(1, 4), *size, channels), np.float32)
    kernel = rng.standard_normal((*window, channels // groups, features), np.float32)
    return (x, kernel / np.sqrt(kernel.size / features)), (strides, padding, groups)


def derivatives(f, x, kernel):
    """Value, gradients, and gradients of a function of the gradients."""

    def loss(x, kernel):
        return jnp.sum(jnp.tanh(f(x, kernel)))

    def penalty(x, kernel):
        return sum(jnp.sum(jnp.sin(g)) for g in jax.grad(loss, (0, 1))(x, kernel))

    return f(x, kernel), jax.grad(loss, (0, 1))(x, kernel), jax.grad(penalty, (0, 1))(x, kernel)


# Of 40, these have every pair of stride, group, padding, window and unseen pixels that occurs.
MORE = (5, 8, 9, 10, 12, 16, 17, 20, 26, 29, 30, 31, 35, 36, 38)
SEEDS = [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in MORE)]


@pytest.mark.parametrize("seed", SEEDS)
def test_values_and_two_derivatives_match_xla(seed):
    (x, kernel), (strides, padding, groups) = random_case(seed)
    named = {"strides": strides, "padding": padding, "groups": groups}
    ours, theirs = (
        jax.jit(functools.partial(derivatives, functools.partial(f, **named)))(x, kernel)
        for f in (convolution, native)
    )
    jax.tree.map(CLOSE, ours, theirs)


@pytest.mark.parametrize("seed", range(5))
def test_transposed_convolution_is_the_transpose(seed):
    (x, kernel), (strides, padding, groups) = random_case(seed)
    y = np.asarray(native(x, kernel, strides, padding, groups))
    # The smallest input with this output: the transpose of y has no pixels beyond.
    seen = [
        (n - 1) * stride + w - sum(pad)
        for n, stride, w, pad in zip(y.shape[1:3], strides, kernel.shape[:2], padding, strict=True)
    ]
    x = np.ones((len(x), *seen, x.shape[3]), np.float32)
    f = functools.partial(native, kernel=kernel, strides=strides, padding=padding, groups=groups)
    expected = jax.vjp(f, x)[1](y)[0]
    CLOSE(transposed_convolution(y, kernel, strides, padding, groups), expected)


def test_window_of_two_on_a_map_smaller_than_it():
    """XLA's own gradient aborts on this shape; <y, conv(x)> = <transpose(y), x> holds."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((3, 6, 5, 2)), jnp.float32(rng.standard_normal((2, 5, 2, 2)))
    f = jax.jit(lambda x: convolution(x, kernel, (2, 2), ((1, 1), (3, 0))))
    y, transpose = jax.vjp(f, jnp.float32(x))
    ct = rng.standard_normal(y.shape)
    CLOSE(np.sum(ct * y), np.sum(transpose(jnp.float32(ct))[0] * x))


@pytest.mark.parametrize("how", ["scan", "map", "vmap"])
def test_gradients_inside_loops(how):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((3, 2, 6, 5, 4)), rng.standard_normal((3, 2, 2, 6)) / 5
    x, kernel = jnp.float32(x), jnp.float32(kernel)
    geometry = (2, 1), ((1, 2), (0, 1)), 2

    def penalty(f, x):
        def loss(x, kernel):
            return jnp.sum(f(x, kernel, *geometry) ** 3)

        return jax.grad(lambda k: jnp.sum(jax.grad(loss)(x, k) ** 2))(kernel)

    loop = {
        "scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0, x)[1],
        "map": lambda f: jax.lax.map(f, x),
        "vmap": lambda f: jax.vmap(f)(x),
    }[how]
    ours = jax.jit(lambda: loop(functools.partial(penalty, convolution)))()
    theirs = jax.jit(lambda: jnp.stack([penalty(native, example) for example in x]))()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_bfloat16_is_summed_in_float32(strides):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((4, 16, 16, 8)), jnp.bfloat16)
    kernel = jnp.asarray(rng.standard_normal((8, 8, 8, 8)) / 8, jnp.bfloat16)
    geometry = strides, ((3, 4), (4, 3))

    @jax.jit
    def gradients(x, kernel):
        y, vjp = jax.vjp(lambda x, kernel: convolution(x, kernel, *geometry), x, kernel)
        return vjp(jnp.ones_like(y) * jnp.arange(8, dtype=y.dtype))

    found = gradients(x, kernel)
    exact = gradients(jnp.float32(x), jnp.float32(kernel))
    for rounded, value in zip(found, exact, strict=True):
        assert rounded.dtype == jnp.bfloat16
        error = jnp.sqrt(jnp.mean((jnp.float32(rounded) - value) ** 2) / jnp.mean(value**2))
        assert error < 0.0025  # one rounding: at most 2^-9, 0.0017 on average


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_window_larger_than_the_input(strides):
    x, kernel = jnp.ones((2, 2, 4, 3)), jnp.ones((3, 3, 3, 5))
    y, vjp = jax.vjp(lambda x, kernel: convolution(x, kernel, strides), x, kernel)
    assert y.size == 0
    for gradient, primal in zip(vjp(y), (x, kernel), strict=True):
        np.testing.assert_array_equal(gradient, np.zeros_like(primal))


def test_rejects_negative_padding():
    with pytest.raises(ValueError, match="padding"):
        convolution(jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 1)), padding=((-1, 1), (0, 0)))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_form_by_platform(platform, strides):
    """On CPU only forward convolutions in its fast layout; elsewhere grouped ones, natively."""

    def loss(x, kernel):
        return jnp.sum(convolution(x, kernel, strides, ((1, 1), (1, 1)), 2) ** 2)

    def train(x, kernel):
        return jax.lax.map(jax.grad(lambda x: loss(x, kernel)), x), jax.grad(loss, 1)(x[0], kernel)

    shapes = (
        jax.ShapeDtypeStruct((2, 3, 8, 8, 4), "float32"),
        jax.ShapeDtypeStruct((4, 4, 2, 6), "float32"),
    )
    exported = jax.export.export(jax.jit(train), platforms=[platform])(*shapes)
    convolutions = [
        line for line in exported.mlir_module().splitlines() if "stablehlo.convolution" in line
    ]
    assert convolutions
    fast = all(
        "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in line and "feature_group_count = 1" in line
        for line in convolutions
    )
    assert fast == (platform == "cpu")
