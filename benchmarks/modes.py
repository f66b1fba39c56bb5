"""How eight games cover the modes of a mixture: an animation, one panel a game.

    python benchmarks/modes.py [--dataset=grid] [--num_steps=6000] [--out=FILE.gif]

Trains the players of configs/all_modes.py by each of GAMES, from the same seed, and draws samples
over the true modes as training goes on. Writes benchmarks/results/modes-DATASET.gif.
"""

import pathlib
from typing import Any

from PIL import Image

from gan_jax import cli
from gan_jax.errors import InputError
from gan_jax.penalties import PENALTIES

HERE = pathlib.Path(__file__).parent
FRAMES = 25
# Of the pictures: white and black, grey for the modes, and what is drawn, faint and strong.
COLORS = ((255, 255, 255), (0, 0, 0), (90, 90, 90), (170, 170, 170), (238, 190, 153), (213, 94, 0))
PLAIN: dict[str, Any] = {
    "loss": "non_saturating",
    "ema": 0.0,
    **{f"penalties.{name}.weight": 0.0 for name in PENALTIES},
}
GAMES: dict[str, dict[str, Any]] = {
    "minimax": PLAIN | {"loss": "minimax"},
    "non-saturating": PLAIN,
    "non-saturating, packs of 4": PLAIN | {"pack": 4},
    "non-saturating, 5 steps ahead": PLAIN | {"update": "unrolled", "unrolled_steps": 5},
    "least squares": PLAIN | {"loss": "least_squares"},
    "hinge, spectral norm": PLAIN | {"loss": "hinge", "discriminator.spectral_norm": True},
    "Wasserstein, gradient penalty": PLAIN
    | {"loss": "wasserstein", "penalties.gradient_penalty.weight": 1.0},
    "configs/all_modes.py": {},
}


def light(pictures: list[Image.Image]) -> list[Image.Image]:
    """Pictures three quarters as large, in COLORS alone: an animation of them is below 1 MB."""
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for color in COLORS for channel in color])
    smaller = [p.resize((p.width * 3 // 4, p.height * 3 // 4)) for p in pictures]
    return [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in smaller]


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--dataset", choices=("ring", "grid"), default="grid")
    parser.add_argument("--num_steps", type=cli.at_least(FRAMES), default=6_000)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    import jax
    import numpy as np

    from gan_jax import algorithm, config, core, data, device, plots, train
    from gan_jax.metrics.mixture import mixture
    from gan_jax.mixtures import MIXTURES

    out = args.out or HERE / f"results/modes-{args.dataset}.gif"
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out={out}: there is no directory {out.parent}")
    device.setup("auto", deterministic=True, cache=data.cache_dir() / "xla")
    images = data.load(args.dataset).images
    on_device, truth = jax.device_put(images), MIXTURES[args.dataset]
    length = {f"{player}_optimizer.decay_steps": args.num_steps for player in "dg"}
    length["num_steps"] = args.num_steps
    base = config.replace(config.load(str(HERE.parent / "configs/all_modes.py")), length)
    first = max(1, args.num_steps // 60)
    stops = np.unique(np.geomspace(first, args.num_steps, FRAMES).astype(int))
    drawn: dict[str, list[np.ndarray]] = {}
    for name, fields in GAMES.items():
        c = config.replace(base, fields)
        game, hparams = config.game(c, images.shape[1:]), config.hparams(c)
        state, frames = core.init(game, hparams, c.seed, on_device), []
        for stop in stops.tolist():
            state, _ = algorithm.train_chunk(
                game, hparams, state, on_device, stop - int(state.step)
            )
            frames.append(train.evaluation_samples(game, state, 2500))
        drawn[name] = frames
        scores = mixture(frames[-1], truth.means, truth.sigma, 0)
        print(name, *(f"{key} {score.value:.3g}" for key, score in scores.items()), flush=True)
    pictures = []
    reach = 1.25 * np.abs(truth.means).max()
    for i, stop in enumerate(stops.tolist()):
        figure = plots.new_figure(10, 5.4)
        figure.suptitle(f"Which game covers every mode? Iteration {stop}", x=0.01, ha="left")
        for axes, (name, frames) in zip(figure.subplots(2, 4).flat, drawn.items(), strict=True):
            axes.plot(*truth.means.T, "o", ms=9, mfc="none", color="0.6", mew=0.8)
            axes.plot(*frames[i].T, ".", ms=2, alpha=0.4, mew=0, color="#D55E00")
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect=1)
            axes.set_title(name, loc="left", fontsize=9)
        pictures.append(plots.figure_image(figure))
    out.write_bytes(plots.gif(light(pictures)))
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
