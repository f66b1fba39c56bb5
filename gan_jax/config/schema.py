"""Every config field: default, allowed values, documentation, and how it may be used.

    python -m gan_jax.config

prints docs/configuration.md. Everything else follows from the fields: defaults, validation, which
numbers are traced, and what may change when a run resumes.
"""

import math
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gan_jax.algorithms import ALGORITHMS
from gan_jax.augment import AUGMENTATIONS
from gan_jax.errors import InputError, did_you_mean
from gan_jax.evaluation.registry import TRAINING
from gan_jax.evaluation.text_encoder import PACKAGED
from gan_jax.losses import LOSSES
from gan_jax.networks import NETWORKS
from gan_jax.networks.layers import ACTIVATIONS, INITIALIZERS, OUTPUTS
from gan_jax.optimizers import OPTIMIZERS
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import KINDS as SCHEDULES
from gan_jax.spec import Schedule
from gan_jax.updates import UPDATES

_FLOAT32_MAX = 3.4e38
_STEP_INFO = dict.fromkeys(name for x in ALGORITHMS.values() for name in x.step_info)


class Rule(NamedTuple):
    """Allowed values of a field."""

    kind: type | types.UnionType
    allowed: str  # completes "must be"
    ok: Callable[[Any], bool]
    options: tuple[str, ...] = ()  # names that are allowed


class Field(NamedTuple):
    """One config field."""

    default: Any
    rule: Rule
    doc: str
    traced: bool = False  # a number; changing it does not recompile
    optional: bool = False  # traced, and 0 disables the option, which is then compiled out
    resume_mutable: bool = False  # may change on resume: results agree up to rounding
    per_sweep: bool = False  # has one value in a whole sweep


def _traced(default: float, rule: Rule, doc: str) -> Field:
    return Field(default, rule, doc, traced=True)


def _option(rule: Rule, doc: str) -> Field:
    return Field(0.0, rule, f"{doc}; 0: off", traced=True, optional=True)


def _per_sweep(default: Any, rule: Rule, doc: str) -> Field:
    return Field(default, rule, doc, per_sweep=True)


def _resumable(default: Any, rule: Rule, doc: str) -> Field:
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
    return Rule(str, "one of " + ", ".join(options), lambda v: v in options, options)


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
        options,
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
    "seed": _per_sweep(0, _integer(0, 2**32 - 1), "PRNG seed"),
    "accelerator": _per_sweep(
        "auto", _choice(("auto", "cpu", "gpu", "tpu")), "auto: JAX's default"
    ),
    "deterministic": _per_sweep(True, _FLAG, "GPU: deterministic XLA operations only"),
    "precision": Field(
        "float32",
        _choice(("float32", "bfloat16")),
        "dtype of activations; parameters and losses stay float32",
    ),
    "dataset": _per_sweep(
        "mnist",
        _TEXT,
        "TFDS name, digits, stacked_mnist, ring, grid, gaussian1d, folder:DIR, npz:FILE, npy:FILE, "
        "smiles:FILE or smiles_morgan:FILE",
    ),
    "split": _per_sweep("train", _TEXT, "split to train on, or a slice such as train[:50000]"),
    "validation_split": _per_sweep("train", _TEXT, "split for evaluation during training"),
    "test_split": _per_sweep("test", _TEXT, "split for gan_jax.evaluate"),
    "image_size": _per_sweep(
        0,
        Rule(
            int | tuple,
            "an integer from 0 to 4096, or (height, width)",
            lambda v: _SIDE.ok(v) if type(v) is int else len(v) == 2 and all(map(_SIDE.ok, v)),
        ),
        "pixels per side to resize to, or (height, width); 0: no resizing",
    ),
    "data_placement": _resumable(
        "auto",
        _choice(("auto", "device", "host")),
        "where training data are kept: device, or host, which prefetches minibatches, with bitwise "
        "identical results; auto: host if they would fill over half of the device's memory",
    ),
    "algorithm": Field("gan", _choice(ALGORITHMS), "training algorithm"),
    "num_steps": Field(
        20_000, _integer(1), "iterations; of a GAN k discriminator steps and one generator step"
    ),
    "batch_size": Field(128, _integer(1), "examples, and noise vectors, per minibatch"),
    "devices": _resumable(
        1,
        _integer(0, 2**20),
        "data-parallel devices of a run; 0: all. Results of other numbers agree up to rounding",
    ),
    "shard_state": _resumable(
        False,
        _FLAG,
        "devices: split parameters and optimizer state among them (FSDP), not only minibatches; "
        "results agree up to rounding",
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
        "what G and D are conditioned on; aae: the decoder alone",
    ),
    "condition.captions": _per_sweep(
        "", Rule(str, "a path", lambda v: True), "text: TSV file of captions, by image or by class"
    ),
    "condition.encoder": _per_sweep(
        PACKAGED,
        _TEXT,
        f"text: encoder of captions: {PACKAGED}, or a file (gan_jax.evaluation.text_encoder)",
    ),
    "condition.held_out": _per_sweep(
        (),
        Rule(
            tuple,
            "a tuple of strings, such as ('rose', '12')",
            lambda v: all(type(x) is str and x for x in v),
        ),
        "classes left out of training, by name or by the number in the name",
    ),
    "condition.generator": Field(
        "concat",
        _choice(("concat", "batch_norm")),
        "conditioning of G: concatenated to inputs of layers, or conditional batch normalisation",
    ),
    "condition.discriminator": Field(
        "concat",
        _choice(("concat", "projection", "classifier")),
        "conditioning of D: concatenated, by projection, or targets of a classifier (AC-GAN)",
    ),
    "condition.weight": _option(
        _NON_NEGATIVE, "classifier: weight of the classification in both losses"
    ),
    "condition.mismatch": _option(
        _FRACTION,
        "text: weight of mismatched image-caption pairs in D's loss on fakes (GAN-CLS: 0.5)",
    ),
    "condition.interpolation": _option(
        _NON_NEGATIVE,
        "text: weight of G's loss on interpolated text embeddings (GAN-INT: 1)",
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
    "log_every": _resumable(2_000, _integer(1), "iterations between printed lines"),
    "metrics_every": _resumable(100, _integer(1), "iterations between lines of metrics.jsonl"),
    "sample_every": _resumable(2_000, _integer(1), "iterations between sample grids"),
    "sample_grid": _per_sweep(
        (4, 4), _integers("(4,4)", 2, 100), "rows and columns of a sample grid"
    ),
    "checkpoint_every": _resumable(2_000, _integer(1), "iterations between checkpoints"),
    "keep_checkpoints": _resumable(3, _integer(1), "newest checkpoints to keep"),
    "eval_every": _per_sweep(
        0, _integer(0), "iterations between evaluations, each with a checkpoint; 0: none"
    ),
    "eval_num": _per_sweep(10_000, _integer(1), "samples per evaluation"),
    "eval_metrics": _per_sweep(("fid",), _choices(TRAINING), "metrics per evaluation"),
    "keep_best": _resumable(
        "none",
        _choice(("none", *_STEP_INFO, *TRAINING)),
        "metric or loss by which the best checkpoint is also kept",
    ),
    "trackers": _resumable(
        (),
        _choices(("tensorboard", "wandb", "mlflow"), empty=True),
        "experiment trackers to write to (extras: their names)",
    ),
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
        "one-sided label smoothing s: real target 1 - s",
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
    "ema": _option(_FRACTION, "EMA decay of the generator; the EMA is used for samples and scores"),
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
ALGORITHM_FIELDS: dict[str, dict[str, Field]] = {
    "gan": _GAN,
    "autoencoder": _AUTOENCODER,
    "vae": _AUTOENCODER
    | {"kl_weight": _traced(1.0, _NON_NEGATIVE, "weight of the KL divergence (beta-VAE)")},
    "aae": _AUTOENCODER
    | {
        **{name: _GAN[name] for name in ("loss", "discriminator.name")},
        "num_categories": Field(0, _integer(0, 10_000), "classes that the encoder infers; 0: none"),
        "num_labelled": Field(
            0,
            _integer(0),
            "training examples, equally many of each class, whose labels the encoder learns from; "
            "0: none, and classes are clusters",
        ),
    }
    | _optimizer("d_optimizer")
    | _optimizer("e_optimizer"),
    "rbm": {
        "k": Field(1, _integer(1), "Gibbs steps per iteration"),
        "persistent": Field(
            True, _FLAG, "persistent chains (PCD); False: chains start at the data (CD)"
        ),
        "sample_steps": Field(1000, _integer(1), "Gibbs steps per sample"),
        **_optimizer("optimizer"),
    },
}
FIELDS: dict[str, Field] = COMMON | {
    k: f for own in ALGORITHM_FIELDS.values() for k, f in own.items()
}

_MLP = {
    "widths": Field(
        (128,), _integers("(128,), (256,256) or ()", None, 2**16), "units of each hidden layer"
    ),
    "activation": Field(
        "relu", _choice(ACTIVATIONS), "activation of hidden layers; leaky_relu: slope 0.2"
    ),
    "initializer": Field("he_normal", _choice(INITIALIZERS), "initializer of weight matrices"),
    "init_scale": Field(
        1.0,
        _real("a number above 0, at most 1000", lambda v: 0 < v <= 1000),
        "factor of he_normal; half-width of uniform; standard deviation of normal",
    ),
    "pieces": Field(1, _integer(1, 2**10), "maxout pieces per hidden unit; 1: no maxout"),
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
NETWORK_FIELDS: dict[str, dict[str, dict[str, Field]]] = {
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
            "units": Field(16, _integer(1, 2**16), "tanh units of the monotone map"),
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
    own = ALGORITHM_FIELDS[coerce("algorithm", flat.get("algorithm", algorithm.default), algorithm)]
    found: dict[str, Field] = {}
    for name, field in (COMMON | own).items():
        found[name] = field
        player, _, leaf = name.partition(".")
        if player in NETWORK_FIELDS and leaf == "name":
            kind = coerce(name, flat.get(name, field.default), field)
            found |= {f"{player}.{f}": x for f, x in NETWORK_FIELDS[player][kind].items()}
    return found


def unknown(name: str, known: Mapping[str, Field], flat: Mapping[str, Any]) -> InputError:
    """Error for a field that a config does not have."""
    group, _, leaf = name.partition(".")
    kinds = NETWORK_FIELDS.get(group, {}).values()
    if name in FIELDS or (any(leaf in kind for kind in kinds) and f"{group}.name" not in known):
        algorithm = flat.get("algorithm", COMMON["algorithm"].default)
        return InputError(f"config.{name} is not a field of algorithm={algorithm}")
    if any(leaf in kind for kind in kinds):
        kind = flat.get(f"{group}.name", FIELDS[f"{group}.name"].default)
        own = ", ".join(NETWORK_FIELDS[group][kind])
        return InputError(f"config.{name} is not a field of {group}.name={kind}, which has: {own}")
    hint = did_you_mean(name, known, "config.", cutoff=0.5) or "."
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
        names = value if isinstance(value, tuple) else (value,)
        wrong = [x for x in names if isinstance(x, str) and x not in rule.options]
        hint = did_you_mean(wrong[0], rule.options) if wrong else ""
        raise InputError(f"config.{name} is {shown}, but must be {rule.allowed}{hint}")
    return value
