"""What a sweep file may return: settings of config fields, as a list of dicts.

A sweep file defines get_sweep(), which returns such a list: of `grid`, of `random`, or written by
hand. It is code that is run, like a config.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gan_jax.errors import InputError

Setting = dict[str, Any]  # config fields by their dotted names, and their values
Space = Callable[[np.random.Generator], Any]  # draws a value


def grid(fields: Mapping[str, Iterable[Any]]) -> list[Setting]:
    """Every combination of the fields' values; the last field varies fastest."""
    for field, values in fields.items():
        if isinstance(values, str):
            raise InputError(f"grid: {field} is {values!r}, but must be a list of values")
    return [
        dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())
    ]


def random(fields: Mapping[str, Space], draws: int, seed: int) -> list[Setting]:
    """`draws` different settings, each field drawn independently from its space.

    The seed decides all.

    Raises:
      InputError: something that is no space, or spaces that hold too few settings.
    """
    for field, space in fields.items():
        if not callable(space):
            raise InputError(f"random: {field} is {space!r}, but must be a space, such as choice")
    rng, found = np.random.default_rng(seed), []
    for _ in range(100 * draws):
        setting = {field: space(rng) for field, space in fields.items()}
        if setting not in found:
            found.append(setting)
        if len(found) == draws:
            return found
    raise InputError(f"random: its spaces hold only {len(found)} settings, not {draws}")


def uniform(low: float, high: float) -> Space:
    """Uniform on [low, high)."""
    return lambda rng: float(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Space:
    """Uniform in the logarithm, from low to high, both above 0."""
    if not 0 < low <= high:
        raise InputError(f"log_uniform({low}, {high}): want 0 < low <= high")
    return lambda rng: math.exp(rng.uniform(math.log(low), math.log(high)))


def choice(options: Iterable[Any]) -> Space:
    """Any of the options, all equally likely."""
    options = list(options)
    if not options:
        raise InputError("choice: want at least one option")
    return lambda rng: options[int(rng.integers(len(options)))]
