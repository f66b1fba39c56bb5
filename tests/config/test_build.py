"""Tests of gan_jax.config.build: the split into static spec and traced hyperparameters."""

import re

import pytest

from gan_jax import config
from gan_jax.config.schema import ALGORITHM_FIELDS, COMMON
from gan_jax.errors import InputError
from gan_jax.networks import MLP, Monotone
from gan_jax.spec import Prior, Schedule

SHAPE = (8, 8, 1)


def test_spec_fields():
    same = {"loss": "hinge", "k": 2, "update": "unrolled", "unrolled_steps": 3, "z_dim": 5}
    same |= {"algorithm": "gan", "batch_size": 6, "pack": 3}
    c = config.replace(
        {},
        same
        | {
            "prior.high": 2.0,
            "generator.widths": (7, 8),
            "generator.batch_norm": True,
            "discriminator.dropout": 0.5,
            "d_optimizer.name": "sgd",
            "schedules": ("g_optimizer.learning_rate=linear:0:20000",),
            "penalties.r2.weight": 1.0,
            "penalties.r2.interval": 4,
            "penalties.gradient_penalty.weight": 2.0,
            "instance_noise.std": 0.1,
        },
    )
    assert config.spec(c, SHAPE)._asdict() == same | {
        "prior": Prior("uniform", -1.0, 2.0),
        "generator": MLP((7, 8), SHAPE, "relu", "sigmoid", "he_normal", 1.0, batch_norm=True),
        "discriminator": MLP((128,), (), "relu", "linear", "he_normal", 1.0, dropout=0.5),
        "d_optimizer": "sgd",
        "g_optimizer": "adam",
        "penalties": (("gradient_penalty", 1), ("r2", 4)),
        "schedules": (Schedule("g_optimizer.learning_rate", "linear", 0.0, 20_000),),
        "pixel_low": 0.0,
        "augment": (),
        "adaptive": False,
        "classes": 0,
        "text": 0,
    }


GAN = COMMON | ALGORITHM_FIELDS["gan"]


def test_hparams_fields():
    default = config.flatten(config.hparams(config.default()))
    assert set(default) == {name for name, field in GAN.items() if field.traced}
    off = {name for name, value in default.items() if value is None}
    assert off == {name for name, field in GAN.items() if field.optional}


@pytest.mark.parametrize("name", GAN)
def test_traced_static_and_host_fields(name):
    field, c = GAN[name], config.default()
    if field.rule.kind not in (int, float):
        return
    # Unvalidated, as it may conflict with other fields.
    value = field.rule.kind(field.default + 1)
    c.update_from_flattened_dict({name: value})
    before, after = (config.flatten(config.hparams(x)) for x in (config.default(), c))
    assert after == before | ({name: value} if field.traced else {})
    same_spec = config.spec(c, SHAPE) == config.spec(config.default(), SHAPE)
    assert hash(config.spec(c, SHAPE)) == hash(config.spec(c, SHAPE))
    if name.startswith("penalties"):  # static only if enabled
        assert same_spec == name.endswith("interval")
    elif name == "ada_target":  # likewise
        assert not same_spec
    else:
        assert same_spec == (field.traced or field.per_sweep or name == "num_steps")


MONOTONE = {"generator.name": "monotone", "z_dim": 1, "prior.name": "normal"}


R3GAN = {"generator.name": "r3gan", "generator.widths": (4, 4, 4)}


@pytest.mark.parametrize(
    ("changes", "shape", "low"),
    [
        ({"generator.name": "dcgan"}, SHAPE, -1),
        ({"generator.name": "dcgan", "generator.output": "sigmoid"}, SHAPE, 0),
        (R3GAN | {"generator.group_size": 8}, SHAPE, -1),
        ({"generator.output": "tanh"}, SHAPE, -1),
        ({"generator.output": "tanh"}, (2,), 0),
        ({"generator.output": "linear"}, SHAPE, 0),
    ],
)
def test_pixels_by_output(changes, shape, low):
    assert config.spec(config.replace({}, changes), shape).pixel_low == low


@pytest.mark.parametrize(
    ("generator", "discriminator"), [("mlp", "dcgan"), ("resnet", "mlp"), ("monotone", "mlp")]
)
def test_precision_of_networks(generator, discriminator):
    names = {"generator.name": generator, "discriminator.name": discriminator}
    monotone = generator == "monotone"
    changes = (MONOTONE | {"generator.units": 3} if monotone else {}) | names
    spec = config.spec(
        config.replace({}, changes | {"precision": "bfloat16"}), (1,) if monotone else SHAPE
    )
    assert spec.discriminator.dtype == "bfloat16"
    if monotone:
        assert spec.generator == Monotone(3, out_shape=(1,))
    else:
        assert spec.generator.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        (
            {"generator.name": "dcgan"},
            (28, 28, 1),
            "expected sides divisible by 8, for 3",
        ),
        ({"discriminator.name": "resnet"}, (32, 30, 3), "expected sides divisible by 4"),
        ({"augment": ("color",)}, SHAPE, "(8, 8, 1): expected RGB images for 'color'"),
        (
            {"augment": ("translation", "color", "cutout")},
            SHAPE,
            "for grey ones use --config.augment=translation,cutout",
        ),
        ({"augment": ("color",)}, (2,), "augment is ('color',), but mnist has examples of shape"),
        (MONOTONE, SHAPE, "generator.name is 'monotone', but mnist has e"),
        (R3GAN | {"generator.group_size": 8}, (30, 32, 3), "expected sides divisible by 4"),
        ({"discriminator.name": "r3gan"}, (2,), "discriminator.name is 'r3gan', but mnist has e"),
    ],
)
def test_unsupported_example_shapes(changes, shape, words):
    with pytest.raises(InputError, match=re.escape(words)):
        config.spec(config.replace({}, changes), shape)
