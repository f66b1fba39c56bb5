"""Draws the eigenvalues of the game's Jacobian at a checkpoint of a small run.

python -m gan_jax.spectrum --workdir=DIR --out=FILE.png [--step=N|best] [--num=1000]

With v(w) = (D's gradient, G's gradient) at all parameters w of both players, a small step of rate h
along -v multiplies the displacement from an equilibrium by 1 - h J, with J the Jacobian of v. So an
eigenvalue lambda of J says what plain simultaneous gradient steps would do near it: a positive real
part contracts, a negative one spreads, and an imaginary part rotates (Mescheder et al. 2017,
https://arxiv.org/abs/1705.10461, section 3.1). A checkpoint is no equilibrium, and a run's own
optimizer and its `update` make other steps: neither is looked at. The gradients are those of NUM
examples and noise vectors, and a penalty counts as on the mean of its interval.
"""

import pathlib
from typing import TYPE_CHECKING, Literal

import numpy as np

from gan_jax import cli
from gan_jax.errors import InputError

if TYPE_CHECKING:
    import jax

    from gan_jax.core import Game, HParams, State

_MOST = 4000  # parameters of both players, whose Jacobian takes 64 MB, and its eigenvalues a minute
_MOST_EXAMPLES = 5000  # whose hidden units are kept once for each parameter


def eigenvalues(
    game: "Game",
    hparams: "HParams",
    state: "State",
    real: "jax.Array",
    noise: "jax.Array",
    key: "jax.Array",
) -> np.ndarray:
    """The eigenvalues of `algorithm.field`'s Jacobian with respect to both players' parameters.

    Args:
      game: static structure.
      hparams: traced numbers.
      state: where.
      real: examples, shape (batch, *example shape).
      noise: noise vectors, shape (batch, z_dim).
      key: of the step's own draws.

    Returns:
      Complex, shape (parameters,).

    Raises:
      InputError: there are too many parameters.
    """
    import jax
    from jax.flatten_util import ravel_pytree

    from gan_jax import algorithm

    penalties = tuple((name, 1) for name, _ in game.penalties)
    game = game._replace(update="simultaneous", unrolled_steps=0, penalties=penalties)
    here, unravel = ravel_pytree((state.d.params, state.g.params))
    if len(here) > _MOST:
        raise InputError(
            f"the players have {len(here)} parameters, but a Jacobian takes at most {_MOST}: "
            "train narrower ones"
        )

    def v(flat: "jax.Array") -> "jax.Array":
        d, g = unravel(flat)
        now = state._replace(d=state.d._replace(params=d), g=state.g._replace(params=g))
        gradients, _ = algorithm.field(game, hparams, now, real, noise, key)
        return ravel_pytree((gradients.d.params, gradients.g.params))[0]

    return np.linalg.eigvals(np.asarray(jax.jit(jax.jacfwd(v))(here), np.float64))


def draw(
    directory: pathlib.Path, out: pathlib.Path, *, step: int | Literal["best"] | None, num: int
) -> None:
    """Writes the figure of a run's checkpoint, and says what it shows.

    Raises:
      InputError: no such run or checkpoint, too many parameters, or a file not to be written.
    """
    import jax
    import jax.numpy as jnp

    from gan_jax import config as config_lib
    from gan_jax import core, data, device, plots, workdir
    from gan_jax.core import Role
    from gan_jax.writers import check_new, write_whole

    check_new(out, ".png")
    if num > _MOST_EXAMPLES:
        raise InputError(f"--num={num}: at most {_MOST_EXAMPLES}")
    device.setup("auto", deterministic=True, cache=data.cache_dir() / "xla")
    config = workdir.read_config(directory)
    game, state = workdir.load(directory, step)
    dataset = data.load(config.dataset, config.split, config.image_size)
    workdir.check_data(directory, dataset.sha256)
    num = min(num, len(dataset.images)) // game.pack * game.pack
    if not num:
        raise InputError(f"--num must be at least the config's pack, {game.pack}")
    game = game._replace(batch_size=num)
    found = eigenvalues(
        game,
        config_lib.hparams(config),
        state,
        core.draw_real(game, state, jax.device_put(dataset.images), jnp.int32(0)),
        core.sample_noise(game, core.role_key(state.key, Role.EVALUATE), num),
        core.role_key(state.key, Role.EVALUATE, 1),
    )
    title = f"{config.dataset}, {config.loss}, iteration {int(state.step)}"
    write_whole(out, plots.spectrum(found, title))
    size = np.abs(found).max()
    print(
        f"{out}: {len(found)} eigenvalues up to {size:.3g}; real parts from "
        f"{found.real.min():.3g} to {found.real.max():.3g}, imaginary up to "
        f"{np.abs(found.imag).max():.3g}"
    )


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run's directory")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .png to write")
    cli.add_step(parser)
    parser.add_argument("--num", type=cli.at_least(1), default=1000, help="how many examples")
    args = parser.parse_args()
    draw(args.workdir, args.out, step=args.step, num=args.num)
    return 0


if __name__ == "__main__":
    cli.run(main)
