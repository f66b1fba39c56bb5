"""Checks the installation: devices, memory, caches, extras and performance problems.

python -m gan_jax.doctor

The exit status is 1 if training would fail.
"""

import os
import pathlib
import platform
import shutil
from typing import TYPE_CHECKING

from gan_jax import __version__, cli
from gan_jax.errors import InputError
from gan_jax.extras import EXTRAS, missing

if TYPE_CHECKING:
    from collections.abc import Iterator


def _size(directory: pathlib.Path) -> int:
    """Bytes of all files in a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def check() -> "Iterator[tuple[str, str]]":
    """Findings: pairs of a topic and a text. Topics are "slow" and "error" for problems."""
    import jax
    import psutil

    from gan_jax import data, device, provenance

    yield "gan_jax", f"{__version__}, jax {jax.__version__}, Python {platform.python_version()}"
    try:
        device.setup("auto", deterministic=True)
        found = jax.devices()
    except InputError as e:
        yield "error", str(e)
        return
    kind, platform_name = found[0].device_kind, found[0].platform
    yield "device", f"{len(found)} x {kind}" + f" ({platform_name})" * (kind != platform_name)
    free = f"{_gigabytes(psutil.virtual_memory().available)} free"
    on_device = f"{_gigabytes(device.memory())} on the device, "
    yield "memory", on_device * (platform_name != "cpu") + free
    cores, total = provenance.cores(), os.cpu_count() or 1
    yield "cores", f"{cores}" + (f" of {total}" if cores < total else "")
    if platform_name == "cpu":
        if shutil.which("nvidia-smi") and missing("cuda"):
            yield "slow", "this machine has an NVIDIA driver: pip install 'gan_jax[cuda]'"
        no_accelerator = "no accelerator: convolutional configs take half an hour or more"
        yield "slow", f"{no_accelerator} (see gan-jax configs)"
    if cores < min(4, total):
        yield "slow", f"this process has only {cores} of {total} cores (see taskset, NPROC)"
    yield from _caches(data.cache_dir())
    absent = [extra for extra in EXTRAS if missing(extra)]
    yield "extras", ", ".join(extra for extra in EXTRAS if extra not in absent) or "none"
    if absent:
        yield "", f"not installed: {', '.join(absent)} (pip install 'gan_jax[NAME]')"


def _caches(cache: pathlib.Path) -> "Iterator[tuple[str, str]]":
    parent = next(p for p in (cache, *cache.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        yield "error", f"the cache {cache} cannot be written: set GAN_JAX_CACHE=DIR"
        return
    free = shutil.disk_usage(parent).free
    yield "cache", f"{cache}, {_gigabytes(free)} free"
    for name, what in (("data", "decoded data sets"), ("xla", "compiled programs")):
        yield "", f"{what}: {_gigabytes(_size(cache / name))}"
    if free < 1e9:
        yield "slow", "less than 1 GB is free for the cache"
    if not (cache / "xla").exists():
        yield "slow", "no compiled programs yet: the first run of each config has to compile"


def main() -> int:
    cli.parser(__doc__).parse_args()
    failed = False
    for topic, text in check():
        print(f"{topic:<8} {text}")
        failed |= topic == "error"
    if not failed:
        print("ready    to train: gan-jax train --config=digits")
    return int(failed)


if __name__ == "__main__":
    cli.run(main)
