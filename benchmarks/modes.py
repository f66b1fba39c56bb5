"""Animates how eight games cover the modes of a mixture, one panel per game.

    python benchmarks/modes.py [--dataset=grid] [--num_steps=6000] [--out=FILE.gif]

Trains the networks of configs/all_modes.py by each of GAMES from the same seed, and draws samples
over the true modes. Writes benchmarks/results/modes-DATASET.gif.
"""

import pathlib
from typing import Any

import common
import jax
import numpy as np
from PIL import Image

from gan_jax import algorithms, cli, data, plots
from gan_jax import config as config_lib
from gan_jax.configs import all_modes
from gan_jax.data.mixtures import MIXTURES
from gan_jax.draws import Batch
from gan_jax.evaluation import scoring
from gan_jax.penalties import PENALTIES

FRAMES = 25
# White and black, two greys for the modes, and two shades of the samples.
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


def shrink(image: Image.Image) -> Image.Image:
    """Three quarters as large, in COLORS only: keeps an animation below 1 MB."""
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for color in COLORS for channel in color])
    smaller = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    return smaller.quantize(palette=palette, dither=Image.Dither.NONE)


@plots.style()
def frame(step: int, means: np.ndarray, samples: dict[str, np.ndarray]) -> Image.Image:
    """Samples by game, each (n, 2), over the modes' means."""
    reach = 1.25 * np.abs(means).max()
    figure = plots.new_figure(10, 5.4)
    figure.suptitle(f"Which game covers every mode? Iteration {step}", x=0.01, ha="left")
    for axes, (name, points) in zip(figure.subplots(2, 4).flat, samples.items(), strict=True):
        axes.plot(*means.T, "o", ms=9, mfc="none", color="0.6", mew=0.8)
        axes.plot(*points.T, ".", ms=2, alpha=0.4, mew=0, color="#D55E00")
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect=1)
        axes.set_title(name, loc="left", fontsize=9)
    return plots.figure_image(figure)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--dataset", choices=("ring", "grid"), default="grid")
    parser.add_argument("--num_steps", type=cli.at_least(FRAMES), default=6_000)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    out = args.out or common.RESULTS / f"modes-{args.dataset}.gif"
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    common.setup("all_modes")
    base = config_lib.replace(all_modes.get_config(args.num_steps), {"dataset": args.dataset})
    dataset = data.load(args.dataset, base.split)
    reference = scoring.reference(
        base, dataset, base.validation_split, base.eval_metrics, base.eval_num
    )
    batch = Batch(jax.device_put(dataset.images))
    first = max(1, args.num_steps // 60)
    stops = np.unique(np.geomspace(first, args.num_steps, FRAMES).astype(int)).tolist()
    drawn: dict[str, list[np.ndarray]] = {}
    for name, changes in GAMES.items():
        c = config_lib.replace(base, changes)
        spec, hparams = config_lib.spec(c, dataset.images.shape[1:]), config_lib.hparams(c)
        state, step = algorithms.init(spec, hparams, c.seed, batch), 0
        drawn[name] = []
        for stop in stops:
            state, _ = algorithms.train_chunk(spec, hparams, state, batch, stop - step)
            step = stop
            drawn[name].append(scoring.evaluation_samples(spec, state, c.eval_num))
        scores = scoring.score(drawn[name][-1], reference, c.eval_metrics, intervals=False)
        print(name, *(f"{key} {entry['value']:.3g}" for key, entry in scores.items()), flush=True)
    frames = [
        frame(stop, MIXTURES[args.dataset].means, {name: x[i] for name, x in drawn.items()})
        for i, stop in enumerate(stops)
    ]
    out.write_bytes(plots.gif([shrink(image) for image in frames]))
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
