"""Properties of runs under random configs and random damage to checkpoints."""

import contextlib
import io
import pathlib
import tempfile

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from gan_jax import cli, config, train, workdir
from gan_jax.config.schema import fields
from gan_jax.losses import LOSSES
from gan_jax.updates import UPDATES
from tests.conftest import tiny_config

# Some valid, some of the wrong type, sign or spelling.
NUMBERS = ["0", "1", "2", "3", "-1", "0.5", "1e-3", "1e30", "nan", "inf", "None", "two", ""]
INTEGERS = ["0", "1", "2", "3", "-1", "1.5", "True"]
NAMES = ["adam", "sgd", "momentum", "rmsprop", "Adam", "0", ""]
REAL_FIELDS = ["prior.low", "prior.high", "generator.init_scale", "discriminator.dropout"]
REAL_FIELDS += [name for name, field in fields({}).items() if field.traced]
INTEGER_FIELDS = (
    "k z_dim pack unrolled_steps penalties.r1.interval generator.pieces generator.units "
    "metrics_every keep_checkpoints"
)
VALUES = {
    **dict.fromkeys(REAL_FIELDS, NUMBERS),
    **dict.fromkeys(INTEGER_FIELDS.split(), INTEGERS),
    **dict.fromkeys(("d_optimizer.name", "g_optimizer.name"), NAMES),
    "generator.batch_norm": ["True", "False", "1"],
    "discriminator.spectral_norm": ["True", "False", "yes"],
    "seed": ["0", "7", "4294967295", "4294967296", "-1", "1.0"],
    "dataset": ["digits", "digit", "npz:nowhere.npz", "folder:", ""],
    "split": ["train", "test", "train[:100]", "train[5:5]", "train[:99999]", "val", "train["],
    "algorithm": ["gan", "vae"],
    "image_size": ["0", "4", "5", "-1", "4097", "x"],
    "loss": [*LOSSES, "wgan", ""],
    "update": ["alternating", "unrolled", *UPDATES, "both"],
    "generator.name": ["mlp", "monotone", "cnn"],
    "batch_size": ["1", "7", "8", "1500", "1501", "0"],
    "prior.name": ["uniform", "normal", "cauchy"],
    "generator.widths": ["()", "(3,)", "(3,4)", "(0,)", "3", "(3.5,)", "None"],
    "generator.activation": ["relu", "leaky_relu", "tanh", "gelu"],
    "generator.output": ["sigmoid", "linear", "softmax"],
    "generator.initializer": ["he_normal", "uniform", "normal", "zeros"],
    "discriminator.widths": ["()", "(3,)", "(2,2,2)", "(-1,)", "(3"],
    "discriminator.activation": ["relu", "tanh", ""],
    "schedules": [
        "d_optimizer.learning_rate=linear:0:2",
        "g_optimizer.learning_rate=exponential:0:1:0.5,ema=cosine:0.5:3",
        "instance_noise.std=linear:0:1",
        "penalties.r1.weight=cosine:2:2",
        "k=linear:1:2",
        "ema=step:0:1",
    ],
    "sample_grid": ["(1,1)", "(2,3)", "(0,1)", "(1,)", "4"],
    "accelerator": ["auto", "cpu", "tpu", "npu"],
    "no_such_field": ["1"],
    "d_optimizer.no_such_field": ["1"],
}
CHANGES = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda f: st.tuples(st.just(f), st.sampled_from(VALUES[f]))
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda change: change[0],
)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_random_configs(part):
    outcomes = []

    @seed(part)
    @settings(max_examples=50, deadline=None, database=None, derandomize=False)
    @given(CHANGES)
    def one(changes):
        arguments = [f"--config.{field}={value}" for field, value in changes]
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name, "run")
            arguments.append("--config.num_steps=2")
            out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
            with (
                contextlib.redirect_stderr(err),
                contextlib.redirect_stdout(out),
                pytest.raises(SystemExit) as e,
            ):
                cli.run(
                    lambda: train.run(config.override(tiny_config(), arguments), directory, "x")
                )
            outcomes.append(e.value.code)
            if e.value.code == 2:
                message = err.buffer.getvalue().decode()
                assert message.startswith("error: ")
                assert message.count("\n") == 1
                assert not directory.exists()
            elif e.value.code == 1:
                assert workdir.read_json(directory / "run.json")["status"] == "diverged"
            else:
                assert e.value.code == 0
                assert workdir.read_json(directory / "run.json")["step"] == 2

    one()
    assert len(outcomes) >= 50
    assert {0, 2} <= set(outcomes)
