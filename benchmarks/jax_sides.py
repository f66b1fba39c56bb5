"""What `speed.py` holds gan_jax against, in JAX: the limit, and the plain Python loop."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import algorithm, core
from gan_jax.core import Game, HParams, Role, State

Steps = Callable[[int], Any]  # runs that many iterations, and returns when they are done


@jax.jit
def _matmuls(g: Any, d: Any, real: jax.Array, z: Any, num_steps: int) -> Any:
    """The matrix products of `num_steps` iterations, and next to nothing else.

    They hang together so that none can be left out, hoisted from the loop or joined to another:
    every product goes into a later one or into the loop's result, some weights are products of the
    iteration before, and a barrier parts D's step from G's. A tanh where the loss would be, on the
    (batch, 1) logits, keeps all numbers within bounds for ever.
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
        return (w1, v1, u1), (dv2, du2, dw2)  # the second half is never read, but returned

    start = (w1, v1, v1), (v2, v2, w2)
    return jax.lax.fori_loop(0, num_steps, body, start)


def limit(game: Game, state: State, images: jax.Array) -> tuple[Steps, dict[str, float]]:
    """The limit, and what shows that XLA left it whole: products in the loop, and flops."""
    real = core.draw_real(game, state, images, jnp.int32(0)).reshape(game.batch_size, -1)
    keys = [core.role_key(state.key, role) for role in (Role.NOISE_D, Role.NOISE_G)]
    z = [core.sample_noise(game, key, game.batch_size) for key in keys]
    arguments = state.g.params, state.d.params, real, z
    lowered = _matmuls.lower(*arguments, 1)
    compiled = lowered.compile()
    product = r'(?:\bdot\(|custom_call_target="__[^"]*(?:gemm|matmul))'
    inside, outside = (len(re.findall(product, s)) for s in compiled.as_text().split("\nENTRY "))
    written, left = (stage.cost_analysis()["flops"] for stage in (lowered, compiled))
    # XLA writes products with a (batch, 1) operand in other ways, by device. All 8 of them have
    # 0.1 % of the flops, and each of the other 13 more than 1 %.
    assert 13 <= inside <= 21, f"{inside} products in the loop"
    assert outside == 0, f"{outside} products hoisted"
    assert abs(left / written - 1) < 0.01, f"{left} flops, not {written}"
    end = _matmuls(*arguments, 1000)
    sizes = [float(jnp.abs(x).max()) for x in jax.tree.leaves(end)]
    assert all(1e-6 < size < 1e6 for size in sizes), f"sizes {sizes}"
    side = functools.partial(_matmuls, *arguments)
    return lambda n: jax.block_until_ready(side(n)), {"products": inside, "flops": left}


def python_loop(game: Game, hparams: HParams, state: State, images: jax.Array) -> Steps:
    """What train_chunk does with k = 1, by five calls an iteration."""
    real = jax.jit(functools.partial(core.draw_real, game))

    @functools.partial(jax.jit, static_argnames="role")
    def noise(key: jax.Array, number: int, role: Role) -> jax.Array:
        return core.sample_noise(game, core.role_key(key, role, number), game.batch_size)

    def steps(num: int) -> None:
        now = state
        key = jax.random.key(0)  # of dropout, of which there is none
        for i in np.arange(num, dtype=np.int32):
            now = now._replace(step=i)
            x, z = real(now, images, i), noise(now.key, i, role=Role.NOISE_D)
            now, _ = algorithm.d_step(game, hparams, now, x, z, key)
            z = noise(now.key, i, role=Role.NOISE_G)
            now, _ = algorithm.g_step(game, hparams, now, x, z, key)
        jax.block_until_ready(now)

    return steps
