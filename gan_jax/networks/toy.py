"""Networks for problems with known solutions."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Monotone(nn.Module):
    """A strictly increasing generator on the line, so that its density is known.

    G(z) = c + a z + mean over units of v tanh(w z + b), where a, v and w are softplus of trained
    parameters. The mean keeps the initial slope of order 1 for any number of units.
    """

    units: int
    out_shape: tuple[int, ...] = (1,)

    @nn.compact
    def __call__(
        self, z: jax.Array, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps (batch, 1) to (batch, 1)."""
        normal, zeros = nn.initializers.normal(1.0), nn.initializers.zeros
        a, c = self.param("a", zeros, (1,)), self.param("c", zeros, (1,))
        w, b, v = (self.param(name, normal, (self.units,)) for name in "wbv")
        hidden = jnp.tanh(nn.softplus(w) * z + b)
        return c + nn.softplus(a) * z + hidden @ nn.softplus(v)[:, None] / self.units
