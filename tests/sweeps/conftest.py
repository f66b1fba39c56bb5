import contextlib
import csv
import pathlib

import numpy as np
import pytest

from gan_jax import config
from gan_jax.errors import InputError
from gan_jax.sweeps import runner, space
from gan_jax.sweeps.executors import Options
from gan_jax.sweeps.ranking import Results
from tests.conftest import contents, tiny_config

RATE = "d_optimizer.learning_rate"
# Two units; half of the members diverge. NumPy scalars and lists, as sweep files may have them.
SETTINGS = space.grid(
    {
        "loss": ["minimax", "non_saturating"],
        RATE: list(np.array([1e30, 1e-3])),
        "generator.widths": [[5]],
    }
)


def make_results(scores, settings=None, metric="fid", diverged=None) -> Results:
    """Results with these final scores, settings x seeds; halfway scores are twice as large."""
    scores = np.array(scores, np.float32)
    settings = settings or [{"k": k} for k in range(1, 1 + len(scores))]
    n = scores.size
    steps = np.array([10, 20, 30])
    curves = np.full((n, 3, 3), np.nan, np.float32)
    curves[:, :, 0] = np.arange(3) + np.arange(n)[:, None]  # d_loss, at every step
    curves[:, :, 1] = 0.1
    curves[:, 1:, 2] = scores.reshape(-1, 1) * [2, 1]
    diverged = np.zeros(n, int) if diverged is None else np.ravel(diverged)
    curves[(diverged[:, None] > 0) & (steps >= diverged[:, None])] = np.nan
    return Results(
        settings=settings,
        setting=np.repeat(np.arange(len(settings)), scores.shape[1]),
        seed=np.tile(np.arange(scores.shape[1]), len(settings)),
        steps=steps,
        names=("d_loss", "g_loss", metric),
        curves=curves,
        diverged=diverged,
        samples=np.arange(n * 3 * 4 * 4).reshape(n, 3, 4, 4, 1).astype(np.uint8),
        params_sha256=[f"{i:064x}" for i in range(n)],
    )


def base():
    return config.replace(
        tiny_config(),
        {
            "split": "train[:1000]",
            "validation_split": "train[1000:]",
            "eval_metrics": ("parzen", "memorisation"),
            "eval_num": 30,
            "eval_every": 100,
            "num_steps": 300,
            "log_every": 300,
            "metrics_every": 20,
            "sample_every": 300,
            "checkpoint_every": 20,
        },
    )


def run(directory, shard=None, settings=SETTINGS, on=None, options=None, **changes) -> int:
    changed = config.replace(base(), changes)
    options = options or Options()
    return runner.run(changed, settings, 2, directory, "sweep", shard, on=on, options=options)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> pathlib.Path:
    """A finished sweep; to be copied by tests that write to it."""
    directory = tmp_path_factory.mktemp("sweep") / "finished"
    assert run(directory) == 0
    return directory


def rows(directory) -> list[dict[str, str]]:
    return list(csv.DictReader((directory / "results.csv").read_text().splitlines()))


def assert_same(a, b) -> None:
    for name in ("results.csv", "samples.png"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    with np.load(a / "curves.npz") as x, np.load(b / "curves.npz") as y:
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


@contextlib.contextmanager
def refused(directory, message):
    """Expects an InputError that leaves the directory unchanged."""
    before = contents(directory)
    with pytest.raises(InputError, match=message):
        yield
    assert contents(directory) == before
