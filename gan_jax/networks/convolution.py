"""Convolutions whose derivatives of every order are fast on CPU, also inside compiled loops.

XLA:CPU rewrites only the convolutions of a program's entry computation for its fast kernel; inside
`lax.scan`, `fori_loop` and `map` it runs the gradients of a convolution as naive loops. The
trilinear form <y, conv(x, kernel)> has three partial derivatives: the convolution, its transpose
and the kernel gradient. Here each is one forward convolution in the layout of the fast kernel
(NHWC, HWIO, no reversed windows), differentiated by the other two. GPU and TPU run XLA's own.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
    window = (kernel.shape[0], kernel.shape[1])
    return Geometry((size[0], size[1]), window, strides, padding, groups)


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Two-dimensional convolution (cross-correlation, as everywhere in the field).

    Differentiable in reverse mode any number of times; `custom_vjp` has no forward mode.

    Args:
      x: shape (batch, height, width, channels).
      kernel: shape (window height, window width, channels / groups, features).
      strides: of the window.
      padding: zeros added on each side.
      groups: blocks of channels convolved separately.

    Returns:
      Shape (batch, out height, out width, features).
    """
    if (
        kernel.shape[:2] == (1, 1)
        and strides == (1, 1)
        and groups == 1
        and not any(sum(padding, ()))
    ):
        return x @ kernel[0, 0]
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
      kernel: as of the convolution, (window height, window width, channels / groups, features).
      strides: of the convolution, factors of upsampling here.
      padding: of the convolution, cropped from the output here.
      groups: of the convolution.

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


# XLA's own forms


def _native(g: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        g.strides,
        g.padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=g.groups,
    )


def _native_transpose(g: Geometry, y: jax.Array, kernel: jax.Array) -> jax.Array:
    channels = kernel.shape[2] * g.groups
    x = jax.ShapeDtypeStruct((y.shape[0], *g.input, channels), y.dtype)
    return jax.linear_transpose(lambda x: _native(g, x, kernel), x)(y)[0]


def _native_kernel_gradient(g: Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
    kernel = jax.ShapeDtypeStruct((*g.window, x.shape[3] // g.groups, y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: _native(g, x, kernel), kernel)(y)[0]


# The same as forward convolutions in the layout of the CPU's fast kernel


def _dense(kernel: jax.Array, groups: int) -> jax.Array:
    """The block-diagonal kernel of one group: (h, w, i / groups, o) to (h, w, i, o)."""
    if groups == 1:
        return kernel
    *window, channels, features = kernel.shape
    blocks = kernel.reshape(*window, 1, channels, groups, features // groups)
    mask = jnp.eye(groups, dtype=kernel.dtype)[:, None, :, None]
    return (blocks * mask).reshape(*window, groups * channels, features)


def _diagonal(kernel: jax.Array, groups: int) -> jax.Array:
    """The transpose of `_dense`: the blocks of the diagonal."""
    if groups == 1:
        return kernel
    *window, channels, features = kernel.shape
    blocks = kernel.reshape(*window, groups, channels // groups, groups, features // groups)
    return jnp.einsum("hwgcgf->hwcgf", blocks).reshape(*window, channels // groups, features)


def _forward(
    x: jax.Array,
    kernel: jax.Array,
    padding: Padding,
    strides: tuple[int, int] = (1, 1),
    x_dilation: tuple[int, int] = (1, 1),
    kernel_dilation: tuple[int, int] = (1, 1),
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        x_dilation,
        kernel_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _cpu(g: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _forward(x, _dense(kernel, g.groups), g.padding, g.strides)


def _cpu_transpose(g: Geometry, y: jax.Array, kernel: jax.Array) -> jax.Array:
    flipped = jnp.swapaxes(jnp.flip(_dense(kernel, g.groups), (0, 1)), 2, 3)
    # XLA's simplifier aborts on some unpadded dilated windows of 2: pads them, and crops.
    rows, columns = (
        (window - 1 - low, size + low - (out - 1) * stride - 1 + (window == stride))
        for size, window, stride, out, (low, _) in zip(
            g.input, g.window, g.strides, g.output, g.padding, strict=True
        )
    )
    x = _forward(y, flipped, (rows, columns), x_dilation=g.strides)
    return x[:, : g.input[0], : g.input[1]]


def _cpu_kernel_gradient(g: Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
    rows, columns = (
        (low, window + (out - 1) * stride - size - low)
        for size, window, stride, out, (low, _) in zip(
            g.input, g.window, g.strides, g.output, g.padding, strict=True
        )
    )
    gradient = _forward(
        jnp.transpose(x, (3, 1, 2, 0)),
        jnp.transpose(y, (1, 2, 0, 3)),
        (rows, columns),
        kernel_dilation=g.strides,
    )
    return _diagonal(jnp.transpose(gradient, (1, 2, 0, 3)), g.groups)


# The three partial derivatives, each differentiated by the other two


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolution(g: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _choose(_cpu, _native, g, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transpose(g: Geometry, y: jax.Array, kernel: jax.Array) -> jax.Array:
    return _choose(_cpu_transpose, _native_transpose, g, y, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(g: Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
    return _choose(_cpu_kernel_gradient, _native_kernel_gradient, g, x, y)


def _choose(cpu: _Form, native: _Form, g: Geometry, a: jax.Array, b: jax.Array) -> jax.Array:
    return jax.lax.platform_dependent(
        a, b, cpu=functools.partial(cpu, g), default=functools.partial(native, g)
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
