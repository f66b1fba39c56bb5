"""Finds the images of a data set that are nearest to a query, by what a run has learned.

python -m gan_jax.retrieve --workdir=DIR --query=IMAGE --out=FILE.png [--num=15] [--step=N|best]
                           [--features=discriminator|encoder|evaluator|pixels] [--layer=NAME]
                           [--data=DATASET] [--split=SPLIT]

Searches the run's training data, or DATASET: a name, folder:DIR, npz:FILE or npy:FILE, resized to
the images of the run. Distances are Euclidean, between activations of the discriminator (all
hidden layers, or one), codes of an encoder, features of the data set's evaluator, or pixels.
Writes a picture of the query and its nearest images, and FILE.csv with all NUM of them.
"""

import pathlib
from typing import TYPE_CHECKING, Literal, NamedTuple

from gan_jax import cli
from gan_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from gan_jax.data import Dataset
    from gan_jax.evaluation.features import Features

_DRAWN = 31  # hits in the picture, at most
_COLUMNS = ("rank", "index", "file", "label", "distance")  # of the CSV file, in the order of Hit


class Hit(NamedTuple):
    """An image found: a row of the CSV file."""

    rank: int  # from 1
    number: int  # in the split, from 0
    file: str  # below a folder; empty for other data
    label: str  # of a class, by name if known; empty without labels
    distance: float


def search(features: "Features", query: "np.ndarray", dataset: "Dataset", num: int) -> list[Hit]:
    """The images of a data set nearest to a query, in ascending order of distance; ties by index.

    Args:
      features: in which distances are Euclidean.
      query: uint8 (height, width, channels).
      dataset: of images of the same height and width.
      num: from 1 to the number of its images.
    """
    from gan_jax.evaluation.features import cached, compute
    from gan_jax.evaluation.metrics.neighbours import k_nearest

    searched = cached(features, dataset)
    found = k_nearest(compute(features, query[None])[0], searched, num)
    hits = []
    for rank, (i, distance) in enumerate(zip(*(x.tolist() for x in found), strict=True), 1):
        label = "" if dataset.labels is None else str(dataset.labels[i])
        if dataset.class_names is not None and 0 <= int(label) < len(dataset.class_names):
            label = dataset.class_names[int(label)]
        name = "" if dataset.names is None else str(dataset.names[i])
        hits.append(Hit(rank, i, name, label, distance))
    return hits


def retrieve(
    directory: pathlib.Path,
    query: pathlib.Path,
    out: pathlib.Path,
    *,
    num: int,
    features: str | None = None,
    layer: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    step: int | Literal["best"] | None = None,
) -> list[Hit]:
    """Writes the images nearest to a query to a .png and a .csv file.

    Args:
      directory: the run's directory.
      query: an image file.
      out: the .png.
      num: number of hits.
      features: one of features.FEATURES; None for the discriminator, or the encoder without one.
      layer: of the discriminator; None for all.
      dataset: to search; None for the run's.
      split: of it; None for the run's, or `train` of another data set.
      step: iteration of the checkpoint; "best" or None for the newest.

    Raises:
      InputError: no such run, checkpoint, image, data set, features or layer, or `out` cannot be a
        new file.
    """
    import numpy as np

    from gan_jax import data, device, plots, workdir
    from gan_jax.data import pixels
    from gan_jax.data.folders import read_image
    from gan_jax.evaluation import features as features_lib
    from gan_jax.writers import check_new, csv_bytes, write_whole

    table = out.with_suffix(".csv")
    check_new(out, ".png")
    check_new(table, ".csv")
    device.setup("auto", deterministic=True, cache=data.cache_dir() / "xla")
    config = workdir.read_config(directory)
    spec, state = workdir.load(directory, step)
    chosen = features_lib.load(config, spec, state, features, layer)
    height, width, _ = chosen.shape
    image = pixels.resize(read_image(query), (height, width))
    name = dataset or config.dataset
    own = name == config.dataset
    size = config.image_size if own else (height, width)
    searched = data.load(name, split or (config.split if own else "train"), size)
    if searched.images.shape[1:3] != (height, width):
        raise InputError(
            f"{name} has images of {_size(searched.images[0])}, but {directory} was trained on "
            f"{_size(image)}: they have changed since"
        )
    if num > len(searched.images):
        raise InputError(f"--num={num}: {name} has {len(searched.images)} images")
    hits = search(chosen, image, searched, num)
    drawn = hits[:_DRAWN]
    pictures = [image, *(searched.images[hit.number] for hit in drawn)]
    channels = max(picture.shape[-1] for picture in pictures)
    shown = np.stack([np.broadcast_to(x, (*x.shape[:2], channels)) for x in pictures])
    captions = [f"{hit.distance:.3g}\n{_short(hit.label or hit.file)}" for hit in drawn]
    title = f"{query.name}: nearest of {len(searched.images)} images of {name} by {chosen.name}"
    write_whole(out, plots.retrieval(shown, ["query\n", *captions], title))
    write_whole(table, csv_bytes([_COLUMNS, *hits]))
    print(f"{out}, {table.name}: {num} nearest of {len(searched.images)} images by {chosen.name}")
    return hits


def _size(image: "np.ndarray") -> str:
    return "x".join(map(str, image.shape[:2]))


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"…{text[-15:]}"


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--workdir", dest="directory", type=pathlib.Path, required=True, help="the run's directory"
    )
    parser.add_argument("--query", type=pathlib.Path, required=True, help="an image file")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the .png to write")
    parser.add_argument("--num", type=cli.at_least(1), default=15, help="number of hits")
    cli.add_step(parser)
    parser.add_argument(
        "--features",
        choices=("discriminator", "encoder", "evaluator", "pixels"),
        help="default: discriminator, of an autoencoder encoder",
    )
    parser.add_argument("--layer", help="of the discriminator; default: all hidden layers")
    parser.add_argument(
        "--data", dest="dataset", help="data set to search; default: the run's training data"
    )
    parser.add_argument("--split", help="of it, such as test; default: train")
    retrieve(**vars(parser.parse_args()))
    return 0


if __name__ == "__main__":
    cli.run(main)
