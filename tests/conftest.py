import contextlib
import io
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import NoReturn

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from gan_jax import algorithms, checkpoint, cli, data, loop, plots, population, train, workdir
from gan_jax import config as config_lib
from gan_jax.networks import MLP
from gan_jax.spec import GANSpec, HParams, Prior

ROOT = pathlib.Path(__file__).parent.parent

_DATA_DIR = os.environ.get("TFDS_DATA_DIR")  # before any test changes it


def skip_unless_ci(reason: str) -> NoReturn:
    """Skips a test for what a developer's machine lacks; in CI, where all must run, fails it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def mnist_dir() -> str:
    """A TFDS data directory with MNIST prepared."""
    if not _DATA_DIR or not pathlib.Path(_DATA_DIR, "mnist").is_dir():
        skip_unless_ci("TFDS_DATA_DIR has no prepared mnist")
    return str(pathlib.Path(_DATA_DIR).resolve())


def open_image(path: pathlib.Path) -> Image.Image:
    """Opens an image without keeping a file handle."""
    return Image.open(io.BytesIO(path.read_bytes()))


def figure_of(monkeypatch, draw, *arguments):
    """The figure that `draw` would render."""
    kept = []
    monkeypatch.setattr(plots, "figure_png", lambda figure: kept.append(figure) or b"")
    draw(*arguments)
    return kept[0]


def call(command, monkeypatch, *arguments: str) -> int:
    """Runs a command's main() and returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as e:
        cli.run(command.main)
    return e.value.code


def assert_one_line_error(err: str, words: str) -> None:
    assert err.count("\n") == 1
    assert words in err


def contents(directory: pathlib.Path) -> dict[pathlib.Path, tuple[int, bytes]]:
    """Modification time and content of every non-hidden file."""
    visible = (p for p in directory.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in visible}


def files(directory: pathlib.Path) -> dict[str, bytes]:
    """Contents of a run's files other than checkpoints and run.json."""
    names = ["metrics.jsonl", "config.json", "curves.png", "samples.gif"]
    paths = [directory / name for name in names] + sorted(directory.glob("samples/*"))
    return {str(p.relative_to(directory)): p.read_bytes() for p in paths}


def sha(directory: pathlib.Path) -> str:
    return workdir.read_json(directory / "run.json")["params_sha256"]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory, request):
    """A cache per session, so that tests do not touch the user's.

    Compiled programs stay in pytest's cache, which halves the time of the next session.
    """
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = base.parent  # shared by the workers of pytest-xdist
    cache = base / "gan_jax_cache"
    cache.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another worker was first
        (cache / "xla").symlink_to(request.config.cache.mkdir("xla"))
    os.environ.setdefault("GAN_JAX_CACHE", str(cache))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        skip_unless_ci("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(ballast: pathlib.Path) -> None:
    """Writes a file until its disk is full."""
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


class Bomb:
    """Would write a file when unpickled."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def tiny_config() -> ConfigDict:
    """configs/digits.py, shrunk to a second per run; all periods differ."""
    return config_lib.replace(
        config_lib.load(str(ROOT / "configs/digits.py")),
        {
            "num_steps": 12,
            "batch_size": 8,
            "z_dim": 3,
            "generator.widths": (5,),
            "discriminator.widths": (4,),
            "log_every": 5,
            "metrics_every": 2,
            "sample_every": 6,
            "checkpoint_every": 4,
            "sample_grid": (2, 3),
        },
    )


def untrained(c: ConfigDict, directory: pathlib.Path) -> pathlib.Path:
    """Directory of a finished run with random parameters, whose training is not compiled."""
    rng = np.random.default_rng(0)

    def init(members):
        def draw(x):
            return rng.normal(0, 0.5, (members.size, *x.shape)).astype(x.dtype)

        state = jax.tree.map(draw, algorithms.shapes(members.spec, config_lib.hparams(c)))
        averages = jax.tree.map(np.abs, state.averages)  # such as variances
        players = {
            name: player._replace(stats=jax.tree.map(np.abs, player.stats))
            for name, player in state.players.items()
        }
        key = rng.integers(0, 2**32, (members.size, 2), np.uint32)
        step = np.zeros(members.size, np.int32)
        state = state._replace(players=players, averages=averages, key=key, step=step)
        return population.place(members, state)

    def train_chunk(members, states, step, num_steps, active):
        names = algorithms.ALGORITHMS[members.spec.algorithm].info_names(members.spec)
        info = dict.fromkeys(names, 1.0) | {"step": step + num_steps}
        states = states._replace(step=states.step + num_steps)
        return states, {name: np.full(members.size, x) for name, x in info.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "init", init)
        patch.setattr(population, "train_chunk", train_chunk)
        assert train.run(c, directory, "untrained") == 0
    return directory


def train_digests(
    c: ConfigDict, dataset: data.Dataset, seeds: tuple[int, ...], stops: tuple[int, ...]
) -> list[str]:
    """Of the final states of members trained to each stop in turn, from saved states."""
    configs = [config_lib.replace(c, {"seed": seed, "num_steps": stops[-1]}) for seed in seeds]
    members = population.create(configs, dataset)
    states, step = population.init(members), 0
    for stop in stops:
        part = config_lib.replace(configs[0], {"num_steps": stop})
        for chunk in loop.train(part, members, states, np.zeros(len(seeds), int), step, None):
            states, step = chunk.states, chunk.step
        members = population.create(configs, dataset)  # as on resume
    return [checkpoint.sha256(population.member(states, i)) for i in range(len(seeds))]


@pytest.fixture
def tiny() -> ConfigDict:
    return tiny_config()


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> pathlib.Path:
    """Directory of a finished run of tiny_config(), not to be modified."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    train.run(tiny_config(), directory, "digits")
    return directory


def make_hparams(changes: Mapping[str, float] | None = None) -> HParams:
    """Default hyperparameters, updated by dotted name; optional ones are None unless set."""
    config = config_lib.default()
    config.update_from_flattened_dict(changes or {})
    return config_lib.hparams(config)


def make_spec(optimizer: str = "sgd", **changes) -> GANSpec:
    """A small GAN on images of 4x4 pixels."""
    fields = {
        "loss": "non_saturating",
        "k": 1,
        "update": "alternating",
        "batch_size": 8,
        "z_dim": 3,
        "prior": Prior("uniform"),
        "generator": MLP((5,), (4, 4, 1), "relu", "sigmoid", "uniform", 0.5),
        "discriminator": MLP((6,), (), "relu", "linear", "uniform", 0.5),
        "d_optimizer": optimizer,
        "g_optimizer": optimizer,
    }
    return GANSpec(**fields | changes)


def linear(*out_shape: int) -> MLP:
    """A linear network."""
    return MLP((), out_shape, "linear", "linear", "normal", 1.0)
