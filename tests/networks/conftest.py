"""Reference layers in float64 NumPy, and networks with random parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal

from gan_jax import config, networks
from gan_jax.networks import Network, Variables

NEAR = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)

apply = jax.jit(networks.apply, static_argnames=("network", "train"))


@functools.partial(jax.jit, static_argnums=(0, 1))
def init(network: Network, shape: tuple[int, ...], seed: int = 0, mean=None, y=None) -> Variables:
    """Initial variables for inputs of shape (1, *shape), and conditions if given."""
    key = jax.random.key(seed, impl="unsafe_rbg")  # compiles faster than Threefry
    mean = jnp.zeros(network.out_shape) if mean is None else mean
    return networks.init(network, key, jnp.zeros((1, *shape)), mean, y)


def shapes(network: Network, *shape: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters by dotted name."""
    params = jax.eval_shape(lambda: init(network, shape).params)
    return {name: x.shape for name, x in config.flatten(params).items()}


def randomised(network: Network, *shape: int, y=None) -> tuple[Variables, dict, dict]:
    """Variables with random parameters and statistics, and both by dotted name."""
    rng = np.random.default_rng(0)
    params, stats = jax.eval_shape(lambda: init(network, shape, y=y))
    params = jax.tree.map(lambda x: jnp.float32(rng.normal(size=x.shape) / 2), params)
    stats = jax.tree.map(lambda x: jnp.float32(rng.uniform(0.5, 2, x.shape)), stats)
    flat = (jax.tree.map(np.float64, config.flatten(tree)) for tree in (params, stats))
    return Variables(params, stats), *flat


def assert_normal(w: np.ndarray, std: float, mean: float = 0.0) -> None:
    """Five standard errors."""
    np.testing.assert_allclose(np.mean(w), mean, atol=5 * std / np.sqrt(w.size))
    np.testing.assert_allclose(np.std(w), std, rtol=5 / np.sqrt(2 * w.size))


def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 1, groups: int = 1) -> np.ndarray:
    """Cross-correlation, NHWC and HWIO, padded by (window - 1) // 2."""
    pad = (0, 0), ((len(kernel) - 1) // 2,) * 2, ((len(kernel) - 1) // 2,) * 2, (0, 0)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, pad), kernel.shape[:2], (1, 2))
    blocks = zip(
        np.split(windows[:, ::stride, ::stride], groups, axis=3),
        np.split(kernel, groups, axis=3),
        strict=True,
    )
    return np.concatenate([np.einsum("bxycij,ijcf->bxyf", w, k) for w, k in blocks], axis=3)


def upconv(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """ConvTranspose2d(kernel_size=4, stride=2, padding=1): every pixel adds a 4x4 patch."""
    batch, height, width, _ = x.shape
    y = np.zeros((batch, 2 * height + 2, 2 * width + 2, kernel.shape[2]))
    for i, j in np.ndindex(height, width):
        y[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("bf,ijcf->bijc", x[:, i, j], kernel)
    return y[:, 1:-1, 1:-1]


def batch_norm(x: np.ndarray, params: dict, name: str, stats: dict | None = None) -> np.ndarray:
    """Normalises by minibatch statistics, or by running ones if given."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    if stats is not None:
        mean, var = stats[f"{name}.mean"], stats[f"{name}.var"]
    x = (x - mean) / np.sqrt(var + 1e-5)
    return x * params[f"{name}.scale"] + params[f"{name}.bias"]


def relu(x: np.ndarray, slope: float = 0.0) -> np.ndarray:
    return np.where(x > 0, x, slope * x)


def resampled(x: np.ndarray, up: int = 1, down: int = 1) -> np.ndarray:
    """StyleGAN2's upsample2d or downsample2d by 2 with the filter [1, 3, 3, 1]."""
    for axis in (1, 2):
        size = x.shape[axis] * up // down
        x = scipy.signal.upfirdn(up * np.array([1, 3, 3, 1]) / 8, x, up, down, axis)
        x = x.take(np.arange(1, size + 1), axis)
    return x
