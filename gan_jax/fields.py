"""The fields of a config: what each may be, and which make no sense together."""

import difflib
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gan_jax.algorithm import STEP_INFO
from gan_jax.errors import InputError
from gan_jax.losses import CROSS_ENTROPY, LOSSES
from gan_jax.networks import ACTIVATIONS, INITIALIZERS, OUTPUTS
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES
from gan_jax.penalties import PENALTIES
from gan_jax.scores import METRICS
from gan_jax.updates import UPDATES

_FLOAT32_MAX = 3.4e38  # numbers are computed with in float32


class Rule(NamedTuple):
    """What a field may be."""

    kind: type
    allowed: str
    ok: Callable[[Any], bool]


def _integer(low: int, high: int = 2**31 - 1) -> Rule:
    return Rule(int, f"an integer from {low} to {high}", lambda v: low <= v <= high)


def _real(allowed: str, ok: Callable[[float], bool] = lambda v: True) -> Rule:
    # Judged as float32, which is what it is computed with: 0.999999999 is 1. What would be 0 there,
    # such as 1e-60, is refused, as 0 turns things off.
    def fits(v: float) -> bool:
        return abs(v) <= _FLOAT32_MAX and (v == 0) == (np.float32(v) == 0)

    return Rule(float, allowed, lambda v: fits(v) and ok(float(np.float32(v))))


def _choice(options: Iterable[str]) -> Rule:
    options = tuple(options)
    return Rule(str, "one of " + ", ".join(options), lambda v: v in options)


def _integers(allowed: str, length: int | None, high: int) -> Rule:
    return Rule(
        tuple,
        f"a tuple of integers from 1 to {high}, such as {allowed}",
        lambda v: all(type(x) is int and 1 <= x <= high for x in v) and length in (None, len(v)),
    )


def _choices(options: Iterable[str]) -> Rule:
    options = tuple(options)
    return Rule(
        tuple,
        f"a tuple, such as ({options[0]!r},), of: " + ", ".join(options),
        lambda v: len(v) > 0 and all(x in options for x in v),
    )


_TEXT = Rule(str, "a name", bool)
_FLAG = Rule(bool, "True or False", lambda v: True)
_NON_NEGATIVE = _real("a number, at least 0", lambda v: v >= 0)
_POSITIVE = _real("a number above 0", lambda v: v > 0)
_DECAY = _real("a number from 0 to below 1", lambda v: 0 <= v < 1)
_NETWORK = {
    "widths": _integers("(128,), (256,256) or ()", None, 2**16),
    "activation": _choice(ACTIVATIONS),
    "initializer": _choice(INITIALIZERS),
    "init_scale": _real("a number above 0, at most 1000", lambda v: 0 < v <= 1000),
    "pieces": _integer(1, 2**10),
}
_OPTIMIZER = {
    "name": _choice(OPTIMIZERS),
    "learning_rate": _NON_NEGATIVE,
    "b1": _DECAY,
    "b2": _DECAY,
    "eps": _POSITIVE,
    "schedule": _choice(SCHEDULES),
    "decay_steps": _integer(1),
    "decay_rate": _real("a number above 0, at most 1", lambda v: 0 < v <= 1),
    "end_learning_rate": _NON_NEGATIVE,
    "b1_steps": _integer(0),
    "end_b1": _DECAY,
}


def _group(name: str, rules: dict[str, Rule]) -> dict[str, Rule]:
    return {f"{name}.{field}": rule for field, rule in rules.items()}


FIELDS: dict[str, Rule] = {
    "seed": _integer(0, 2**32 - 1),
    "accelerator": _choice(("auto", "cpu", "gpu", "tpu")),
    "deterministic": _FLAG,
    "dataset": _TEXT,
    "split": _TEXT,
    "validation_split": _TEXT,
    "test_split": _TEXT,
    "image_size": _integer(0, 4096),
    "loss": _choice(LOSSES),
    "k": _integer(1),
    "update": _choice(("alternating", "unrolled", *UPDATES)),
    "unrolled_steps": _integer(0, 100),
    "consensus": _NON_NEGATIVE,
    "num_steps": _integer(1),
    "batch_size": _integer(1),
    "z_dim": _integer(1),
    **_group(
        "prior",
        {
            "name": _choice(("uniform", "normal")),
            "low": _real("a finite number"),
            "high": _real("a finite number"),
        },
    ),
    **_group(
        "generator",
        {
            **_NETWORK,
            "output": _choice(OUTPUTS),
            "output_bias": _choice(("zero", "data_mean")),
            "batch_norm": _FLAG,
            "monotone": _FLAG,
        },
    ),
    **_group(
        "discriminator",
        {**_NETWORK, "input_dropout": _DECAY, "dropout": _DECAY, "spectral_norm": _FLAG},
    ),
    "pack": _integer(1, 2**10),
    "label_smoothing": _real("a number from 0 to below 1/2", lambda v: 0 <= v < 0.5),
    "instance_noise.std": _NON_NEGATIVE,
    "instance_noise.steps": _integer(0),
    "weight_clip": _NON_NEGATIVE,
    **{f"penalties.{name}.weight": _NON_NEGATIVE for name in PENALTIES},
    **{f"penalties.{name}.interval": _integer(1) for name in PENALTIES},
    "ema": _DECAY,
    **_group("d_optimizer", _OPTIMIZER),
    **_group("g_optimizer", _OPTIMIZER),
    "log_every": _integer(1),
    "metrics_every": _integer(1),
    "sample_every": _integer(1),
    "sample_grid": _integers("(4,4)", 2, 100),
    "checkpoint_every": _integer(1),
    "keep_checkpoints": _integer(1),
    "eval_every": _integer(0),
    "eval_num": _integer(1),
    "eval_metrics": _choices(METRICS),
    "keep_best": _choice(("none", *STEP_INFO, *METRICS)),
    "tensorboard": _FLAG,
}

# Fields that say what is written and when, and nothing of what: they may change on the way.
FREE = (
    "log_every",
    "metrics_every",
    "sample_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_best",
    "tensorboard",
)


def unknown(field: Any) -> InputError:
    """That there is no such field, and which there are."""
    near = difflib.get_close_matches(str(field), FIELDS, n=1, cutoff=0.5)
    hint = f"; did you mean config.{near[0]}?" if near else "."
    return InputError(f"config.{field} is not a field{hint} The fields are: {', '.join(FIELDS)}")


def coerce(field: str, value: Any) -> Any:
    """The value as its field's type, where nothing is lost; otherwise an InputError."""
    rule = FIELDS[field]
    if isinstance(value, np.generic):  # of np.logspace, say
        value = value.item()
    if rule.kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**63 else math.inf
    if rule.kind is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not rule.kind or not rule.ok(value):
        shown = textwrap.shorten(repr(value), 60)
        raise InputError(f"config.{field} is {shown}, but must be {rule.allowed}")
    return value


def contradictions(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """The fields whose values make no sense beside those of other fields, and what they must be."""
    c, update = config, config["update"]  # ConfigDict has a method of this name
    if not np.float32(c.prior.low) < np.float32(c.prior.high):
        yield "prior.low", f"below prior.high, {c.prior.high}"
    for name in ("d_optimizer", "g_optimizer"):
        o = c[name]
        if o.schedule != "constant" and o.learning_rate < o.end_learning_rate:
            yield f"{name}.end_learning_rate", f"at most learning_rate, {o.learning_rate}"
        ends = o.schedule in ("linear", "cosine") and not o.end_learning_rate
        if ends and o.decay_steps < c.num_steps:
            yield (
                f"{name}.decay_steps",
                f"at least num_steps, {c.num_steps}: the rate ends at 0, where nothing is learned",
            )
        if o.b1_steps and o.name != "momentum":
            yield f"{name}.b1_steps", f"0 for {o.name}: only momentum has a schedule of b1"
    if c.keep_best in METRICS and not (c.eval_every and c.keep_best in c.eval_metrics):
        yield (
            "keep_best",
            "measured: it needs a place in eval_metrics, and eval_every above 0",
        )
    if c.generator.monotone:
        if c.z_dim != 1:
            yield "z_dim", "1 with generator.monotone: it maps numbers to numbers"
        if c.prior.name != "normal":
            yield "prior.name", "normal with generator.monotone, whose density is known by it"
        if len(c.generator.widths) != 1:
            yield "generator.widths", "of one layer with generator.monotone"
        # The other fields of a network, which it lacks too, have no value that says so.
        lacking = {"pieces": 1, "output": "linear", "output_bias": "zero", "batch_norm": False}
        for field, off in lacking.items():
            if c.generator[field] != off:
                yield f"generator.{field}", f"{off} with generator.monotone, which has none"
        if c.pack != 1:
            yield "pack", "1 with generator.monotone: its densities are of single examples"
    if update in UPDATES and c.k != 1:
        yield (
            "k",
            f"1 with update {update}: of several discriminator steps none is the one that G's "
            "step could share",
        )
    if update == "unrolled" and not c.unrolled_steps:
        yield "unrolled_steps", "at least 1 with update unrolled: 0 steps ahead is alternating"
    if update != "unrolled" and c.unrolled_steps:
        yield "unrolled_steps", f"0 with update {update}: only unrolled looks ahead"
    if update == "consensus" and not c.consensus:
        yield "consensus", "above 0 with update consensus: with weight 0 it is simultaneous"
    if update != "consensus" and c.consensus:
        yield "consensus", f"0 with update {update}: it is the weight of consensus"
    if c.batch_size % c.pack:
        yield "pack", f"a divisor of batch_size, {c.batch_size}"
    if c.weight_clip and c.loss != "wasserstein":
        yield (
            "weight_clip",
            f"0 with loss {c.loss}: it makes D Lipschitz, which only wasserstein asks for",
        )
    if c.label_smoothing and c.loss not in CROSS_ENTROPY:
        yield (
            "label_smoothing",
            f"0 with loss {c.loss}: only {' and '.join(CROSS_ENTROPY)} have labels to smooth",
        )
    if c.generator.batch_norm and c.batch_size == 1:
        yield "batch_size", "at least 2 with generator.batch_norm: one sample is its own mean"
    for player, field, off in (
        ("generator", "pieces", 1),
        ("generator", "batch_norm", False),
        ("discriminator", "pieces", 1),
        ("discriminator", "dropout", 0.0),
    ):
        if not c[player].widths and c[player][field] != off:
            yield f"{player}.{field}", f"{off} where {player}.widths is (): no layer is hidden"
    for name, penalty in c.penalties.items():
        if penalty.interval != 1 and not penalty.weight:
            yield f"penalties.{name}.interval", f"1 where penalties.{name}.weight is 0"
    if c.instance_noise.steps and not c.instance_noise.std:
        yield "instance_noise.steps", "0 where instance_noise.std is 0: there is no noise to fade"
    if c.num_steps * c.k * c.batch_size >= 2**31:
        yield "num_steps", "less: num_steps * k * batch_size must be below 2^31"
