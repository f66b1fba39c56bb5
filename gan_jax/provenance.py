"""Provenance in run.json: everything but config and data that determines a run's bytes."""

import hashlib
import importlib.metadata
import logging
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import Any

import jax

from gan_jax.config import flatten
from gan_jax.device import DETERMINISTIC, PINNED

log = logging.getLogger(__name__)

_PACKAGE = pathlib.Path(__file__).parent
_DISTRIBUTIONS = (
    *("gan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy"),
    *("scikit-learn", "pillow", "matplotlib"),
)
_KEYS = (
    *("source_sha256", "git_commit", "git_dirty", "versions", "device", "cpu", "cores"),
    *("devices", "shard_state", "processes", "environment", "dataset"),
)
_ABSENT = {"devices": 1, "shard_state": False, "processes": 1}  # in records of earlier versions

# Environment variables that may change results, unless they are pinned or neutral.
_VARIABLES = (
    *("JAX_", "XLA_", "TF_XLA_", "LIBTPU_", "NVIDIA_TF32", "CUBLAS", "CUDNN_"),
    *("OMP_", "OPENBLAS_", "MKL_", "NPY_"),
)
_NEUTRAL = (
    *("JAX_PLATFORM", "JAX_NUM_CPU_DEVICES", "JAX_CUDA_VISIBLE_DEVICES"),  # see `device`
    *("JAX_COMPILATION_CACHE", "JAX_ENABLE_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE"),
    *("JAX_LOG", "JAX_TRACEBACK", "JAX_EXPLAIN", "JAX_DUMP"),
    *("XLA_PYTHON_CLIENT_",),
    *(name.upper() for name in PINNED),
)


def provenance(sharing: int = 1, shard_state: bool = False) -> dict[str, Any]:
    """The code, versions, device and environment of this process, for run.json.

    Args:
      sharing: number of devices that share a minibatch.
      shard_state: whether they share the state, too.
    """
    devices = jax.devices()
    tracked = _git("ls-files", "--error-unmatch", __file__) is not None
    return {
        "source_sha256": source_sha256(),
        "git_commit": _git("rev-parse", "HEAD") if tracked else None,
        "git_dirty": bool(_git("status", "--porcelain", "--", ".")) if tracked else None,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in _DISTRIBUTIONS},
        },
        "device": {
            "kind": devices[0].device_kind,
            "count": len(devices),
            "platform": " ".join(devices[0].client.platform_version.split()),
        },
        "cpu": _cpu(),
        "cores": cores(),
        "devices": sharing,
        "shard_state": shard_state,
        "processes": jax.process_count(),
        "environment": _environment(),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two run.json or `provenance` records, each as "name old -> new"."""
    a, b = (flatten(_ABSENT | {key: r[key] for key in _KEYS if key in r}) for r in (old, new))
    unchanged = {"dataset.name"}  # data are identified by their hash, code by source_sha256
    if a.get("source_sha256") == b.get("source_sha256") is not None:
        unchanged |= {"git_commit", "git_dirty"}
    return [
        f"{key} {a.get(key, 'unknown')} -> {b.get(key, 'unknown')}"
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key) and key not in unchanged
    ]


def earlier(old: Mapping[str, Any], new: dict[str, Any], begin: int) -> list[dict[str, Any]]:
    """Environments of the iterations before `begin`; warns if the current one differs.

    Args:
      old: the run.json found in the directory, {} if none.
      new: this process's `provenance`.
      begin: the iteration to resume from.

    Returns:
      run.json's `earlier`: the environments before the current one, oldest first, each with the
      iteration `until` which it was used.
    """
    segments = [*old.get("earlier", ()), {**old, "until": begin}]
    kept = [s for s in segments if s["until"] < begin]
    last = {key: value for key, value in segments[len(kept)].items() if key in new}
    if begin and last and (changes := differences(last, new)):
        log.warning("resuming in another environment: %s; the bytes may differ", ", ".join(changes))
        kept.append(last | {"until": begin})
    return kept


def cores() -> int:
    """Threads of XLA's CPU client, by which it partitions sums: the CPUs of the affinity mask.

    As XLA does, this ignores cgroup quotas and obeys the variable NPROC.
    """
    if (given := os.environ.get("NPROC", "")).isdecimal() and int(given) > 0:
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    """CPU model and vector extensions, which XLA and BLAS compile and dispatch for."""
    try:
        first = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    fields = {k.strip(): v.strip() for k, _, v in (x.partition(":") for x in first.split("\n"))}
    extensions = [
        flag
        for flag in fields.get("flags", fields.get("Features", "")).split()
        if flag.startswith(("sse", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16"))
    ]
    return " ".join([fields.get("model name", platform.machine()), *sorted(extensions)])


def _environment() -> dict[str, str]:
    found = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(_VARIABLES) and not name.startswith(_NEUTRAL)
    }
    flags = [flag for flag in found.pop("XLA_FLAGS", "").split() if flag != DETERMINISTIC]
    return found | ({"XLA_FLAGS": " ".join(sorted(flags))} if flags else {})


def source_sha256() -> str:
    """Short digest of the package's code and pinned weights, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(p for p in _PACKAGE.rglob("*") if p.suffix in (".py", ".npz")):
        name = path.relative_to(_PACKAGE).as_posix()
        if not name.startswith("configs/"):
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()};".encode())
    return digest.hexdigest()[:16]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:  # run from a clone that is not installed
        return None


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=_PACKAGE, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
