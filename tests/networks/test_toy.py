"""Tests of gan_jax.networks.toy."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import networks
from gan_jax.networks import Monotone


def test_monotone_generator():
    wide = networks.init(Monotone(4000), jax.random.key(0), jnp.zeros((1, 1)), jnp.zeros(1)).params
    for name in "bvw":  # standard normal
        assert abs(np.mean(wide[name])) < 0.1
        np.testing.assert_allclose(np.std(wide[name]), 1, rtol=0.06)
    network, z = Monotone(units=7), np.linspace(-3, 3, 50)[:, None]
    variables = networks.init(network, jax.random.key(0), jnp.zeros((1, 1)), jnp.zeros(1))
    params = variables.params
    assert {name: x.shape for name, x in params.items()} == {
        **dict.fromkeys("ac", (1,)),
        **dict.fromkeys("bvw", (7,)),
    }
    assert (params["a"], params["c"]) == (0, 0)
    params |= {"a": jnp.array([-0.5]), "c": jnp.array([2.0])}
    y, _ = networks.apply(network, variables._replace(params=params), jnp.float32(z))
    a, c, w, b, v = (np.float64(params[name]) for name in "acwbv")
    a, v, w = (np.logaddexp(0, x) for x in (a, v, w))
    np.testing.assert_allclose(y, c + a * z + np.tanh(w * z + b) @ v[:, None] / 7, rtol=1e-5)
    assert np.all(np.diff(y[:, 0]) > 0)
