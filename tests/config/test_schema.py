"""Tests of gan_jax.config.schema: fields, their rules, and conflicting values."""

import re

import numpy as np
import pytest

from gan_jax import config
from gan_jax.config import schema
from gan_jax.config.schema import ALGORITHM_FIELDS, COMMON, NETWORK_FIELDS
from gan_jax.errors import InputError

MONOTONE = {"generator.name": "monotone", "z_dim": 1, "prior.name": "normal"}
ALGORITHMS = {
    name: {"algorithm": name} | ({} if name == "gan" else {"prior.name": "normal"})
    for name in ALGORITHM_FIELDS
}


def _settings(player, kind):
    if kind == "monotone":
        return MONOTONE
    return ALGORITHMS["vae"] if player == "encoder" else {}


# (name, field, settings under which the field exists)
FIELDS = [
    *((name, field, {}) for name, field in COMMON.items()),
    *(
        (name, field, ALGORITHMS[a])
        for a, own in ALGORITHM_FIELDS.items()
        for name, field in own.items()
    ),
    *(
        (f"{player}.{name}", field, _settings(player, kind))
        for player, kinds in NETWORK_FIELDS.items()
        for kind, own in kinds.items()
        for name, field in own.items()
    ),
]


@pytest.mark.parametrize(("name", "field", "kind"), FIELDS, ids=lambda x: x if x is str else None)
def test_wrong_types(name, field, kind):
    assert schema.coerce(name, field.default, field) == field.default
    assert field.doc
    for value in ({"nested": 1}, None):
        with pytest.raises(InputError, match=rf"config\.{re.escape(name)}.* is "):
            config.replace(kind, {name: value})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("k", 0, "an integer from 1 to 2147483647"),
        ("k", True, "an integer"),
        ("seed", 2**32, "an integer from 0 to 4294967295"),
        ("ema", 1.0, "a number from 0 to below 1"),
        ("ema", 0.999999999, "a number from 0 to below 1"),  # 1 in float32
        ("weight_clip", 1e-60, "a number, at least 0"),  # 0 in float32, which means disabled
        pytest.param("d_optimizer.learning_rate", 10**400, "a number, at least 0", id="10^400"),
        ("d_optimizer.learning_rate", float("nan"), "a number, at least 0"),
        ("d_optimizer.eps", 0.0, "a number above 0"),
        *[
            ("schedules", (text,), "a tuple of FIELD=KIND:END:STEPS")
            for text in ("", "k=linear:1:5", "ema=step:0:5", "ema=linear:x:5", "ema=linear:0:0")
        ],
        ("schedules", ("ema=linear:0.9",), "a tuple of FIELD=KIND:END:STEPS"),
        ("schedules", ("ema=exponential:0:5",), "a tuple of FIELD=KIND:END:STEPS"),
        ("schedules", ("ema=exponential:0:5:1.5",), "a tuple of FIELD=KIND:END:STEPS"),
        ("label_smoothing", 0.5, "a number from 0 to below 1/2"),
        ("condition.mismatch", 1.0, "a number from 0 to below 1"),
        ("prior.low", float("inf"), "a finite number"),
        ("loss", "wgan", "one of minimax, non_saturating, "),
        ("generator.name", "cnn", "one of mlp, monotone"),
        ("generator.init_scale", 1e4, "a number above 0, at most 1000"),
        ("precision", "float16", "one of float32, bfloat16"),
        ("generator.widths", (0,), "a tuple of integers from 1 to 65536, such as (128,), "),
        ("generator.widths", (3.5,), "a tuple of integers"),
        ("image_size", (4,), "an integer from 0 to 4096, or (height, width)"),
        ("image_size", (4, 2.0), "an integer from 0 to 4096, or (height, width)"),
        ("image_size", True, "an integer from 0 to 4096, or (height, width)"),
        ("sample_grid", (4,), "a tuple of integers from 1 to 100, such as (4,4)"),
        ("eval_metrics", (), "a tuple, such as ("),
        ("dataset", "", "a name"),
        ("precision", "bfloat", "one of float32, bfloat16; did you mean bfloat16?"),
        (
            "trackers",
            ("wandb", "mlfow"),
            "a tuple, such as ('tensorboard',), of: tensorboard, wandb, mlflow; "
            "did you mean mlflow?",
        ),
    ],
)
def test_out_of_range_values(name, value, allowed):
    message = re.escape(f"config.{name} is ") + ".*" + re.escape(f", but must be {allowed}")
    with pytest.raises(InputError, match=message) as e:
        config.replace({}, {name: value})
    assert len(str(e.value)) < 500


def test_exact_conversions():
    values = {
        "ema": (0, 0.0),
        "weight_clip": (np.float32(0), 0.0),
        "k": (np.int64(3), 3),
        "generator.widths": ([7, 8], (7, 8)),
    }
    c = config.replace({}, {name: value for name, (value, _) in values.items()})
    for name, (_, expected) in values.items():
        value = config.flatten(c)[name]
        assert (value, type(value)) == (expected, type(expected))


UNKNOWN = {
    "generator.units": "generator.units is not a field of generator.name=mlp, which has: widths, ",
    "discriminator.batch_norm": "discriminator.batch_norm is not a field of discriminator.name=mlp",
    "generator.widht": "; did you mean config.generator.widths? The fields are: generator.name, ",
    "g_optimiser.name": "; did you mean config.g_optimizer.name? The fields are: seed, ",
    "k.x": "; did you mean config.k? The fields are: seed, ",
    "xyzzy": "config.xyzzy is not a field. The fields are: seed, ",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_fields(name):
    for call, argument in ((config.replace, {name: 1}), (config.override, [f"--config.{name}=1"])):
        with pytest.raises(InputError, match=re.escape(UNKNOWN[name])) as e:
            call({}, argument)
        listed = str(e.value).rpartition(": ")[2].split(", ")
        groups = {field.rpartition(".")[0] for field in listed}
        assert groups == {"generator" if name == "generator.widht" else ""}


LABEL, VAE = "condition.on=label", "algorithm=vae prior.name=normal"
TEXT = "condition.on=text condition.captions=x"
CLASSIFIER = "condition.discriminator=classifier condition.weight=1.0"
CONFLICTS = {
    "generator.name=r3gan generator.widths=8,12": "group_size is 16, but must be a divisor",
    "discriminator.name=dcgan penalties.r1.weight=1.0": "batch_norm is True, but must be",
    "prior.low=1.0 prior.high=1.0": "prior.low is 1.0, but must be below prior.high",
    "schedules=ema=linear:1:5": "but must be with an end of ema that is a number from 0 to below 1",
    "schedules=ema=linear:0:5,ema=linear:0:6": "'ema=linear:0:6'), but must be one per field",
    "num_steps=6 schedules=g_optimizer.learning_rate=cosine:0:5": "must be of at least num_steps",
    "ema=0.5 ema_half_life=9.0": "ema is 0.5, but must be 0 with ema_half_life",
    "batch_size=1 generator.batch_norm=True": "batch_size is 1, but must be at least 2",
    "discriminator.widths=() discriminator.dropout=0.5": "dropout is 0.5, but must be 0.0",
    "generator.widths=() generator.pieces=2": "pieces is 2, but must be 1 without hidden",
    "keep_best=fid eval_every=0": "keep_best is 'fid', but must be evaluated",
    "condition.on=label schedules=condition.interpolation=linear:1:5": "interpolation is 0.0, with "
    "a schedule, but must be 0.0 with condition.on label",
    "loss=hinge schedules=label_smoothing=linear:0.1:5": "but must be 0 with loss hinge",
    "schedules=ada_target=linear:0.6:5": "ada_target is 0.0, with a schedule, but must be 0",
    "schedules=consensus=linear:1:5": "but must be 0 with update alternating",
    "k=2 update=simultaneous": "k is 2, but must be 1 with update simultaneous",
    "update=unrolled": "unrolled_steps is 0, but must be at least 1",
    "unrolled_steps=3": "unrolled_steps is 3, but must be 0 with update alternating",
    "update=consensus": "consensus is 0.0, but must be above 0",
    "update=optimistic consensus=1.0": "consensus is 1.0, but must be 0 with update optimistic",
    "pack=3": "pack is 3, but must be a divisor of batch_size, 128",
    "weight_clip=0.01 loss=hinge": "weight_clip is 0.01, but must be 0 with loss hinge",
    "label_smoothing=0.1 loss=wasserstein": "label_smoothing is 0.1, but must be 0 with loss",
    "num_steps=2000000000": "num_steps is 2000000000, but must be smaller",
    "penalties.r1.interval=4": "r1.interval is 4, but must be 1 where penalties.r1.weight is 0",
    "generator.name=monotone z_dim=2 prior.name=normal": "z_dim is 2, but must be 1 for a",
    "generator.name=monotone z_dim=1 prior.name=uniform": "prior.name is 'uniform', but must be",
    "generator.name=monotone z_dim=1 prior.name=normal pack=2": "pack is 2, but must be 1 for",
    "condition.discriminator=projection": "must be 'concat' with condition.on none",
    f"{LABEL} condition.captions=x": "captions is 'x', but must be '' with condition.on label",
    f"{LABEL} condition.generator=batch_norm": "concat for a generator without batch normalisation",
    f"{LABEL} condition.discriminator=classifier": "condition.weight is 0.0, but must be above 0",
    f"{LABEL} condition.weight=1.0": "must be 0 with condition.discriminator concat",
    f"{LABEL} {CLASSIFIER} pack=2": "it classifies one example",
    "condition.on=text": "captions is '', but must be a file with condition.on text",
    f"{TEXT} {CLASSIFIER}": "concat or projection with condition.on text",
    f"{TEXT} condition.mismatch=0.5 pack=128": "0 with fewer than two inputs of D",
    f"{TEXT} generator.name=dcgan generator.sample_statistics=recomputed": "must be running with",
    "algorithm=aae num_labelled=10": "num_labelled is 10, but must be 0 without num_categories",
    f"algorithm=aae {LABEL} num_categories=10": "condition.on is 'label', but must be none with",
    "algorithm=aae condition.on=text": "must be none or label with algorithm aae",
    f"algorithm=aae {LABEL} condition.discriminator=projection": "concat, the default, with",
    "algorithm=aae discriminator.name=dcgan": "must be mlp with algorithm aae",
    "algorithm=aae prior.name=swiss_roll": "z_dim is 100, but must be 2",
    "algorithm=vae prior.name=uniform": "must be normal with algorithm vae",
    f"{VAE} {LABEL}": "must be none with algorithm vae",
    f"{VAE} generator.output=tanh": "must be sigmoid with likelihood bernoulli",
    f"{VAE} generator.name=monotone z_dim=1": "must be another kind with algorithm vae",
    f"{VAE} keep_best=d_loss": "must be a metric or one of loss, reconstruction, kl",
    f"{VAE} schedules=ema=linear:0.5:9": "must be of fields of algorithm vae",
    "algorithm=rbm loss=hinge": "config.loss is not a field of algorithm=rbm",
    f"algorithm=rbm {LABEL}": "must be none with algorithm rbm",
    "algorithm=rbm data_placement=host": "device with algorithm rbm",
    "algorithm=rbm precision=bfloat16": "precision is 'bfloat16', but must be float32",
    "algorithm=rbm prior.low=0.0": "must be -prior.high with algorithm rbm",
}


@pytest.mark.parametrize("settings", CONFLICTS)
def test_conflicts(settings):
    with pytest.raises(InputError, match=re.escape(CONFLICTS[settings])) as e:
        config.override({}, [f"--config.{setting}" for setting in settings.split()])
    assert str(e.value).startswith("config.")
    assert "\n" not in str(e.value)


def test_boundaries_of_conflicts():
    config.replace(
        {},
        {
            "num_steps": 10,
            "generator.widths": (),
            "prior.low": 0.0,
            "prior.high": 1e-9,
            "pack": 128,
            "penalties.r1.interval": 4,
            "schedules": (
                "penalties.r1.weight=linear:1:5",
                "d_optimizer.learning_rate=cosine:0:10",
                "g_optimizer.learning_rate=linear:1e-3:1",
                "g_optimizer.b1=exponential:0:1:1",
            ),
        },
    )
