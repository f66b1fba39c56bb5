"""Configs' chunks of training lower for GPU and TPU on a machine that has neither.

Nothing is compiled. The programs must be those of native convolutions, and call no library of the
CPU.
"""

import functools
import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import algorithms, config, parallel, population
from gan_jax.draws import Batch, Texts
from gan_jax.evaluation import text_encoder
from tests.conftest import ROOT
from tests.test_parallel import on_four_devices

EXAMPLES = {  # shape and classes, by the beginning of config.dataset
    "mnist": ((28, 28, 1), 10),
    "digits": ((8, 8, 1), 10),
    "stacked_mnist": ((28, 28, 3), 1000),
    "cifar10": ((32, 32, 3), 10),
    "ring": ((2,), 0),
    "grid": ((2,), 0),
    "gaussian1d": ((1,), 0),
    "folder": ((64, 64, 3), 0),
    "smiles_morgan": ((1024,), 2),
}
# They differ from others in data and sizes only.
ALIKE = {"all_modes_ring", "dcgan_flowers", "r3gan_cifar10", "ring", "stacked_mnist", "text_birds"}
CONFIGS = sorted({p.stem for p in (ROOT / "configs").glob("[a-z]*.py")} - ALIKE)


def export(name: str, platform: str, devices: int = 1) -> str:
    """The chunk of training of a config as StableHLO for a platform."""
    c = config.replace(config.load(name), {"devices": devices})
    shape, classes = EXAMPLES[c.dataset.partition(":")[0]]
    spec = config.spec(c, shape, classes)
    abstract = functools.partial(jax.tree.map, lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
    hparams = population.stack([jax.tree.map(np.float32, config.hparams(c))])
    one = algorithms.shapes(spec, config.hparams(c))
    states = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), one)
    conditional = c.condition.on != "none" or bool(c.get("labelled"))
    dtype = jnp.uint8 if len(shape) == 3 else jnp.float32
    x = jax.ShapeDtypeStruct((60_000, *shape), dtype)
    data = Batch(x, jax.ShapeDtypeStruct((60_000,), jnp.int32) if conditional else None)
    vectors = jax.ShapeDtypeStruct((500, text_encoder.FEATURES), jnp.float32)
    texts = Texts(vectors, jax.ShapeDtypeStruct((103,), jnp.int32))
    exported = jax.export.export(population._train_chunk, platforms=[platform])(
        spec,
        parallel.mesh(c, 1),
        abstract(hparams),
        states,
        data,
        None,
        texts if c.condition.on == "text" else None,
        np.int32(3),
        np.ones(1, bool),
    )
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
        # Native kernel gradients have other layouts; those for CPU are written
        # as forward convolutions.
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
