"""Fields of a config that are incompatible with others."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from gan_jax.algorithms import ALGORITHMS
from gan_jax.config.schema import ALGORITHM_FIELDS, COMMON, FIELDS, NETWORK_FIELDS, parse_schedule
from gan_jax.evaluation.registry import METRICS, TRAINING
from gan_jax.losses import CROSS_ENTROPY
from gan_jax.penalties import PENALTIES
from gan_jax.spec import Schedule
from gan_jax.updates import UPDATES


def needs_all_data(config: ConfigDict) -> str:
    """The option for which all examples must be on the device; empty if there is none."""
    if config.algorithm == "rbm":
        return "algorithm rbm"  # initial biases need the mean
    if config.get("num_labelled"):
        return "num_labelled"
    output_bias = config.get("generator", {}).get("output_bias")
    return "generator.output_bias data_mean" * (output_bias == "data_mean")


def conflicts(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Fields that are incompatible with others, each with its allowed value.

    An option that a schedule enables counts as enabled.
    """
    c = ConfigDict(config.to_dict())
    schedules = [parse_schedule(text) for text in c.schedules]
    for schedule in schedules:
        *groups, leaf = schedule.field.split(".")
        place = functools.reduce(lambda place, group: place.get(group, {}), groups, c)
        if FIELDS[schedule.field].optional and leaf in place and not place[leaf]:
            place[leaf] = schedule.end
    if not np.float32(c.prior.low) < np.float32(c.prior.high):
        yield "prior.low", f"below prior.high, {c.prior.high}"
    if c.prior.name in ("mixture", "swiss_roll") and c.z_dim != 2:
        yield "z_dim", f"2 with prior.name {c.prior.name}"
    yield from _schedule_conflicts(c, schedules)
    if c.data_placement == "host" and (needing := needs_all_data(c)):
        yield "data_placement", f"device with {needing}, which needs all examples there"
    if c.shard_state and c.devices == 1:
        yield "shard_state", "False with one device"
    if c.keep_best in METRICS and not (c.eval_every and c.keep_best in c.eval_metrics):
        yield "keep_best", "evaluated: add it to eval_metrics and set eval_every above 0"
    own = ALGORITHMS[c.algorithm].step_info
    if c.keep_best not in ("none", *own, *TRAINING):
        yield "keep_best", f"a metric or one of {', '.join(own)} with algorithm {c.algorithm}"
    yield from _condition_conflicts(c)
    yield from _network_conflicts(c)
    if c.algorithm == "rbm":
        yield from _rbm_conflicts(c)
    elif c.algorithm == "gan":
        yield from _gan_conflicts(c, schedules)
    else:
        yield from _autoencoder_conflicts(c)
    minibatches = c.k if c.algorithm == "gan" else 1  # per iteration
    if c.num_steps * minibatches * c.batch_size >= 2**31:
        yield "num_steps", "smaller: num_steps * k * batch_size must be below 2^31"


def _schedule_conflicts(c: ConfigDict, schedules: Sequence[Schedule]) -> Iterator[tuple[str, str]]:
    if len({schedule.field for schedule in schedules}) < len(schedules):
        yield "schedules", "one per field"
    for schedule in schedules:
        if schedule.field not in COMMON | ALGORITHM_FIELDS[c.algorithm]:
            yield "schedules", f"of fields of algorithm {c.algorithm}"
        if not FIELDS[schedule.field].rule.ok(schedule.end):
            yield (
                "schedules",
                f"with an end of {schedule.field} that is {FIELDS[schedule.field].rule.allowed}",
            )
        stops = schedule.field.endswith("learning_rate") and schedule.kind != "exponential"
        if stops and not schedule.end and schedule.steps < c.num_steps:
            yield (
                "schedules",
                f"of at least num_steps, {c.num_steps}, iterations where {schedule.field} ends at "
                "0, where training does nothing",
            )


def _condition_conflicts(c: ConfigDict) -> Iterator[tuple[str, str]]:
    condition = c.condition
    unused = ["generator", "discriminator", "held_out"] * (condition.on == "none")
    unused += ["captions", "encoder", "mismatch", "interpolation"] * (condition.on != "text")
    for field in unused:
        if (default := COMMON[f"condition.{field}"].default) != condition[field]:
            yield f"condition.{field}", f"{default!r} with condition.on {condition.on}"
    generator = c.get("generator", {"name": ""})
    normalised = generator["name"] in ("dcgan", "resnet") or generator.get("batch_norm")
    if condition.generator == "batch_norm" and not normalised:
        yield "condition.generator", "concat for a generator without batch normalisation"
    if (condition.discriminator == "classifier") != (condition.weight > 0):
        wanted = "above 0" if condition.discriminator == "classifier" else "0"
        yield "condition.weight", f"{wanted} with condition.discriminator {condition.discriminator}"


def _network_conflicts(c: ConfigDict) -> Iterator[tuple[str, str]]:
    for player in (name for name in NETWORK_FIELDS if name in c):
        network = c[player].to_dict()
        if network["name"] == "r3gan" and any(
            2 * w % network["group_size"] for w in network["widths"]
        ):
            yield f"{player}.group_size", "a divisor of twice each of widths"
        for field, off in (("pieces", 1), ("batch_norm", False), ("dropout", 0.0)):
            if network.get("widths") == () and network.get(field, off) != off:
                yield f"{player}.{field}", f"{off} without hidden layers ({player}.widths is ())"
        if player != "discriminator" and network.get("batch_norm") and c.batch_size == 1:
            yield "batch_size", f"at least 2 with {player}.batch_norm"


def _rbm_conflicts(c: ConfigDict) -> Iterator[tuple[str, str]]:
    if c.condition.on != "none":
        yield "condition.on", "none with algorithm rbm"
    if c.precision != "float32":
        yield "precision", "float32 with algorithm rbm"
    if c.prior.name == "uniform" and c.prior.low != -c.prior.high:
        yield "prior.low", "-prior.high with algorithm rbm, whose chains start at signs of z"


def _autoencoder_conflicts(c: ConfigDict) -> Iterator[tuple[str, str]]:
    allowed = ("none", "label") if c.algorithm == "aae" else ("none",)
    if c.condition.on not in allowed:
        yield "condition.on", f"{' or '.join(allowed)} with algorithm {c.algorithm}"
    if c.condition.discriminator != "concat":
        yield (
            "condition.discriminator",
            f"concat, the default, with algorithm {c.algorithm}, whose D sees codes only",
        )
    if c.algorithm == "aae":
        if c.num_categories and c.condition.on != "none":
            yield "condition.on", "none with num_categories, which the encoder infers"
        if c.num_labelled and not c.num_categories:
            yield "num_labelled", "0 without num_categories"
        if c.discriminator.name != "mlp":
            yield "discriminator.name", "mlp with algorithm aae, for codes"
    elif c.prior.name != "normal":
        yield "prior.name", f"normal with algorithm {c.algorithm}"
    if c.generator.name == "monotone":
        yield "generator.name", f"another kind with algorithm {c.algorithm}"
    elif c.likelihood == "bernoulli" and c.generator.output != "sigmoid":
        yield "generator.output", "sigmoid with likelihood bernoulli, for its probabilities"


def _gan_conflicts(c: ConfigDict, schedules: Sequence[Schedule]) -> Iterator[tuple[str, str]]:
    update = c["update"]  # ConfigDict has a method of this name
    if c.ada_target and not c.augment:
        yield "ada_target", "0 without augment"
    scheduled = {schedule.field for schedule in schedules}
    if c.ema and (c.ema_half_life or "ema_half_life" in scheduled):
        yield "ema", "0 with ema_half_life"
    if c.generator.name == "monotone":
        if c.z_dim != 1:
            yield "z_dim", "1 for a monotone generator, which maps numbers to numbers"
        if c.prior.name != "normal":
            yield "prior.name", "normal for a monotone generator, whose density follows from it"
        if c.pack != 1:
            yield "pack", "1 for a monotone generator, whose density is of single examples"
    condition = c.condition
    if condition.on == "text":
        if condition.mismatch and c.batch_size < 2 * c.pack:  # no other text in the minibatch
            yield "condition.mismatch", "0 with fewer than two inputs of D in a minibatch"
        if not condition.captions:
            yield "condition.captions", "a file with condition.on text"
        if condition.discriminator == "classifier":
            yield "condition.discriminator", "concat or projection with condition.on text"
        if c.generator.get("sample_statistics") == "recomputed":
            yield "generator.sample_statistics", "running with condition.on text"
    if condition.on != "none" and c.generator.name == "monotone":
        yield "condition.on", "none for a monotone generator, whose density is not conditional"
    if condition.discriminator == "classifier" and c.pack != 1:
        yield "condition.discriminator", "concat or projection with pack: it classifies one example"
    if c.discriminator.get("batch_norm") and any(c.penalties[name].weight for name in PENALTIES):
        yield (
            "discriminator.batch_norm",
            "False with a gradient penalty, which is defined for single examples",
        )
    if update in UPDATES and c.k != 1:
        yield "k", f"1 with update {update}, which takes both gradients at the same state"
    if update == "unrolled" and not c.unrolled_steps:
        yield "unrolled_steps", "at least 1 with update unrolled"
    if update != "unrolled" and c.unrolled_steps:
        yield "unrolled_steps", f"0 with update {update}: only unrolled looks ahead"
    if update == "consensus" and not c.consensus:
        yield "consensus", "above 0 with update consensus"
    if update != "consensus" and c.consensus:
        yield "consensus", f"0 with update {update}: it is the weight of consensus"
    if c.batch_size % c.pack:
        yield "pack", f"a divisor of batch_size, {c.batch_size}"
    if c.weight_clip and c.loss != "wasserstein":
        yield "weight_clip", f"0 with loss {c.loss}: only wasserstein needs a Lipschitz D"
    if c.label_smoothing and c.loss not in CROSS_ENTROPY:
        yield (
            "label_smoothing",
            f"0 with loss {c.loss}: only {' and '.join(CROSS_ENTROPY)} have labels to smooth",
        )
    for name, penalty in c.penalties.items():
        if penalty.interval != 1 and not penalty.weight:
            yield f"penalties.{name}.interval", f"1 where penalties.{name}.weight is 0"
