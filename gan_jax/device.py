"""Device selection and pinned JAX options."""

import contextlib
import importlib.metadata
import os
import pathlib
import sys
from typing import Any

import jax
import psutil

from gan_jax.errors import InputError, brief, check_utf8

# JAX options that change results or raise on certain values, pinned to what training needs. This
# overrides the environment variables of the same names in upper case.
PINNED: dict[str, Any] = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_legacy_prng_key": "allow",
    "jax_debug_nans": False,  # divergence is reported with its iteration
    "jax_debug_infs": False,
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
}

# Host memory of samples: two float32 copies, three temporaries, and the encoded file.
_BYTES_PER_VALUE = 24
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def setup(
    accelerator: str,
    deterministic: bool,
    cache: os.PathLike[str] | None = None,
    cpu_devices: int = 1,
) -> None:
    """Selects the device and pins JAX's options; call it before JAX computes anything.

    Args:
      accelerator: auto, cpu, gpu or tpu.
      deterministic: use only run-to-run deterministic operations on GPU. CPU and TPU have no
        others.
      cache: directory of compiled programs, or None for none.
      cpu_devices: number of JAX devices to split a CPU into, unless it is split already.

    Raises:
      InputError: this machine does not have that accelerator.
    """
    if deterministic and DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    for name, value in PINNED.items():
        jax.config.update(name, value)
    if cpu_devices > max(1, jax.config.values["jax_num_cpu_devices"]):
        with contextlib.suppress(RuntimeError):  # JAX is initialised: keep the devices it has
            jax.config.update("jax_num_cpu_devices", cpu_devices)
    if accelerator == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if cache is not None:
        check_utf8(cache)
        jax.config.update("jax_compilation_cache_dir", os.fspath(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError) as e:  # an AssertionError where no plugin is installed
        raise InputError(
            f"JAX finds no device for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}: unset it, "
            f"or install the jax that has it{f' ({brief(e)})' if str(e) else ''}"
        ) from e
    if accelerator not in ("auto", found):
        plugins = importlib.metadata.entry_points(group="jax_plugins")
        hint = "; NVIDIA GPUs need: pip install 'gan_jax[cuda]'"
        raise InputError(
            f"config.accelerator is {accelerator!r}, but this machine has: {found}"
            + hint * (accelerator == "gpu" and not plugins)
        )


def memory() -> int:
    """Bytes of memory of a device, on CPU of the machine or the container."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return limit or min(psutil.virtual_memory().total, _container_memory())


def _container_memory() -> int:
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or no limit: "max"
        return int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text())
    return sys.maxsize


def check_samples(num: int, values: int) -> None:
    """Raises an InputError if `num` samples would exhaust host memory.

    Linux would kill the process silently. `values` counts numbers per sample and its noise.
    """
    needed = num * values * _BYTES_PER_VALUE
    free = min(psutil.virtual_memory().available, _container_memory())
    if needed > free:
        raise InputError(
            f"--num={num} takes about {needed / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are "
            "free"
        )
