"""Search spaces for sweep files.

A sweep file is a Python file that defines `get_sweep()`, which returns a list of settings: from
`grid`, from `random`, or written by hand.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gan_jax.errors import InputError

Setting = dict[str, Any]  # dotted config field -> value
Sampler = Callable[[np.random.Generator], Any]


def grid(fields: Mapping[str, Iterable[Any]]) -> list[Setting]:
    """Cartesian product of the fields' values; the last field varies fastest."""
    for field, values in fields.items():
        if isinstance(values, str):
            raise InputError(f"grid: {field} is {values!r}, but must be a list of values")
    return [
        dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())
    ]


def random(fields: Mapping[str, Sampler], draws: int, seed: int) -> list[Setting]:
    """Random search (Bergstra & Bengio 2012): distinct settings, determined by `seed`.

    Args:
      fields: dotted config field -> sampler, such as `log_uniform(1e-4, 1e-2)`.
      draws: number of settings.
      seed: seed of NumPy's default generator.

    Raises:
      InputError: a value is not a sampler, or there are fewer than `draws` distinct settings.
    """
    for field, sampler in fields.items():
        if not callable(sampler):
            raise InputError(
                f"random: {field} is {sampler!r}, but must be a sampler, such as choice"
            )
    rng, settings = np.random.default_rng(seed), []
    for _ in range(100 * draws):
        setting = {field: sampler(rng) for field, sampler in fields.items()}
        if setting not in settings:
            settings.append(setting)
        if len(settings) == draws:
            return settings
    raise InputError(f"random: found only {len(settings)} distinct settings, not {draws}")


def uniform(low: float, high: float) -> Sampler:
    """Uniform on [low, high)."""
    return lambda rng: float(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Sampler:
    """Log-uniform on [low, high), with 0 < low <= high."""
    if not 0 < low <= high:
        raise InputError(f"log_uniform({low}, {high}): need 0 < low <= high")
    return lambda rng: math.exp(rng.uniform(math.log(low), math.log(high)))


def choice(options: Iterable[Any]) -> Sampler:
    """Uniform over the options."""
    options = list(options)
    if not options:
        raise InputError("choice: need at least one option")
    return lambda rng: options[int(rng.integers(len(options)))]
