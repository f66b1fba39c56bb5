"""Sample grids from fixed noise."""

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan_jax import algorithms, data, draws, plots
from gan_jax import config as config_lib
from gan_jax.draws import Stream, stream_key
from gan_jax.evaluation import text_encoder
from gan_jax.spec import Spec
from gan_jax.state import State
from gan_jax.theory import line


def samples(config: ConfigDict, spec: Spec, state: State, dataset: data.Dataset) -> np.ndarray:
    """The sample grid of a state: fixed noise, and a row per class or caption if conditional."""
    rows, columns = config.sample_grid
    z = draws.noise(spec, stream_key(state.key, Stream.NOISE_SAMPLE), rows * columns)
    y = labels(spec, rows * columns, columns)
    if dataset.captions is not None:
        y = embeddings(config, dataset.captions, rows).repeat(columns, axis=0)
    return algorithms.generate(spec, state, z, y)


def labels(spec: Spec, num: int, columns: int) -> np.ndarray | None:
    """Labels, int (num,), of a grid whose rows are the classes in turn; None without classes."""
    return np.arange(num) // columns % spec.classes if spec.classes else None


def embeddings(config: ConfigDict, captions: data.Captions, rows: int) -> np.ndarray:
    """Text embeddings of the first caption of each group in turn, (rows, d)."""
    groups = np.unique(captions.groups)
    chosen = [captions.texts[captions.first[groups[row % len(groups)]]] for row in range(rows)]
    return text_encoder.encode(text_encoder.load(config.condition.encoder), chosen)


def image(config: ConfigDict, spec: Spec, state: State, dataset: data.Dataset) -> Image.Image:
    """The sample grid as an image; for a known density, figure 1 of the 2014 paper."""
    if mixture := line.known_mixture(config.dataset, spec):
        known = line.curves(spec, config_lib.hparams(config), state, mixture)
        return line.image(known, int(state.step))
    rows, columns = config.sample_grid
    return plots.sample_image(samples(config, spec, state, dataset), rows, columns, dataset.images)
