"""The two-dimensional code of an autoencoder: where test examples lie, and what it decodes to.

    python benchmarks/codes.py --workdir=DIR --out=FILE.png [--step=N]

Left, codes of test examples by class; of a VAE, the means of q(z | x). Right, decoded points of a
grid at quantiles of a normal prior, as in figure 4 of Kingma and Welling 2014
(https://arxiv.org/abs/1312.6114): each row and column is a walk through the code.
"""

import pathlib

import numpy as np
import scipy.stats

from gan_jax import algorithms, cli, data, plots, workdir
from gan_jax.errors import InputError
from gan_jax.evaluation import features
from gan_jax.writers import check_new, write_whole

SIDE = 15  # points of a walk


def quantiles(side: int) -> np.ndarray:
    """A grid of points at equidistant quantiles of a 2-D normal, (side^2, 2), from the top left."""
    ends = scipy.stats.norm.ppf((np.arange(side) + 0.5) / side).astype(np.float32)
    x, y = np.meshgrid(ends, ends[::-1])
    return np.stack([x.ravel(), y.ravel()], axis=1)


@plots.style()
def figure(codes: np.ndarray, labels: np.ndarray, decoded: np.ndarray, title: str) -> bytes:
    """PNG of codes, (n, 2), by label, int (n,), beside the decoded `quantiles`."""
    drawn = plots.new_figure(11, 5.5)
    drawn.suptitle(title, x=0.01, ha="left")
    left, right = drawn.subplots(1, 2)
    for label in np.unique(labels):
        left.scatter(*codes[labels == label].T, s=3, label=label, color=f"C{label % 10}")
    left.set_title("codes of test examples", loc="left", fontsize=10)
    left.set_aspect("equal")
    left.legend(markerscale=4, fontsize=8, ncols=2)
    plots.show_grid(right, decoded, SIDE, SIDE, "decoded quantiles of the prior")
    return plots.figure_png(drawn)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    cli.add_step(parser)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .png to write")
    args = parser.parse_args()
    check_new(args.out, ".png", replace=True)
    config = workdir.read_config(args.workdir)
    spec, state = workdir.load(args.workdir, args.step)
    if "encoder" not in state.players or spec.z_dim != 2 or spec.classes:
        raise InputError(f"{args.workdir} is not of an autoencoder with z_dim=2 without classes")
    if spec.prior.name != "normal":
        raise InputError(f"{args.workdir} has a prior that is not normal: {spec.prior.name}")
    workdir.check_data(args.workdir, data.load(config.dataset, config.split).sha256)
    test = data.load(config.dataset, config.test_split, config.image_size)
    if test.labels is None:
        raise InputError(f"{config.dataset} has no labels")
    codes = np.asarray(features.encoder(spec, state).compute(test.images))
    decoded = algorithms.generate(spec, state, quantiles(SIDE))
    title = f"{config.dataset}, {config.algorithm}, iteration {int(state.step):,}"
    write_whole(args.out, figure(codes, test.labels, decoded, title))
    print(args.out)
    return 0


if __name__ == "__main__":
    cli.run(main)
