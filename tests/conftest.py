import contextlib
import io
import os
import pathlib
import subprocess
from typing import NoReturn

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from gan_jax import config as config_lib
from gan_jax.sweeps.ranking import Results

ROOT = pathlib.Path(__file__).parent.parent

_DATA_DIR = os.environ.get("TFDS_DATA_DIR")  # as it was before any test changed it


def skip_unless_ci(reason: str) -> NoReturn:
    """Skips a test for want of MNIST or of root; where all must be tested, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def mnist_dir() -> str:
    """A TFDS data directory in which MNIST is prepared."""
    if not _DATA_DIR or not pathlib.Path(_DATA_DIR, "mnist").is_dir():
        skip_unless_ci("TFDS_DATA_DIR has no prepared mnist")
    return str(pathlib.Path(_DATA_DIR).resolve())


def picture(path: pathlib.Path) -> Image.Image:
    """A picture file, opened and closed."""
    return Image.open(io.BytesIO(path.read_bytes()))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory, request):
    """One cache for the whole test run, so that nothing is read from or left in the user's."""
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = base.parent  # what the workers of pytest-xdist have in common
    os.environ.setdefault("GAN_JAX_CACHE", str(base / "gan_jax_cache"))


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


def tiny_config() -> ConfigDict:
    """configs/digits.py, shrunk until a run takes a second; every period divides differently."""
    return config_lib.load(
        str(ROOT / "configs/digits.py"),
        [
            "--config.num_steps=12",
            "--config.batch_size=8",
            "--config.z_dim=3",
            "--config.generator.widths=(5,)",
            "--config.discriminator.widths=(4,)",
            "--config.log_every=5",
            "--config.metrics_every=2",
            "--config.sample_every=6",
            "--config.checkpoint_every=4",
            "--config.sample_grid=(2,3)",
        ],
    )


@pytest.fixture
def tiny() -> ConfigDict:
    return tiny_config()


def sweep(scores, settings=None, metric="fid", diverged=None) -> Results:
    """Results of settings by seeds whose final scores these are; halfway they are twice as much."""
    scores = np.array(scores, np.float32)
    settings = settings or [{"k": k} for k in range(1, 1 + len(scores))]
    n = scores.size
    curves = np.full((n, 3, 3), np.nan, np.float32)
    curves[:, :, 0] = np.arange(3) + np.arange(n)[:, None]  # d_loss, at every step
    curves[:, :, 1] = 0.1
    curves[:, 1:, 2] = scores.reshape(-1, 1) * [2, 1]
    diverged = np.zeros(n, int) if diverged is None else np.ravel(diverged)
    steps = np.array([10, 20, 30])
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
