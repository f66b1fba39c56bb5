import math
import re

import numpy as np
import pytest

from gan_jax import config
from gan_jax.errors import InputError
from gan_jax.fields import FIELDS
from gan_jax.writers import write_json
from tests.conftest import ROOT


def test_mnist_is_the_tutorials_configuration():
    """The 2014 walk-through: two MLPs of 128 ReLU, Adam as it comes, 20,000 iterations."""
    c = config.load(str(ROOT / "configs/mnist.py"))
    assert (c.dataset, c.split, c.image_size) == ("mnist", "train", 0)
    assert (c.loss, c.k, c.num_steps, c.batch_size) == ("non_saturating", 1, 20_000, 128)
    assert (c.z_dim, c.prior.to_dict()) == (100, {"name": "uniform", "low": -1.0, "high": 1.0})
    for player in (c.generator, c.discriminator):
        assert (player.widths, player.activation) == ((128,), "relu")
        assert (player.initializer, player.init_scale) == ("he_normal", 1.0)
    assert c.generator.output == "sigmoid"
    for optimizer in (c.d_optimizer, c.g_optimizer):
        assert (optimizer.name, optimizer.schedule) == ("adam", "constant")
        rates = optimizer.learning_rate, optimizer.b1, optimizer.b2, optimizer.eps
        assert rates == (1e-3, 0.9, 0.999, 1e-8)
    assert (c.log_every, c.sample_every, c.sample_grid) == (2_000, 2_000, (4, 4))


def test_goodfellow2014_is_the_setting_of_the_papers_code():
    c = config.load(str(ROOT / "configs/goodfellow2014.py"))
    assert (c.dataset, c.split, c.batch_size) == ("mnist", "train[:50000]", 100)
    assert (c.validation_split, c.test_split) == ("train[50000:]", "test")
    assert (c.loss, c.k, c["update"]) == ("non_saturating", 1, "simultaneous")
    assert (c.z_dim, c.prior.name) == (100, "uniform")
    np.testing.assert_allclose((c.prior.low, c.prior.high), (-math.sqrt(3), math.sqrt(3)))
    g, d = c.generator, c.discriminator
    assert (g.widths, g.activation, g.pieces, g.output) == ((1200, 1200), "relu", 1, "sigmoid")
    assert (g.initializer, g.init_scale, g.output_bias) == ("uniform", 0.05, "data_mean")
    assert (d.widths, d.activation, d.pieces) == ((240, 240), "linear", 5)
    assert (d.initializer, d.init_scale) == ("uniform", 0.005)
    assert (d.input_dropout, d.dropout) == (0.2, 0.5)  # kept: 0.8 and 0.5
    epoch = 50_000 // 100
    # D's loss is half of ours, which half the rate stands for: see test_algorithm.
    for player, half in (("d", 0.5), ("g", 1.0)):
        optimizer = config.game(c, (28, 28, 1))._asdict()[f"{player}_optimizer"]
        assert optimizer.name == "momentum"
        rates = config.hparams(c)._asdict()[player]
        for step in (0, 1, 10 * epoch, 250 * epoch, 5000 * epoch, 10**7):
            rate = max(0.1 / 1.000004**step, 1e-6)
            momentum = 0.5 + 0.2 * min(step / (249 * epoch), 1)
            opt = optimizer.transformation(rates, step)
            first, state = opt.update(1.0, opt.init(0.0))
            second, _ = opt.update(0.0, state)
            np.testing.assert_allclose(first, -half * rate, rtol=1e-5)
            np.testing.assert_allclose(second / first, momentum, rtol=1e-5)
    assert (c.eval_metrics, c.keep_best, c.eval_num) == (("parzen",), "parzen", 10_000)


CONTRADICTIONS = {
    "prior.low is 1.0, but must be below prior.high": {"prior.low": 1.0, "prior.high": 1.0},
    "d_optimizer.end_learning_rate is 1.0, but must be at most": {
        "d_optimizer.schedule": "linear",
        "d_optimizer.end_learning_rate": 1.0,
    },
    "g_optimizer.decay_steps is 5, but must be at least num_steps": {
        "g_optimizer.schedule": "cosine",
        "g_optimizer.decay_steps": 5,
        "num_steps": 6,
    },
    "batch_size is 1, but must be at least 2": {"batch_size": 1, "generator.batch_norm": True},
    "discriminator.dropout is 0.5, but must be 0.0 where discriminator.widths is ()": {
        "discriminator.widths": (),
        "discriminator.dropout": 0.5,
    },
    "generator.pieces is 2, but must be 1 where generator.widths is ()": {
        "generator.widths": (),
        "generator.pieces": 2,
    },
    "g_optimizer.b1_steps is 5, but must be 0 for adam": {"g_optimizer.b1_steps": 5},
    "keep_best is 'fid', but must be measured": {"keep_best": "fid", "eval_every": 0},
    "k is 2, but must be 1 with update simultaneous": {"k": 2, "update": "simultaneous"},
    "unrolled_steps is 0, but must be at least 1": {"update": "unrolled"},
    "unrolled_steps is 3, but must be 0 with update alternating": {"unrolled_steps": 3},
    "consensus is 0.0, but must be above 0": {"update": "consensus"},
    "consensus is 1.0, but must be 0 with update optimistic": {
        "update": "optimistic",
        "consensus": 1.0,
    },
    "pack is 3, but must be a divisor of batch_size, 8": {"pack": 3, "batch_size": 8},
    "weight_clip is 0.01, but must be 0 with loss hinge": {"weight_clip": 0.01, "loss": "hinge"},
    "label_smoothing is 0.1, but must be 0 with loss wasserstein": {
        "label_smoothing": 0.1,
        "loss": "wasserstein",
    },
    "instance_noise.steps is 9, but must be 0": {"instance_noise.steps": 9},
    "num_steps is 2000000000, but must be less": {"num_steps": 2_000_000_000},
    "penalties.r1.interval is 4, but must be 1 where penalties.r1.weight is 0": {
        "penalties.r1.interval": 4
    },
    **{
        f"generator.{field} is {value!r}, but must be {off} with generator.monotone": {
            "generator.monotone": True,
            "z_dim": 1,
            "prior.name": "normal",
            "generator.output": "linear",
            f"generator.{field}": value,
        }
        for field, value, off in (
            ("pieces", 2, 1),
            ("output", "sigmoid", "linear"),
            ("output_bias", "data_mean", "zero"),
            ("batch_norm", True, False),
        )
    },
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_what_makes_no_sense_together_is_refused_by_name(message, tiny):
    with pytest.raises(InputError) as e:
        config.replace(tiny, CONTRADICTIONS[message])
    assert f"config.{message}" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("ema", 1.0, "a number from 0 to below 1"),
        ("weight_clip", 1e-60, "a number, at least 0"),
        ("penalties.r1.interval", 0, "an integer from 1"),
        ("pack", 0, "an integer from 1"),
    ],
)
def test_what_is_out_of_its_fields_range_is_refused_by_name(field, value, allowed, tiny):
    message = f"config.{field} is {value}, but must be {allowed}"
    with pytest.raises(InputError, match=re.escape(message)):
        config.replace(tiny, {field: value})


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_is_valid_and_survives_json(path, tmp_path):
    c = config.load(str(path))
    write_json(tmp_path / "config.json", c.to_dict())
    assert config.load(str(tmp_path / "config.json")) == c
    assert not config.differences(c, config.load(str(tmp_path / "config.json")))


def test_every_field_of_the_base_config_has_a_comment_or_stands_beside_one():
    text = (ROOT / "configs/mnist.py").read_text()
    for field in FIELDS:
        group, _, leaf = field.rpartition(".")
        if group.startswith("penalties."):  # all of them alike, in a loop
            group = "penalties[name]"
        lines = [x for x in text.splitlines() if f".{leaf} = " in x]
        assert any("#" in line for line in lines), field
        assert not group or f"c.{group} = " in text


def test_settings_are_parsed_as_the_type_of_their_field(tiny):
    settings = {
        "k": "3",
        "loss": "minimax",
        "split": "1",
        "deterministic": "false",
        "d_optimizer.learning_rate": "1e-4",
        "g_optimizer.b1": "0",
        "discriminator.widths": "(7,8)",
        "generator.widths": "[]",
        "sample_grid": "3,4",
    }
    c = config.override(tiny, [f"--config.{field}={text}" for field, text in settings.items()])
    assert (c.k, c.loss, c.split, c.deterministic) == (3, "minimax", "1", False)
    assert (c.d_optimizer.learning_rate, c.g_optimizer.b1) == (1e-4, 0.0)
    assert (c.discriminator.widths, c.generator.widths, c.sample_grid) == ((7, 8), (), (3, 4))
    assert config.override(tiny, ["--config.generator.widths=32"]).generator.widths == (32,)
    assert (tiny.k, tiny.loss) == (1, "non_saturating")


def test_numbers_are_traced_and_structure_is_static(tiny):
    game, hparams = config.game(tiny, (8, 8, 1)), config.hparams(tiny)
    faster = config.override(tiny, ["--config.d_optimizer.learning_rate=1"])
    assert config.game(faster, (8, 8, 1)) == game
    assert hash(config.game(faster, (8, 8, 1))) == hash(game)
    assert config.hparams(faster) != hparams
    more = config.override(tiny, ["--config.k=2"])
    assert config.game(more, (8, 8, 1)) != game
    assert config.hparams(more) == hparams


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_another_type_or_missing_is_refused_by_name(field, tiny):
    fields = tiny.to_dict()
    *groups, leaf = field.split(".")
    place = fields
    for group in groups:
        place = place[group]
    place[leaf] = {"nested": 1}
    with pytest.raises(InputError, match=rf"config\.{field}.* is not a field|config\.{field} is "):
        config.override(fields, [])
    place[leaf] = None
    with pytest.raises(InputError, match=rf"config\.{field} is None, but must be "):
        config.override(fields, [])
    del place[leaf]
    with pytest.raises(InputError, match=rf"config\.{field} is missing"):
        config.override(fields, [])
