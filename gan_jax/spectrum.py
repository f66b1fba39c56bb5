"""Plots the eigenvalues of the game's Jacobian at a checkpoint of a small run.

python -m gan_jax.spectrum --workdir=DIR --out=FILE.png [--step=N|best] [--num=1000]

Let v(w) = (gradient of D's loss, gradient of G's loss) at all parameters w, and J its Jacobian.
Near an equilibrium, a small simultaneous gradient step with learning rate h multiplies the
displacement by I - h J: eigenvalues of J with positive real part contract, those with negative real
part diverge, and imaginary parts rotate (Mescheder et al. 2017, https://arxiv.org/abs/1705.10461,
section 3.1). Eigenvalues whose real part is within rounding error of zero are neutral.

A checkpoint is not an equilibrium, and the run's own optimizer and update rule are ignored.
Gradients use NUM examples and latents; a lazily applied penalty contributes its average.
"""

import pathlib
from typing import TYPE_CHECKING, Literal

import numpy as np

from gan_jax import cli
from gan_jax.errors import InputError

if TYPE_CHECKING:
    import jax

    from gan_jax.draws import Batch
    from gan_jax.spec import GANSpec, HParams
    from gan_jax.state import State

_MAX_PARAMETERS = 4000  # of both players: a Jacobian of 64 MB, and a minute for its eigenvalues
_SUPPORTED = ("mlp", "monotone")  # convolutions have no forward-mode derivative
_MAX_EXAMPLES = 5000  # forward mode stores the hidden units of all of them once per parameter


def eigenvalues(
    spec: "GANSpec",
    hparams: "HParams",
    state: "State",
    real: "Batch",
    z: "jax.Array",
    key: "jax.Array",
) -> np.ndarray:
    """Eigenvalues of the Jacobian of `gan.game_gradient` by both players' parameters.

    Uses forward-mode differentiation, which networks with a custom_vjp do not support.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: where to evaluate.
      real: minibatch of data, x of shape (batch, *example shape).
      z: noise, shape (batch, z_dim).
      key: for dropout, instance noise and penalties.

    Returns:
      Complex, shape (parameters,).

    Raises:
      InputError: the players have too many parameters.
    """
    import jax
    from jax.flatten_util import ravel_pytree

    from gan_jax.algorithms import gan

    penalties = tuple((name, 1) for name, _ in spec.penalties)
    spec = spec._replace(update="simultaneous", penalties=penalties)
    params = {name: player.params for name, player in state.players.items()}
    here, unravel = ravel_pytree(params)
    if len(here) > _MAX_PARAMETERS:
        raise InputError(
            f"the players have {len(here)} parameters, more than the {_MAX_PARAMETERS} supported: "
            "train narrower networks"
        )

    def v(flat: "jax.Array") -> "jax.Array":
        players = {n: state.players[n]._replace(params=p) for n, p in unravel(flat).items()}
        now = state._replace(players=players)
        gradients, _ = gan.game_gradient(spec, hparams, now, real, z, key)
        return ravel_pytree({name: gradients[name].params for name in players})[0]

    return np.linalg.eigvals(np.asarray(jax.jit(jax.jacfwd(v))(here), np.float64))


def draw(
    directory: pathlib.Path, out: pathlib.Path, *, step: int | Literal["best"] | None, num: int
) -> None:
    """Writes the figure of a run's checkpoint and prints a summary.

    Raises:
      InputError: no such run or checkpoint, too many parameters, or `out` cannot be written.
    """
    import jax

    from gan_jax import config as config_lib
    from gan_jax import data, device, draws, plots, population, schedules, train, workdir
    from gan_jax.draws import Batch, Stream, stream_key
    from gan_jax.spec import GANSpec
    from gan_jax.writers import check_new, write_whole

    check_new(out, ".png")
    if num > _MAX_EXAMPLES:
        raise InputError(f"--num={num}: at most {_MAX_EXAMPLES}")
    device.setup("auto", deterministic=True, cache=data.cache_dir() / "xla")
    config = workdir.read_config(directory)
    spec, state = workdir.load(directory, step)
    if not isinstance(spec, GANSpec):
        raise InputError(f"{directory} is of algorithm {config.algorithm}, not of a game")
    if config.generator.name not in _SUPPORTED or config.discriminator.name != "mlp":
        raise InputError(f"{directory} has convolutional networks, which are not supported")
    dataset = train.load_data(config)
    workdir.check_data(directory, dataset.sha256)
    num = min(num, len(dataset.images)) // spec.pack * spec.pack
    if not num:
        raise InputError(f"--num must be at least config.pack, {spec.pack}")
    y, captions = population.conditioning(config, dataset)
    examples = Batch(*jax.device_put((dataset.images, y, captions)))
    found = eigenvalues(
        spec,
        schedules.at(spec.schedules, config_lib.hparams(config), int(state.step)),
        state,
        draws.minibatch(num, state.key, examples, 0, low=spec.pixel_low),
        draws.noise(spec, stream_key(state.key, Stream.EVALUATE), num),
        stream_key(state.key, Stream.EVALUATE, 1),
    )
    title = f"{config.dataset}, {config.loss}, iteration {int(state.step)}"
    write_whole(out, plots.spectrum(found, title))
    print(
        f"{out}: {len(found)} eigenvalues, largest modulus {np.abs(found).max():.3g}; real parts "
        f"from {found.real.min():.3g} to {found.real.max():.3g}, imaginary parts up to "
        f"{np.abs(found.imag).max():.3g}"
    )


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run's directory")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the .png to write")
    cli.add_step(parser)
    parser.add_argument("--num", type=cli.at_least(1), default=1000, help="number of examples")
    args = parser.parse_args()
    draw(args.workdir, args.out, step=args.step, num=args.num)
    return 0


if __name__ == "__main__":
    cli.run(main)
