"""Configs' chunks of training lower for GPU and TPU on a machine that has neither.

Nothing is compiled. The programs must be those of native convolutions, and call no library of the
CPU.
"""

import re

import jax
import pytest

from benchmarks import scaling
from gan_jax import config, population
from tests.conftest import ROOT
from tests.test_parallel import on_four_devices

# They differ from others in data and sizes only.
ALIKE = {"all_modes_ring", "dcgan_flowers", "r3gan_cifar10", "ring", "stacked_mnist", "text_birds"}
CONFIGS = sorted({p.stem for p in (ROOT / "configs").glob("[a-z]*.py")} - ALIKE)


def export(name: str, platform: str, devices: int = 1) -> str:
    """The chunk of training of a config as StableHLO for a platform."""
    given = scaling.arguments(config.replace(config.load(name), {"devices": devices}))
    exported = jax.export.export(population._train_chunk, platforms=[platform])(*given)
    assert exported.platforms == (platform,)
    return exported.mlir_module()


def kernels(program: str) -> list[str]:
    return re.findall(r"stablehlo\.convolution.*", program)


def check(name: str, devices: int = 1) -> None:
    """Checks a config's programs for GPU and TPU."""
    gpu, tpu = (export(name, platform, devices) for platform in ("cuda", "tpu"))
    for program in (gpu, tpu):
        calls = set(re.findall(r"custom_call @(\w+)", program))
        assert not any("lapack" in call or "cpu" in call.lower() for call in calls), calls
    assert kernels(gpu) == kernels(tpu)
    if kernels(gpu):
        # Native kernel gradients have other layouts; for CPU there are forward
        # convolutions alone.
        layout = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
        assert not all(layout in kernel for kernel in kernels(gpu))
        assert all(layout in kernel for kernel in kernels(export(name, "cpu", devices)))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_lowers_for_accelerators(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "r3gan_cifar10_small"])
def test_split_programs_lower(name):
    on_four_devices(f"""
        from tests.test_lowering import check
        check({name!r}, 4)
    """)


def test_digits_lowers():
    check("digits")
