"""Draws samples from a run.

python -m gan_jax.sample --workdir=DIR --num=64 --out=FILE [--seed=N] [--step=N] [--interpolate]

FILE ends in .png (a grid) or .npz (an array `images`, uint8, which npz:FILE reads as a data set).
The newest checkpoint is used, or that of --step, a number or `best`. With --interpolate each row of
the grid walks from one latent point to another.
"""

import math
import pathlib
from typing import TYPE_CHECKING, Literal

from gan_jax import cli

if TYPE_CHECKING:
    import jax


def interpolate(z: "jax.Array", points: int, prior: str) -> "jax.Array":
    """Walks between latent points: walk i leads from z[0, i] to z[1, i].

    Args:
      z: ends of the walks, shape (2, walks, z_dim).
      points: on each walk, its ends included.
      prior: "normal" walks on the sphere (slerp, White 2016, https://arxiv.org/abs/1609.04468), as
        the straight line leaves the shell where the prior has its mass; "uniform" walks straight.

    Returns:
      Latent points, shape (walks, points, z_dim).
    """
    import jax.numpy as jnp

    a, b = z[:, :, None]
    t = jnp.linspace(0, 1, points)[:, None]
    if prior != "normal":
        return (1 - t) * a + t * b
    norms = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    angle = jnp.arccos(jnp.clip(jnp.sum(a * b, axis=-1) / norms, -1, 1))[..., None]
    # Between parallel points, as all are that have one component, there is only the straight way.
    parallel = jnp.sin(angle) < 1e-6
    sine = jnp.where(parallel, 1, jnp.sin(angle))
    slerp = (jnp.sin((1 - t) * angle) * a + jnp.sin(t * angle) * b) / sine
    return jnp.where(parallel, (1 - t) * a + t * b, slerp)


def draw(
    directory: pathlib.Path,
    out: pathlib.Path,
    *,
    num: int,
    seed: int,
    step: int | Literal["best"] | None,
    walk: bool,
) -> None:
    """Writes `num` samples of a run's checkpoint to a .png or .npz file.

    Raises:
      InputError: no such run or checkpoint, or a file that is not to be written.
    """
    import jax

    from gan_jax import core, data, device, plots, workdir
    from gan_jax.writers import check_new, write_whole

    check_new(out, ".png", ".npz")
    device.setup("auto", deterministic=True)
    game, state = workdir.load(directory, step)
    columns = math.ceil(math.sqrt(num))
    rows = math.ceil(num / columns)
    key = jax.random.key(seed)
    if walk:
        z = core.sample_noise(game, key, 2 * rows).reshape(2, rows, -1)
        z = interpolate(z, columns, game.prior.name).reshape(rows * columns, -1)[:num]
    else:
        z = core.sample_noise(game, key, num)
    samples = core.generate_in_blocks(game, core.generator(state), z)
    if out.suffix == ".png":
        below = None
        if samples.ndim == 2:
            config = workdir.read_config(directory)
            below = data.load(config.dataset, config.split).images
        write_whole(out, plots.png(plots.sample_picture(samples, rows, columns, below)))
    else:
        write_whole(out, plots.npz(samples))
    print(f"{out}: {num} samples of iteration {int(state.step)}")


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run's directory")
    parser.add_argument("--num", type=cli.at_least(1), default=64, help="how many samples")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .png or .npz to write")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of the noise")
    cli.add_step(parser)
    parser.add_argument("--interpolate", action="store_true", help="walk between latent points")
    args = parser.parse_args()
    draw(
        args.workdir,
        args.out,
        num=args.num,
        seed=args.seed,
        step=args.step,
        walk=args.interpolate,
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
