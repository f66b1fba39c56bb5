"""Where JAX runs, and the compilation cache that later processes share."""

import contextlib
import os

import jax

from gan_jax.errors import InputError, brief


def setup(
    accelerator: str,
    deterministic: bool,
    cache: os.PathLike[str] | None = None,
    cpu_devices: int = 1,
) -> None:
    """Selects the device; to be called before JAX computes anything.

    Args:
      accelerator: auto, cpu, gpu or tpu.
      deterministic: only operations whose result does not depend on timing. CPU and TPU have no
        others.
      cache: the directory of compiled programs, or None for none.
      cpu_devices: into how many devices JAX divides a CPU.

    Raises:
      InputError: this machine does not have that accelerator.
    """
    flag = "--xla_gpu_deterministic_ops=true"
    if deterministic and flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if cpu_devices > 1:
        with contextlib.suppress(RuntimeError):  # JAX has begun: with as many as it has
            jax.config.update("jax_num_cpu_devices", cpu_devices)
    if accelerator == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", os.fspath(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        found = jax.default_backend()
    except RuntimeError as e:  # JAX_PLATFORMS names one that is not there
        raise InputError(f"JAX finds no device: {brief(e)}") from e
    if accelerator not in ("auto", found):
        raise InputError(f"config.accelerator is {accelerator!r}, but this machine has: {found}")
