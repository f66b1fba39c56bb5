"""The JAX sides of the speed comparisons: gan_jax, the limit, and a plain Python loop."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import Steps
from ml_collections import ConfigDict

from gan_jax import algorithms
from gan_jax import config as config_lib
from gan_jax import population as population_lib
from gan_jax.algorithms import Spec, gan
from gan_jax.data import from_arrays
from gan_jax.draws import Batch, Stream, minibatch, noise, stream_key
from gan_jax.spec import HParams
from gan_jax.state import State


def population(config: ConfigDict, images: np.ndarray, size: int = 1) -> Steps:
    """Training as gan_jax.main (size 1) and gan_jax.sweep run it; each call continues the last."""
    members = population_lib.create(
        [config_lib.replace(config, {"seed": seed}) for seed in range(size)], from_arrays(images)
    )
    states, step, active = population_lib.init(members), 0, np.ones(size, bool)

    def steps(num: int) -> None:
        nonlocal states, step
        end = step + num
        while step < end:
            length = min(end - step, population_lib.longest_chunk(members, step))
            states, _ = population_lib.train_chunk(members, states, step, length, active)
            step += length

    return steps


def _start(config: ConfigDict, images: np.ndarray) -> tuple[Spec, HParams, State, Batch]:
    spec, hparams = config_lib.spec(config, images.shape[1:]), config_lib.hparams(config)
    batch = Batch(jax.device_put(images))
    return spec, hparams, algorithms.init(spec, hparams, config.seed, batch), batch


@jax.jit
def _matmuls(g: Any, d: Any, real: jax.Array, z: Any, num_steps: int) -> Any:
    """The 21 matrix products of each of `num_steps` iterations, and next to nothing else.

    XLA cannot remove, hoist or merge any of them: each product feeds a later one or the result,
    weights are carried from iteration to iteration, and a barrier separates D's step from G's.
    tanh on the (batch, 1) logits stands in for the loss and keeps all numbers bounded.
    """
    w1, w2, v1, v2 = (p[layer]["kernel"] for p in (g, d) for layer in ("Dense_0", "Dense_1"))

    def dlogits(logits: jax.Array) -> jax.Array:
        return jnp.tanh(logits) / len(logits)

    def body(_: Any, carry: Any) -> Any:
        w1, v1, u1 = carry[0]
        fake = (z[0] @ w1) @ w2
        real_hidden, fake_hidden = real @ v1, fake @ u1
        real_dlogits, fake_dlogits = dlogits(real_hidden @ v2), dlogits(fake_hidden @ v2)
        dv2, du2 = real_hidden.T @ real_dlogits, fake_hidden.T @ fake_dlogits
        v1, u1 = real.T @ (real_dlogits @ v2.T), fake.T @ (fake_dlogits @ v2.T)

        z_g, v1 = jax.lax.optimization_barrier((z[1], v1))
        hidden = z_g @ w1
        dx = (dlogits(((hidden @ w2) @ v1) @ v2) @ v2.T) @ v1.T
        dw2, w1 = hidden.T @ dx, z_g.T @ (dx @ w2.T)
        return (w1, v1, u1), (dv2, du2, dw2)  # the second half is never read, only returned

    start = (w1, v1, v1), (v2, v2, w2)
    return jax.lax.fori_loop(0, num_steps, body, start)


def limit(config: ConfigDict, images: np.ndarray) -> Steps:
    """The matrix products alone, of MLPs with one hidden layer of equal width each.

    Raises:
      AssertionError: XLA removed some of them, or numbers vanish or explode.
    """
    spec, _, state, batch = _start(config, images)
    real = minibatch(spec.batch_size, state.key, batch, 0).x.reshape(spec.batch_size, -1)
    streams = Stream.NOISE_D, Stream.NOISE_G
    z = [noise(spec, stream_key(state.key, stream), spec.batch_size) for stream in streams]
    arguments = state.players["g"].params, state.players["d"].params, real, z
    if jax.default_backend() == "cpu":  # a GPU's analysis does not count cuBLAS calls
        flops = _matmuls.lower(*arguments, 1).compile().cost_analysis()["flops"]
        pixels, hidden = arguments[1]["Dense_0"]["kernel"].shape
        expected = 2 * spec.batch_size * hidden * (3 * spec.z_dim + 10 * pixels + 8)
        assert abs(flops / expected - 1) < 0.01, f"{flops} flops, not {expected}"
    sizes = [float(jnp.abs(x).max()) for x in jax.tree.leaves(_matmuls(*arguments, 1000))]
    assert all(1e-6 < size < 1e6 for size in sizes), f"sizes {sizes}"
    return lambda num: jax.block_until_ready(_matmuls(*arguments, num))


def python_loop(config: ConfigDict, images: np.ndarray) -> Steps:
    """An iteration with k = 1 as five jitted calls."""
    spec, hparams, state, batch = _start(config, images)
    assert spec.k == 1
    real = jax.jit(functools.partial(minibatch, spec.batch_size))

    @functools.partial(jax.jit, static_argnames="stream")
    def latent(key: jax.Array, number: int, stream: Stream) -> jax.Array:
        return noise(spec, stream_key(key, stream, number), spec.batch_size)

    def steps(num: int) -> None:
        now, key = state, jax.random.key(0)  # there is no dropout
        for i in np.arange(num, dtype=np.int32):
            now = now._replace(step=i)
            x = real(now.key, batch, i)
            now, _ = gan.d_step(
                spec, hparams, now, x, latent(now.key, i, stream=Stream.NOISE_D), key
            )
            now, _ = gan.g_step(
                spec, hparams, now, x, latent(now.key, i, stream=Stream.NOISE_G), key
            )
        jax.block_until_ready(now)

    return steps
