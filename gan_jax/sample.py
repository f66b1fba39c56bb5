"""Draws samples from a run.

python -m gan_jax.sample --workdir=DIR --num=64 --out=FILE [--seed=N] [--step=N|best]
                         [--label=NUMBER|NAME | --text=CAPTION] [--interpolate | --reconstruct]

FILE is a .png (a grid) or an .npz (`images`, and `labels` if the run is conditional; usable as data
set npz:FILE). Uses the newest checkpoint unless --step is given. Rows of the grid are the classes
of a conditional run in turn, unless --label is given. With --interpolate, each row interpolates
between two latent points, or between two classes at one latent point. With --reconstruct, test
examples of an autoencoder alternate with their reconstructions, from their own labels if the run
is conditional.
"""

import math
import pathlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gan_jax import cli
from gan_jax.errors import InputError
from gan_jax.writers import check_new

if TYPE_CHECKING:
    import jax
    from ml_collections import ConfigDict

    from gan_jax.spec import Spec
    from gan_jax.state import State


def interpolate(z: "jax.Array", points: int, prior: str) -> "jax.Array":
    """Interpolates between latent points: walk i leads from z[0, i] to z[1, i].

    Args:
      z: ends of the walks, shape (2, walks, z_dim).
      points: on each walk, including both ends.
      prior: "normal" interpolates on the sphere (slerp, White 2016,
        https://arxiv.org/abs/1609.04468), as straight lines leave the shell on which the prior
        concentrates; "uniform" interpolates linearly.

    Returns:
      Latent points, shape (walks, points, z_dim).
    """
    import jax.numpy as jnp

    a, b = z[:, :, None]
    t = jnp.linspace(0, 1, points)[:, None]
    linear = (1 - t) * a + t * b
    if prior != "normal":
        return linear
    norms = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    angle = jnp.arccos(jnp.clip(jnp.sum(a * b, axis=-1) / norms, -1, 1))[..., None]
    # Parallel points have no arc between them; with z_dim 1, all points are parallel.
    parallel = jnp.sin(angle) < 1e-6
    sine = jnp.where(parallel, 1, jnp.sin(angle))
    slerp = (jnp.sin((1 - t) * angle) * a + jnp.sin(t * angle) * b) / sine
    return jnp.where(parallel, linear, slerp)


def _between_classes(labels: np.ndarray, classes: int, columns: int) -> np.ndarray:
    """Mixtures of each class and the next along the rows of a grid, (num, classes)."""
    t = (np.arange(len(labels)) % columns / max(1, columns - 1))[:, None]
    one_hot = np.eye(classes, dtype=np.float32)
    mixed = (1 - t) * one_hot[labels] + t * one_hot[(labels + 1) % classes]
    return mixed.astype(np.float32)


def _reconstructions(
    config: "ConfigDict", spec: "Spec", state: "State", num: int, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Random test examples, alternating with their reconstructions, and the labels of both."""
    from gan_jax import algorithms, data
    from gan_jax.data.pixels import to_float

    test = data.load(config.dataset, config.test_split, config.image_size)
    order = np.random.default_rng(seed).permutation(len(test.images))
    chosen = np.resize(order, math.ceil(num / 2))
    x, y = test.images[chosen], None
    if spec.classes and test.labels is not None:
        y = test.labels[chosen]
    pairs = to_float(x), algorithms.reconstruct(spec, state, x, y)
    shown = np.stack(pairs, axis=1).reshape(-1, *spec.example_shape)[:num]
    return shown, None if y is None else y.repeat(2)[:num]


class Drawn(NamedTuple):
    """Samples of a run's checkpoint, and how to arrange them."""

    examples: np.ndarray  # (num, *example_shape); images in [0, 1]
    labels: np.ndarray | None  # int (num,); None if not conditioned on whole classes
    rows: int
    columns: int
    step: int  # iteration of the checkpoint


def draw(
    directory: pathlib.Path,
    *,
    num: int,
    seed: int = 0,
    step: int | Literal["best"] | None = None,
    label: str | None = None,
    text: str | None = None,
    walk: bool = False,
    reconstruct: bool = False,
) -> Drawn:
    """Draws samples of a run's checkpoint.

    Args:
      directory: the run's directory.
      num: number of samples.
      seed: of the noise.
      step: iteration of the checkpoint; "best" by config.keep_best, None for the newest.
      label: class to draw, by number or name; None for all in turn.
      text: caption to draw, for runs conditioned on text.
      walk: interpolates along each row, between points or classes.
      reconstruct: test examples, each followed by its reconstruction, instead of samples.

    Raises:
      InputError: no such run, checkpoint or label, or too many samples.
    """
    import jax
    import jax.numpy as jnp

    from gan_jax import algorithms, device, draws, grid, workdir

    for name, x, low in (("num", num, 1), ("seed", seed, 0)):
        if not (isinstance(x, int | np.integer) and low <= x < 2**32):
            raise InputError(f"--{name}={x}: expected an integer from {low} to {2**32 - 1}")
    device.setup("auto", deterministic=True)
    spec, state = workdir.load(directory, step)
    device.check_samples(num, spec.z_dim + math.prod(spec.example_shape))
    columns = math.ceil(math.sqrt(num))
    columns += columns % 2 * reconstruct  # pairs side by side
    rows = math.ceil(num / columns)
    key = jax.random.key(seed)
    labels = grid.labels(spec, num, columns)
    if label is not None:
        labels = np.full(num, workdir.class_number(directory, spec, label))
    condition = labels
    if text is not None or spec.text:
        condition = np.tile(workdir.embed_caption(directory, spec, text), (num, 1))
    if walk and labels is not None and label is None:
        z = jnp.repeat(draws.noise(spec, key, rows), columns, axis=0)[:num]
        condition = _between_classes(labels, spec.classes, columns)
    elif walk:
        z = draws.noise(spec, key, 2 * rows).reshape(2, rows, -1)
        z = interpolate(z, columns, spec.prior.name).reshape(rows * columns, -1)[:num]
    else:
        z = draws.noise(spec, key, num)
    if reconstruct:
        if algorithms.ALGORITHMS[spec.algorithm].reconstruct is None:
            raise InputError(f"--reconstruct: {directory} is of algorithm {spec.algorithm}")
        if label is not None:
            raise InputError("--reconstruct takes labels of test examples: leave out --label")
        config = workdir.read_config(directory)
        examples, labels = _reconstructions(config, spec, state, num, seed)
        condition = labels
    else:
        examples = algorithms.generate(spec, state, z, condition)
    whole = labels if condition is labels else None
    return Drawn(examples, whole, rows, columns, int(state.step))


def write(directory: pathlib.Path, out: pathlib.Path, drawn: Drawn) -> None:
    """Writes a run's samples to a .png or .npz file."""
    from gan_jax import data, plots, workdir
    from gan_jax.writers import png, write_whole

    samples, rows, columns = drawn.examples, drawn.rows, drawn.columns
    if out.suffix == ".png":
        real = None
        if samples.ndim == 2:
            config = workdir.read_config(directory)
            real = data.load(config.dataset, config.split).images
        write_whole(out, png(plots.sample_image(samples, rows, columns, real)))
    else:
        write_whole(out, plots.npz(samples, drawn.labels))


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run's directory")
    parser.add_argument("--num", type=cli.at_least(1), default=64, help="number of samples")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .png or .npz to write")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of the noise")
    cli.add_step(parser)
    parser.add_argument("--label", help="class to draw, by number or name; default: all in turn")
    parser.add_argument("--text", help="caption to draw, of a run conditioned on text")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--interpolate", action="store_true", help="walk between points or classes")
    mode.add_argument(
        "--reconstruct", action="store_true", help="test examples and their reconstructions"
    )
    args = parser.parse_args()
    check_new(args.out, ".png", ".npz")
    drawn = draw(
        args.workdir,
        num=args.num,
        seed=args.seed,
        step=args.step,
        label=args.label,
        text=args.text,
        walk=args.interpolate,
        reconstruct=args.reconstruct,
    )
    write(args.workdir, args.out, drawn)
    print(f"{args.out}: {args.num} samples of iteration {drawn.step}")
    return 0


if __name__ == "__main__":
    cli.run(main)
