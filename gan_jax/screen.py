"""Ranks a library of molecules by similarity to fingerprints drawn from a run.

python -m gan_jax.screen --workdir=DIR --library=smiles:FILE --out=FILE.csv [--split=SPLIT]
                         [--label=active] [--against=inactive] [--num=1000] [--seed=N]
                         [--step=N|best]

The run is one on smiles:FILE or smiles_morgan:FILE, and the library is of the same kind; SPLIT is a
slice of it, such as train[33525:], by default all. A bit of a sample is 1 where its probability is
at least 1/2, and a molecule's similarity is the largest Tanimoto similarity to a sample. A
conditional run samples the label `active` unless --label is given; with --against, molecules are
ranked by how much more similar they are to these samples than to those of another label. FILE.csv
has all molecules, best first, and FILE.png drawings of the first 12. Nothing is designed: molecules
outside the library cannot be found.
"""

import math
import pathlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gan_jax import cli
from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.fingerprints import TOP, enrichment, nearest, ranked

if TYPE_CHECKING:
    from gan_jax.data import Dataset
    from gan_jax.spec import Spec
    from gan_jax.state import State

_DRAWN = 12


def fingerprints(
    spec: "Spec", state: "State", num: int, seed: int, label: int | None
) -> np.ndarray:
    """Fingerprints of a run, bool (num, bits): bits of probability at least 1/2."""
    import jax

    from gan_jax import algorithms, draws

    z = draws.noise(spec, jax.random.key(seed), num)  # the same for every label
    y = None if label is None else np.full(num, label)
    return algorithms.generate(spec, state, z, y) >= 0.5


def screen(
    directory: pathlib.Path,
    library_name: str,
    out: pathlib.Path,
    *,
    split: str = "train",
    label: str | None = None,
    against: str | None = None,
    num: int = 1000,
    seed: int = 0,
    step: int | Literal["best"] | None = None,
) -> None:
    """Writes the ranking of a library as `out`, a .csv, and drawings as .png beside it.

    Raises:
      InputError: no such run, checkpoint, label or library, one of other fingerprints, or `out`
        or the drawings exist.
    """
    from gan_jax import data, device, workdir
    from gan_jax.data.molecules import FINGERPRINTS
    from gan_jax.writers import check_new, write_whole

    picture = out.with_suffix(".png")
    check_new(out, ".csv")
    check_new(picture, ".png")
    kind = workdir.read_config(directory).dataset.partition(":")[0]
    if kind not in FINGERPRINTS:
        raise InputError(f"{directory} was not trained on molecules, such as smiles:FILE")
    if not library_name.startswith(f"{kind}:"):
        raise InputError(
            f"--library={library_name}: expected {kind}:FILE, with the fingerprints of {directory}"
        )
    device.setup("auto", deterministic=True)
    spec, state = workdir.load(directory, step)
    device.check_samples(num, spec.z_dim + math.prod(spec.example_shape))
    if label is None and spec.classes:
        label = "active"
    number, other = (
        None if name is None else workdir.class_number(directory, spec, name, option)
        for option, name in (("label", label), ("against", against))
    )
    library = data.load(library_name, split)
    columns = {"similarity": nearest(library.images, fingerprints(spec, state, num, seed, number))}
    scores = columns["similarity"]
    if other is not None:
        columns["against"] = nearest(library.images, fingerprints(spec, state, num, seed, other))
        scores = scores - columns["against"]
    write_whole(out, _table(library, ranked(scores), columns))
    write_whole(picture, _drawings(library, ranked(scores)[:_DRAWN], scores))
    print(
        f"{out}: {len(scores)} molecules by similarity to {num} samples of iteration "
        f"{int(state.step)}; drawings of the first: {picture}"
    )
    if library.labels is not None and library.labels.any():
        found = enrichment(library.labels, scores)
        print(f"actives in the first {TOP:.0%}: {found:.2f} times their fraction in the library")


def _table(library: "Dataset", order: np.ndarray, columns: dict[str, np.ndarray]) -> bytes:
    """A CSV file of the molecules in an order, with columns of numbers, and activity if known."""
    from gan_jax.writers import csv_bytes

    assert library.names is not None
    rows: list[list[Any]] = [
        ["rank", "smiles", *columns] + ["active"] * (library.labels is not None)
    ]
    for rank, i in enumerate(order.tolist(), 1):
        mark = [] if library.labels is None else [library.labels[i]]
        rows.append([rank, library.names[i], *(f"{x[i]:.4f}" for x in columns.values()), *mark])
    return csv_bytes(rows)


def _drawings(library: "Dataset", order: np.ndarray, scores: np.ndarray) -> bytes:
    """Structures of molecules in an order, with their scores and activity if known, as a PNG."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import Draw

    from gan_jax.writers import png

    assert library.names is not None
    legends = [f"{rank}: {scores[i]:.2f}" for rank, i in enumerate(order, 1)]
    if library.labels is not None and library.class_names is not None:
        classes = [library.class_names[library.labels[i]] for i in order]
        legends = [f"{text}, {name}" for text, name in zip(legends, classes, strict=True)]
    with rdBase.BlockLogs():
        molecules = [Chem.MolFromSmiles(library.names[i]) for i in order]
        image = Draw.MolsToGridImage(
            molecules, molsPerRow=min(4, len(order)), subImgSize=(260, 220), legends=legends
        )
    return png(image)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--workdir", dest="directory", type=pathlib.Path, required=True, help="the run's directory"
    )
    parser.add_argument(
        "--library",
        dest="library_name",
        required=True,
        help="molecules to rank, such as smiles:FILE",
    )
    parser.add_argument("--split", default="train", help="slice of it; default: all")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .csv to write")
    parser.add_argument("--label", help="class to sample; default: active")
    parser.add_argument("--against", help="class whose similarity is subtracted; default: none")
    parser.add_argument("--num", type=cli.at_least(1), default=1000, help="number of samples")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of the noise")
    cli.add_step(parser)
    screen(**vars(parser.parse_args()))
    return 0


if __name__ == "__main__":
    cli.run(main)
