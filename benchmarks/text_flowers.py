"""What a run conditioned on text draws: a sheet of captions, and the effect of a colour word.

    python benchmarks/text_flowers.py --workdir=DIR [--step=N] [--out=DIR]

Prints a table of the mean colour of the middle of the images of captions that differ in one word,
and writes sheet.png and colours.json. Scores are by gan_jax.evaluate, with and without --held_out.
"""

import pathlib

import jax
import numpy as np

from benchmarks.common import RESULTS
from gan_jax import algorithms, cli, draws, plots, workdir
from gan_jax.writers import write_json, write_whole

CAPTIONS = (
    "this flower has bright yellow petals and a dark brown center",
    "a flower with large pink petals and a yellow stamen",
    "the petals are white and the center is yellow",
    "this flower is purple with thin pointed petals",
    "a red flower with many layers of petals",
    "an orange flower with black spots",
    "this flower has blue petals",
    "a flower with green leaves and small white petals",
)
TEMPLATE = "this flower has {} petals"
COLOURS = ("red", "orange", "yellow", "white", "pink", "purple", "blue")
COLUMNS, NUM = 8, 200


@plots.style()
def captioned(images: dict[str, np.ndarray], title: str) -> bytes:
    """PNG of a row of images under each caption."""
    figure = plots.new_figure(8, 1.25 * len(images) + 0.5)
    figure.suptitle(title, x=0.01, ha="left")
    all_axes = figure.subplots(len(images), 1, squeeze=False)[:, 0]
    for axes, (text, row) in zip(all_axes, images.items(), strict=True):
        plots.show_grid(axes, row, 1, len(row), text)
    return plots.figure_png(figure)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    cli.add_step(parser)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS / "text_flowers")
    args = parser.parse_args()
    spec, state = workdir.load(args.workdir, args.step)

    def images(text: str, num: int) -> np.ndarray:
        z = draws.noise(spec, jax.random.key(0), num)  # the same for every text
        y = workdir.embed_caption(args.workdir, spec, text)
        return algorithms.generate(spec, state, z, np.tile(y, (num, 1)))

    args.out.mkdir(parents=True, exist_ok=True)
    sheet = {text: images(text, COLUMNS) for text in CAPTIONS}
    write_whole(args.out / "sheet.png", captioned(sheet, f"iteration {int(state.step)}"))
    found = {}
    print(f"| {TEMPLATE.format('...')} | red | green | blue |\n|---|---|---|---|")
    for colour in COLOURS:
        drawn = images(TEMPLATE.format(colour), NUM)
        quarter = [size // 4 for size in drawn.shape[1:3]]
        middle = drawn[:, quarter[0] : -quarter[0], quarter[1] : -quarter[1]].mean(axis=(1, 2))
        mean, error = middle.mean(axis=0), middle.std(axis=0) / NUM**0.5
        cells = (f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True))
        print(f"| {colour} | {' | '.join(cells)} |")
        found[colour] = {"mean": mean.tolist(), "standard_error": error.tolist()}
    write_json(args.out / "colours.json", {"step": int(state.step), "samples": NUM, "rgb": found})
    return 0


if __name__ == "__main__":
    cli.run(main)
