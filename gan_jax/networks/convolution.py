"""Convolutions whose derivatives of every order are fast on CPU, also inside compiled loops.

XLA:CPU rewrites only the convolutions of a program's entry computation for its fast kernel; inside
`lax.scan`, `fori_loop` and `map` it runs the gradients of a convolution as naive loops. The
trilinear form <y, conv(x, kernel)> has three partial derivatives: the convolution, its transpose
and the kernel gradient, each differentiated by the other two. On CPU each is computed by matrix
products, or by one forward convolution in the layout of the fast kernel (NHWC, HWIO, no reversed
windows). GPU and TPU run XLA's own.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.parallel import by_example

Padding = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right))
_Form = Callable[["Geometry", jax.Array, jax.Array], jax.Array]


class Geometry(NamedTuple):
    """Static shape of a convolution; hashable."""

    input: tuple[int, int]  # (height, width)
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding
    groups: int

    @property
    def output(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = (
            (size + sum(pad) - window) // stride + 1
            for size, window, stride, pad in zip(
                self.input, self.window, self.strides, self.padding, strict=True
            )
        )
        return height, width


def _geometry(
    size: Sequence[int],
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    groups: int,
) -> Geometry:
    if min(sum(padding, ())) < 0:
        raise ValueError(f"padding is {padding}, but must not be negative")
    window = (kernel.shape[0], kernel.shape[1])
    return Geometry((size[0], size[1]), window, strides, padding, groups)


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Two-dimensional convolution (cross-correlation).

    Differentiable in reverse mode any number of times; `custom_vjp` has no forward mode.

    Args:
      x: shape (batch, height, width, channels).
      kernel: shape (window height, window width, channels / groups, features).
      strides: window strides.
      padding: zeros added on each side.
      groups: blocks of channels convolved separately.

    Returns:
      Shape (batch, out height, out width, features).
    """
    _, *size, _ = x.shape
    return _convolution(_geometry(size, kernel, strides, padding, groups), x, kernel)


def transposed_convolution(
    y: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Transpose of `convolution` in x, as ConvTranspose2d of PyTorch.

    Args:
      y: shape (batch, height, width, features).
      kernel: kernel of the convolution, (window height, window width, channels / groups, features).
      strides: its strides, here the factors of upsampling.
      padding: its padding, here cropped from the output.
      groups: its groups.

    Returns:
      Shape (batch, (height - 1) * stride + window - padding, ..., channels).
    """
    size = [
        (size - 1) * stride + window - sum(pad)
        for size, window, stride, pad in zip(
            y.shape[1:3], kernel.shape[:2], strides, padding, strict=True
        )
    ]
    return _transpose(_geometry(size, kernel, strides, padding, groups), y, kernel)


# Native convolutions


def _forward(
    x: jax.Array,
    kernel: jax.Array,
    padding: Sequence[tuple[int, int]],
    strides: Sequence[int],
    groups: int = 1,
) -> jax.Array:
    if (*kernel.shape[:2], *strides, groups) == (1,) * 5 and not any(sum(padding, ())):
        return x @ kernel[0, 0]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _native(g: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _forward(x, kernel, g.padding, g.strides, g.groups)


def _native_transpose(g: Geometry, y: jax.Array, kernel: jax.Array) -> jax.Array:
    channels = kernel.shape[2] * g.groups
    x = jax.ShapeDtypeStruct((y.shape[0], *g.input, channels), y.dtype)
    return jax.linear_transpose(lambda x: _native(g, x, kernel), x)(y)[0]


def _native_kernel_gradient(g: Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
    kernel = jax.ShapeDtypeStruct((*g.window, x.shape[3] // g.groups, y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: _native(g, x, kernel), kernel)(y)[0]


# The same for CPU, as matrix products and forward convolutions


def _split(x: jax.Array, groups: int) -> jax.Array:
    return jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0)


def _by_group(form: _Form, g: Geometry, a: jax.Array, b: jax.Array) -> jax.Array:
    """Applies a form to each group; takes a fifth of the time of a block-diagonal kernel."""
    if g.groups == 1:
        return form(g, a, b)
    parts = jax.lax.map(lambda ab: form(g, *ab), (_split(a, g.groups), _split(b, g.groups)))
    merged = jnp.moveaxis(parts, 0, -2)
    return merged.reshape(*merged.shape[:-2], -1)


def _cpu_convolution(g: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _forward(x, kernel, g.padding, g.strides)


def _cpu_transpose(g: Geometry, y: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution with the flipped kernel; with strides, a matrix product and shifted sums.

    Pixel s a + r of the padded input, r < s, is the sum over q of y[a - q] kernel[s q + r].
    """
    if g.strides == (1, 1):
        padding = [
            (window - 1 - low, low + size - out)
            for window, (low, _), size, out in zip(
                g.window, g.padding, g.input, g.output, strict=True
            )
        ]
        return _forward(y, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), padding, (1, 1))
    *_, channels, features = kernel.shape
    taps = [-(-window // stride) for window, stride in zip(g.window, g.strides, strict=True)]
    rest = [
        (0, tap * stride - window)
        for tap, stride, window in zip(taps, g.strides, g.window, strict=True)
    ]
    kernel = jnp.pad(kernel, (*rest, (0, 0), (0, 0)))
    wide = jnp.promote_types(y.dtype, jnp.float32)  # in which bfloat16 is summed elsewhere too
    products = jnp.matmul(y, kernel.reshape(-1, features).T, preferred_element_type=wide)
    n, height, width, _ = y.shape
    products = products.reshape(
        n, height, width, taps[0], g.strides[0], taps[1], g.strides[1], channels
    )
    rows, columns = height + taps[0] - 1, width + taps[1] - 1
    blocks = jnp.zeros((n, rows, columns, *g.strides, channels), wide)
    for i, j in itertools.product(*map(range, taps)):
        # Faster than a sum of padded terms.
        blocks = blocks.at[:, i : i + height, j : j + width].add(products[:, :, :, i, :, j])
    x = blocks.swapaxes(2, 3).reshape(n, rows * g.strides[0], columns * g.strides[1], channels)
    ends = [low + size for (low, _), size in zip(g.padding, g.input, strict=True)]
    missing = [(0, max(0, end - size)) for end, size in zip(ends, x.shape[1:3], strict=True)]
    (top, _), (left, _) = g.padding
    x = jnp.pad(x, ((0, 0), *missing, (0, 0)))[:, top : ends[0], left : ends[1]]
    return x.astype(y.dtype)


def _cpu_kernel_gradient(g: Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
    """A matrix product for each entry of the window."""
    spans = [
        max(0, (out - 1) * stride + 1) for out, stride in zip(g.output, g.strides, strict=True)
    ]
    padding = [
        (low, max(0, window - 1 + span - size - low))
        for (low, _), window, span, size in zip(g.padding, g.window, spans, g.input, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    entries = [
        _outer_products(x[:, i : i + spans[0] : g.strides[0], j : j + spans[1] : g.strides[1]], y)
        for i, j in itertools.product(*map(range, g.window))
    ]
    return jnp.stack(entries).reshape(*g.window, x.shape[3], y.shape[3])


def _outer_products(x: jax.Array, y: jax.Array) -> jax.Array:
    """The sum over pixels of x y^T, of shape (channels of x, channels of y).

    With a batch axis of size 1, XLA:CPU avoids a slow transposition of the operands.
    """
    x, y = (a.reshape(1, -1, a.shape[-1]) for a in (x, y))
    return jnp.einsum("npi,npo->nio", x, y)[0]


# The three partial derivatives, each differentiated by the other two


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolution(g: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    form = _choice(_cpu_convolution, _native, g)
    return by_example(form, x, kernel, shared=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transpose(g: Geometry, y: jax.Array, kernel: jax.Array) -> jax.Array:
    form = _choice(_cpu_transpose, _native_transpose, g)
    return by_example(form, y, kernel, shared=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(g: Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
    form = _choice(_cpu_kernel_gradient, _native_kernel_gradient, g)
    return by_example(form, x, y, total=True)


def _choice(cpu: _Form, native: _Form, g: Geometry) -> Callable[..., jax.Array]:
    return functools.partial(
        jax.lax.platform_dependent,
        cpu=functools.partial(_by_group, cpu, g),
        default=functools.partial(native, g),
    )


_convolution.defvjp(
    lambda g, x, kernel: (_convolution(g, x, kernel), (x, kernel)),
    lambda g, saved, ct: (_transpose(g, ct, saved[1]), _kernel_gradient(g, saved[0], ct)),
)
_transpose.defvjp(
    lambda g, y, kernel: (_transpose(g, y, kernel), (y, kernel)),
    lambda g, saved, ct: (_convolution(g, ct, saved[1]), _kernel_gradient(g, ct, saved[0])),
)
_kernel_gradient.defvjp(
    lambda g, x, y: (_kernel_gradient(g, x, y), (x, y)),
    lambda g, saved, ct: (_transpose(g, saved[1], ct), _convolution(g, saved[0], ct)),
)
