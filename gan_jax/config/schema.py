"""Every config field: default, allowed values, documentation, and how it may be used.

    python -m gan_jax.config

prints docs/configuration.md. Everything else follows from the fields: defaults, validation, which
numbers are traced, and what may change when a run resumes.
"""

import difflib
import functools
import itertools
import math
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gan_jax.algorithms import ALGORITHMS, STEP_INFO
from gan_jax.augment import AUGMENTATIONS
from gan_jax.errors import InputError
from gan_jax.evaluation.registry import METRICS, TRAINING
from gan_jax.evaluation.text_encoder import PACKAGED
from gan_jax.losses import CROSS_ENTROPY, LOSSES
from gan_jax.networks import NETWORKS
from gan_jax.networks.layers import ACTIVATIONS, INITIALIZERS, OUTPUTS
from gan_jax.optimizers import OPTIMIZERS
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import KINDS as SCHEDULES
from gan_jax.spec import Schedule
from gan_jax.updates import UPDATES

_FLOAT32_MAX = 3.4e38


class Rule(NamedTuple):
    """Allowed values of a field."""

    kind: type | types.UnionType
    allowed: str  # completes "must be"
    ok: Callable[[Any], bool]


class Field(NamedTuple):
    """One config field."""

    default: Any
    rule: Rule
    doc: str
    traced: bool = False  # a number; changing it does not recompile
    optional: bool = False  # traced, and 0 disables the option, which is then compiled out
    resume_mutable: bool = False  # affects outputs only, not training
    per_sweep: bool = False  # has one value in a whole sweep


def _traced(default: float, rule: Rule, doc: str) -> Field:
    return Field(default, rule, doc, traced=True)


def _option(rule: Rule, doc: str) -> Field:
    return Field(0.0, rule, f"{doc}; 0: off", traced=True, optional=True)


def _fixed(default: Any, rule: Rule, doc: str) -> Field:
    return Field(default, rule, doc, per_sweep=True)


def _output(default: Any, rule: Rule, doc: str) -> Field:
    return Field(default, rule, doc, resume_mutable=True, per_sweep=True)


def _integer(low: int, high: int = 2**31 - 1) -> Rule:
    return Rule(int, f"an integer from {low} to {high}", lambda v: low <= v <= high)


def _real(allowed: str, ok: Callable[[float], bool] = lambda v: True) -> Rule:
    # Checked as the float32 that is computed with: 0.999999999 is 1 there. Numbers that underflow,
    # such as 1e-60, are refused, as 0 disables options.
    def fits(v: float) -> bool:
        return abs(v) <= _FLOAT32_MAX and (v == 0) == (np.float32(v) == 0)

    return Rule(float, allowed, lambda v: fits(v) and ok(float(np.float32(v))))


def _choice(options: Iterable[str]) -> Rule:
    options = tuple(options)
    return Rule(str, "one of " + ", ".join(options), lambda v: v in options)


def _integers(example: str, length: int | None, high: int) -> Rule:
    return Rule(
        tuple,
        f"a tuple of integers from 1 to {high}, such as {example}",
        lambda v: all(type(x) is int and 1 <= x <= high for x in v) and length in (None, len(v)),
    )


def _choices(options: Iterable[str], empty: bool = False) -> Rule:
    options = tuple(options)
    return Rule(
        tuple,
        f"a tuple, such as ({options[0]!r},), of: " + ", ".join(options),
        lambda v: (empty or len(v) > 0) and all(x in options for x in v),
    )


_TEXT = Rule(str, "a name", bool)
_SIDE = Rule(int, "", lambda v: type(v) is int and 0 <= v <= 4096)
_FLAG = Rule(bool, "True or False", lambda v: True)
_NON_NEGATIVE = _real("a number, at least 0", lambda v: v >= 0)
_POSITIVE = _real("a number above 0", lambda v: v > 0)
_FRACTION = _real("a number from 0 to below 1", lambda v: 0 <= v < 1)


def _optimizer(group: str) -> dict[str, Field]:
    fields = {
        "name": Field("adam", _choice(OPTIMIZERS), "update rule"),
        "learning_rate": _traced(1e-3, _NON_NEGATIVE, "learning rate"),
        "b1": _traced(0.9, _FRACTION, "adam: first-moment decay; momentum: the momentum"),
        "b2": _traced(0.999, _FRACTION, "adam, rmsprop: second-moment decay"),
        "eps": _traced(1e-8, _POSITIVE, "adam, rmsprop: added to the root of the second moment"),
    }
    return {f"{group}.{name}": field for name, field in fields.items()}


def _penalty(name: str) -> dict[str, Field]:
    return {
        f"penalties.{name}.weight": _option(
            _NON_NEGATIVE, f"weight of {name} in the discriminator loss"
        ),
        f"penalties.{name}.interval": Field(
            1, _integer(1), "iterations between evaluations, each weighted by the interval"
        ),
    }


COMMON: dict[str, Field] = {
    "seed": _fixed(0, _integer(0, 2**32 - 1), "root of every random draw"),
    "accelerator": _fixed("auto", _choice(("auto", "cpu", "gpu", "tpu")), "auto: JAX's default"),
    "deterministic": _fixed(True, _FLAG, "GPU: deterministic XLA operations only"),
    "precision": Field(
        "float32",
        _choice(("float32", "bfloat16")),
        "dtype of activations; parameters and losses stay float32",
    ),
    "dataset": _fixed(
        "mnist",
        _TEXT,
        "TFDS name, digits, stacked_mnist, ring, grid, gaussian1d, folder:DIR, npz:FILE, npy:FILE, "
        "smiles:FILE or smiles_morgan:FILE",
    ),
    "split": _fixed("train", _TEXT, "split to train on, or a slice such as train[:50000]"),
    "validation_split": _fixed("train", _TEXT, "split for evaluation during training"),
    "test_split": _fixed("test", _TEXT, "split for gan_jax.evaluate"),
    "image_size": _fixed(
        0,
        Rule(
            int | tuple,
            "an integer from 0 to 4096, or (height, width)",
            lambda v: _SIDE.ok(v) if type(v) is int else len(v) == 2 and all(map(_SIDE.ok, v)),
        ),
        "pixels per side to resize to, or (height, width); 0: no resizing",
    ),
    "data_placement": _output(
        "auto",
        _choice(("auto", "device", "host")),
        "memory of the training data: device, or host, which prefetches minibatches, with the same "
        "bits; auto: device, unless they would fill more than half of it",
    ),
    "algorithm": Field("gan", _choice(ALGORITHMS), "training algorithm"),
    "num_steps": Field(
        20_000, _integer(1), "iterations; of a GAN k discriminator steps and one generator step"
    ),
    "batch_size": Field(128, _integer(1), "examples, and noise vectors, per minibatch"),
    "devices": _output(
        1,
        _integer(0, 2**20),
        "devices that share a minibatch; 0: all there are. Other numbers give other last bits",
    ),
    "z_dim": Field(100, _integer(1), "dimension of the noise z; rbm: hidden units"),
    "prior.name": Field(
        "uniform",
        _choice(("uniform", "normal", "mixture", "swiss_roll")),
        "distribution of z: uniform on [low, high), or standard normal; in two dimensions also ten "
        "Gaussians on a circle, or a spiral",
    ),
    "prior.low": Field(-1.0, _real("a finite number"), "uniform: lower end"),
    "prior.high": Field(1.0, _real("a finite number"), "uniform: upper end"),
    "condition.on": Field(
        "none",
        _choice(("none", "label", "text")),
        "what both networks are conditioned on, or the generator alone where it decodes codes",
    ),
    "condition.captions": _fixed(
        "", Rule(str, "a path", lambda v: True), "text: TSV file of captions, by image or by class"
    ),
    "condition.encoder": _fixed(
        PACKAGED,
        _TEXT,
        f"text: encoder of captions: {PACKAGED}, or a file (gan_jax.evaluation.text_encoder)",
    ),
    "condition.held_out": _fixed(
        (),
        Rule(
            tuple,
            "a tuple of strings, such as ('rose', '12')",
            lambda v: all(type(x) is str and x for x in v),
        ),
        "classes left out of training, by name or by the number in it",
    ),
    "condition.generator": Field(
        "concat",
        _choice(("concat", "batch_norm")),
        "how conditions enter G: joined to inputs of layers, or by conditional batch normalisation",
    ),
    "condition.discriminator": Field(
        "concat",
        _choice(("concat", "projection", "classifier")),
        "how conditions enter D: joined, by projection, or as targets of a classifier (AC-GAN)",
    ),
    "condition.weight": _option(
        _NON_NEGATIVE, "classifier: weight of the classification in both losses"
    ),
    "condition.mismatch": _option(
        _FRACTION,
        "text: fraction of D's loss on fakes from real examples with other texts (CLS: 0.5)",
    ),
    "condition.interpolation": _option(
        _NON_NEGATIVE, "text: weight of G's loss on means of two texts (INT: 1)"
    ),
    "schedules": Field(
        (),
        Rule(
            tuple,
            "a tuple of FIELD=KIND:END:STEPS with a traced FIELD and KIND linear or cosine, such "
            "as ('d_optimizer.learning_rate=cosine:0:20000',), or of "
            "FIELD=exponential:FLOOR:STEPS:RATE",
            lambda v: _are_schedules(v),
        ),
        "schedules of traced fields, from their value to END in STEPS iterations; exponential: by "
        "a factor of RATE per STEPS",
    ),
    "log_every": _output(2_000, _integer(1), "iterations between printed lines"),
    "metrics_every": _output(100, _integer(1), "iterations between lines of metrics.jsonl"),
    "sample_every": _output(2_000, _integer(1), "iterations between sample grids"),
    "sample_grid": _fixed((4, 4), _integers("(4,4)", 2, 100), "rows and columns of a sample grid"),
    "checkpoint_every": _output(2_000, _integer(1), "iterations between checkpoints"),
    "keep_checkpoints": _output(3, _integer(1), "newest checkpoints to keep"),
    "eval_every": _fixed(
        0, _integer(0), "iterations between evaluations, each with a checkpoint; 0: none"
    ),
    "eval_num": _fixed(10_000, _integer(1), "samples per evaluation"),
    "eval_metrics": _fixed(("fid",), _choices(TRAINING), "metrics per evaluation"),
    "keep_best": _output(
        "none",
        _choice(("none", *dict.fromkeys(itertools.chain(*STEP_INFO.values())), *TRAINING)),
        "metric or loss by which the best checkpoint is also kept",
    ),
    "tensorboard": _output(False, _FLAG, "also write TensorBoard files (extra: tensorboard)"),
}

_GENERATOR = {"generator.name": Field("mlp", _choice(NETWORKS["generator"]), "kind of network")}
_GAN: dict[str, Field] = {
    **_GENERATOR,
    "loss": Field("non_saturating", _choice(LOSSES), "adversarial loss"),
    "k": Field(1, _integer(1), "discriminator steps per generator step"),
    "update": Field(
        "alternating",
        _choice(("alternating", "unrolled", *UPDATES)),
        "alternating: Algorithm 1; unrolled: with lookahead; others: both players at once",
    ),
    "unrolled_steps": Field(
        0, _integer(0, 100), "unrolled: discriminator steps of lookahead per generator step"
    ),
    "consensus": _option(_NON_NEGATIVE, "consensus: weight of the gradient-norm term"),
    "discriminator.name": Field("mlp", _choice(NETWORKS["discriminator"]), "kind of network"),
    "pack": Field(1, _integer(1, 2**10), "examples per discriminator input (PacGAN)"),
    **_optimizer("d_optimizer"),
    **_optimizer("g_optimizer"),
    **{name: field for penalty in PENALTIES for name, field in _penalty(penalty).items()},
    "label_smoothing": _option(
        _real("a number from 0 to below 1/2", lambda v: 0 <= v < 0.5),
        "one-sided: the target for real examples is 1 minus this",
    ),
    "instance_noise.std": _option(
        _NON_NEGATIVE, "standard deviation of Gaussian noise on D's input"
    ),
    "augment": Field(
        (),
        _choices(AUGMENTATIONS, empty=True),
        "augmentations of D's inputs, real and generated (DiffAugment)",
    ),
    "augment_probability": _traced(
        1.0,
        _real("a number from 0 to 1", lambda v: 0 <= v <= 1),
        "probability of applying each augmentation to an example",
    ),
    "ada_target": _option(
        _real("a number from 0 to below 1", lambda v: 0 <= v < 1),
        "adapts augment_probability, starting at 0, to keep the mean sign of D on real examples "
        "at this value (ADA: 0.6)",
    ),
    "weight_clip": _option(_NON_NEGATIVE, "wasserstein: bound on D's parameters"),
    "ema": _option(_FRACTION, "decay of the averaged generator, used for samples and scores"),
    "ema_half_life": _option(_NON_NEGATIVE, "alternative to ema: its half-life in images"),
}

_AUTOENCODER: dict[str, Field] = {
    **_GENERATOR,
    "encoder.name": Field("mlp", _choice(NETWORKS["encoder"]), "kind of network"),
    "likelihood": Field(
        "bernoulli", _choice(("bernoulli", "gaussian")), "distribution of an example given its code"
    ),
    "likelihood_std": _traced(1.0, _POSITIVE, "gaussian: its standard deviation"),
    **_optimizer("optimizer"),
}
# Fields of each algorithm, besides those of all.
OWN: dict[str, dict[str, Field]] = {
    "gan": _GAN,
    "autoencoder": _AUTOENCODER,
    "vae": _AUTOENCODER
    | {"kl_weight": _traced(1.0, _NON_NEGATIVE, "weight of the KL divergence (beta-VAE)")},
    "aae": _AUTOENCODER
    | {
        **{name: _GAN[name] for name in ("loss", "discriminator.name")},
        "categories": Field(
            0, _integer(0, 10_000), "classes that the encoder infers; 0: codes have no classes"
        ),
        "labelled": Field(
            0,
            _integer(0),
            "training examples, equally many of each class, whose labels the encoder learns from; "
            "0: categories are clusters",
        ),
    }
    | _optimizer("d_optimizer")
    | _optimizer("e_optimizer"),
    "rbm": {
        "k": Field(1, _integer(1), "Gibbs steps per iteration"),
        "persistent": Field(
            True, _FLAG, "chains go on across iterations (PCD), else start at the data (CD)"
        ),
        "sample_steps": Field(1000, _integer(1), "Gibbs steps per sample"),
        **_optimizer("optimizer"),
    },
}
FIELDS: dict[str, Field] = COMMON | {k: f for own in OWN.values() for k, f in own.items()}

_MLP = {
    "widths": Field(
        (128,), _integers("(128,), (256,256) or ()", None, 2**16), "units of each hidden layer"
    ),
    "activation": Field("relu", _choice(ACTIVATIONS), "of hidden layers; leaky_relu: slope 0.2"),
    "initializer": Field("he_normal", _choice(INITIALIZERS), "initializer of weight matrices"),
    "init_scale": Field(
        1.0,
        _real("a number above 0, at most 1000", lambda v: 0 < v <= 1000),
        "factor of he_normal; half-width of uniform; standard deviation of normal",
    ),
    "pieces": Field(1, _integer(1, 2**10), "affine maps per hidden unit; maxout above 1"),
}
_SAMPLE_STATISTICS = Field(
    "running",
    _choice(("running", "recomputed")),
    "batch statistics for samples: running averages, or recomputed from fresh noise",
)
_SPECTRAL_NORM = "spectral normalisation of weight matrices"


def _widths(default: tuple[int, ...], doc: str) -> Field:
    rule = _integers(str(default).replace(" ", ""), None, 2**16)
    return Field(default, rule._replace(ok=lambda v: len(v) > 0 and rule.ok(v)), doc)


def _output_map(default: str, doc: str) -> Field:
    return Field(default, _choice(OUTPUTS), doc)


_MLP_WITH_DROPOUT = {
    **_MLP,
    "input_dropout": Field(0.0, _FRACTION, "dropped fraction of input components"),
    "dropout": Field(0.0, _FRACTION, "dropped fraction of hidden units"),
}
_DOWNWARDS = {  # DCGAN from images
    "widths": _widths(
        (64, 128, 256), "channels of each level, largest map first; levels halve the map"
    ),
    "hidden": Field(
        (), _integers("(1024,) or ()", None, 2**16), "units of dense layers after the last map"
    ),
}
_BLOCKS = Field(2, _integer(1, 100), "residual blocks per stage")
_GROUP_SIZE = Field(16, _integer(1, 2**16), "channels per group of the 3x3 convolutions")
# Fields of each kind of network, without the name of the player.
KINDS: dict[str, dict[str, dict[str, Field]]] = {
    "generator": {
        "mlp": {
            **_MLP,
            "output": _output_map("sigmoid", "output map; sigmoid or tanh for images"),
            "output_bias": Field(
                "zero",
                _choice(("zero", "data_mean")),
                "initial output bias; data_mean: G starts at the mean example",
            ),
            "batch_norm": Field(False, _FLAG, "batch normalisation of hidden layers"),
            "sample_statistics": _SAMPLE_STATISTICS,
        },
        "monotone": {
            "units": Field(16, _integer(1, 2**16), "tanh units of an increasing map of one number"),
        },
        "dcgan": {
            "widths": _widths(
                (256, 128, 64), "channels of each level, smallest map first; levels double the map"
            ),
            "hidden": Field(
                (),
                _integers("(1024,) or ()", None, 2**16),
                "units of dense layers before the first map",
            ),
            "output": _output_map("tanh", "output map"),
            "sample_statistics": _SAMPLE_STATISTICS,
        },
        "resnet": {
            "widths": _widths(
                (256, 256, 256), "channels of each upsampling block, smallest map first"
            ),
            "output": _output_map("tanh", "output map"),
            "sample_statistics": _SAMPLE_STATISTICS,
        },
        "r3gan": {
            "widths": _widths((768, 768, 768, 768), "channels of each stage, smallest map first"),
            "blocks": _BLOCKS,
            "group_size": _GROUP_SIZE,
            "output": _output_map("linear", "output map"),
        },
    },
    "discriminator": {
        "mlp": {
            **_MLP_WITH_DROPOUT,
            "spectral_norm": Field(False, _FLAG, _SPECTRAL_NORM),
        },
        "dcgan": {
            **_DOWNWARDS,
            "batch_norm": Field(
                True, _FLAG, "batch normalisation, separate for real and generated minibatches"
            ),
            "spectral_norm": Field(False, _FLAG, _SPECTRAL_NORM),
        },
        "resnet": {
            "widths": _widths((128, 128), "channels of each downsampling block, largest map first"),
            "blocks": Field(2, _integer(0, 100), "residual blocks without downsampling, last"),
            "spectral_norm": Field(True, _FLAG, _SPECTRAL_NORM),
        },
        "r3gan": {
            "widths": _widths((768, 768, 768, 768), "channels of each stage, largest map first"),
            "blocks": _BLOCKS,
            "group_size": _GROUP_SIZE,
        },
    },
    "encoder": {
        "mlp": {
            **_MLP_WITH_DROPOUT,
            "batch_norm": Field(False, _FLAG, "batch normalisation of hidden layers"),
        },
        "dcgan": _DOWNWARDS,
    },
}


def parse_schedule(text: str) -> Schedule:
    """A schedule from FIELD=KIND:END:STEPS or FIELD=exponential:FLOOR:STEPS:RATE.

    Raises:
      ValueError: it is none.
    """
    field, _, rest = text.partition("=")
    kind, end, steps, *rate = rest.split(":")
    schedule = Schedule(field, kind, float(end), int(steps), *map(float, rate))
    if not (
        field in FIELDS
        and FIELDS[field].traced
        and kind in SCHEDULES
        and len(rate) == (kind == "exponential")
        and math.isfinite(schedule.end)
        and 1 <= schedule.steps < 2**31
        and 0 < schedule.rate <= 1
    ):
        raise ValueError(text)
    return schedule


def _are_schedules(texts: tuple[Any, ...]) -> bool:
    try:
        return all(parse_schedule(str(text)) for text in texts)
    except (ValueError, TypeError):
        return False


TRACED = tuple(name for name, field in FIELDS.items() if field.traced)
RESUME_MUTABLE = tuple(name for name, field in FIELDS.items() if field.resume_mutable)
PER_SWEEP = tuple(name for name, field in FIELDS.items() if field.per_sweep)


def fields(flat: Mapping[str, Any]) -> dict[str, Field]:
    """The fields of a config, in order, given at least the kinds that differ from the default.

    Raises:
      InputError: an unknown algorithm or kind of network.
    """
    algorithm = COMMON["algorithm"]
    own = OWN[coerce("algorithm", flat.get("algorithm", algorithm.default), algorithm)]
    found: dict[str, Field] = {}
    for name, field in (COMMON | own).items():
        found[name] = field
        player, _, leaf = name.partition(".")
        if player in KINDS and leaf == "name":
            kind = coerce(name, flat.get(name, field.default), field)
            found |= {f"{player}.{f}": x for f, x in KINDS[player][kind].items()}
    return found


def unknown(name: str, known: Mapping[str, Field], flat: Mapping[str, Any]) -> InputError:
    """Error for a field that a config does not have."""
    group, _, leaf = name.partition(".")
    kinds = KINDS.get(group, {}).values()
    if name in FIELDS or (any(leaf in kind for kind in kinds) and f"{group}.name" not in known):
        algorithm = flat.get("algorithm", COMMON["algorithm"].default)
        return InputError(f"config.{name} is not a field of algorithm={algorithm}")
    if any(leaf in kind for kind in kinds):
        kind = flat.get(f"{group}.name", FIELDS[f"{group}.name"].default)
        own = ", ".join(KINDS[group][kind])
        return InputError(f"config.{name} is not a field of {group}.name={kind}, which has: {own}")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean config.{near[0]}?" if near else "."
    siblings = [f for f in known if f.startswith(f"{group}.")]
    listed = ", ".join(siblings or dict.fromkeys(f.partition(".")[0] for f in known))
    return InputError(f"config.{name} is not a field{hint} The fields are: {listed}")


def coerce(name: str, value: Any, field: Field) -> Any:
    """The value as its field's type where the conversion is exact, else an InputError."""
    rule = field.rule
    if isinstance(value, np.generic):
        value = value.item()
    if rule.kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**63 else math.inf
    if isinstance(value, list) and isinstance((), rule.kind):
        value = tuple(value)
    boolean = isinstance(value, bool) == (rule.kind is bool)  # an int, to isinstance
    if not boolean or not isinstance(value, rule.kind) or not rule.ok(value):
        shown = textwrap.shorten(repr(value), 60)
        raise InputError(f"config.{name} is {shown}, but must be {rule.allowed}")
    return value


def needs_all_data(config: ConfigDict) -> str:
    """The option for which all examples must be on the device; empty if there is none."""
    if config.algorithm == "rbm":
        return "algorithm rbm"  # initial biases need the mean
    if config.get("labelled"):
        return "labelled"
    output_bias = config.get("generator", {}).get("output_bias")
    return "generator.output_bias data_mean" * (output_bias == "data_mean")


def conflicts(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Fields that are incompatible with others, each with its allowed value.

    An option that a schedule enables counts as enabled.
    """
    c = ConfigDict(config.to_dict())
    enabled = {s.field: s.end for s in map(parse_schedule, c.schedules)}
    for name, end in enabled.items():
        *groups, leaf = name.split(".")
        place = functools.reduce(lambda place, group: place.get(group, {}), groups, c)
        if FIELDS[name].optional and leaf in place and not place[leaf]:
            place[leaf] = end
    if not np.float32(c.prior.low) < np.float32(c.prior.high):
        yield "prior.low", f"below prior.high, {c.prior.high}"
    if c.prior.name in ("mixture", "swiss_roll") and c.z_dim != 2:
        yield "z_dim", f"2 with prior.name {c.prior.name}"
    scheduled = [parse_schedule(text) for text in c.schedules]
    if len({schedule.field for schedule in scheduled}) < len(scheduled):
        yield "schedules", "one per field"
    for schedule in scheduled:
        if schedule.field not in COMMON | OWN[c.algorithm]:
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
    if c.data_placement == "host" and (needing := needs_all_data(c)):
        yield "data_placement", f"device with {needing}, which needs all examples there"
    if c.keep_best in METRICS and not (c.eval_every and c.keep_best in c.eval_metrics):
        yield "keep_best", "evaluated: add it to eval_metrics and set eval_every above 0"
    own = STEP_INFO[c.algorithm]
    if c.keep_best not in ("none", *own, *TRAINING):
        yield "keep_best", f"a metric or one of {', '.join(own)} with algorithm {c.algorithm}"
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
    for player in (name for name in KINDS if name in c):
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
    if c.algorithm == "rbm":
        if c.condition.on != "none":
            yield "condition.on", "none with algorithm rbm"
        if c.precision != "float32":
            yield "precision", "float32 with algorithm rbm"
        if c.prior.name == "uniform" and c.prior.low != -c.prior.high:
            yield "prior.low", "-prior.high with algorithm rbm, whose chains start at signs of z"
    else:
        yield from (_gan_conflicts if c.algorithm == "gan" else _autoencoder_conflicts)(c)
    updates = c.k if c.algorithm == "gan" else 1  # of D an iteration, on new minibatches
    if c.num_steps * updates * c.batch_size >= 2**31:
        yield "num_steps", "smaller: num_steps * k * batch_size must be below 2^31"


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
        if c.categories and c.condition.on != "none":
            yield "condition.on", "none with categories, which the encoder infers"
        if c.labelled and not c.categories:
            yield "labelled", "0 without categories"
        if c.discriminator.name != "mlp":
            yield "discriminator.name", "mlp with algorithm aae, for codes"
    elif c.prior.name != "normal":
        yield "prior.name", f"normal with algorithm {c.algorithm}"
    if c.generator.name == "monotone":
        yield "generator.name", f"another kind with algorithm {c.algorithm}"
    elif c.likelihood == "bernoulli" and c.generator.output != "sigmoid":
        yield "generator.output", "sigmoid with likelihood bernoulli, for its probabilities"


def _gan_conflicts(c: ConfigDict) -> Iterator[tuple[str, str]]:
    update = c["update"]  # ConfigDict has a method of this name
    if c.ada_target and not c.augment:
        yield "ada_target", "0 without augment"
    schedules = [parse_schedule(text).field for text in c.schedules]
    if c.ema and (c.ema_half_life or "ema_half_life" in schedules):
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


def markdown() -> str:
    """docs/configuration.md."""

    def rows(named: Iterable[tuple[str, Field]]) -> str:
        lines = ["| field | default | | |", "|---|---|---|---|"]
        for name, field in named:
            notes = [field.rule.allowed]
            notes += ["traced"] * field.traced + ["may change on resume"] * field.resume_mutable
            cells = (f"`{name}`", f"`{field.default!r}`", field.doc, "; ".join(notes))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines) + "\n"

    algorithms = "".join(
        f"\n## `algorithm={name}`\n\n{rows(own.items())}" for name, own in OWN.items()
    )
    kinds = "".join(
        f"\n## `{player}.name={kind}`\n\n"
        + rows((f"{player}.{name}", field) for name, field in own.items())
        for player, named in KINDS.items()
        for kind, own in named.items()
    )
    return f"""# Configuration

Every field is set by `--config.FIELD=VALUE`, in a config file or in a sweep. Generated by
`python -m gan_jax.config`. A *traced* field is a number: changing it does not recompile,
and sweep members that differ only in traced fields and seeds share one program.

## All configs

{rows(COMMON.items())}{algorithms}{kinds}"""
