"""Measures how far D is from optimal, and G from the data, for several k at equal cost.

    python benchmarks/equilibrium.py [--seeds=5] [--updates=12000]

The 2014 paper argues for k updates of D per update of G: D then stays near its optimum while G
changes slowly. Here D* is known. Each run takes the same number of updates of D and G together, so
k = 20 updates G ten times less often than k = 1. Learning rates are constant; D and G of a seed
start alike for every k.

  gaussian1d   densities are exact (gan_jax.theory.line)
  grid         probabilities of the 25 Gaussians and of 100,000 samples in cells of a standard
               deviation; D is evaluated at their centres. As many samples of the data have the
               Jensen-Shannon divergence `floor`

Writes benchmarks/results/equilibrium/NAME.png, with a line for the mean over seeds and its 95 %
interval, and summary.json, with both quantities at the end.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from ml_collections import ConfigDict
from scipy.special import expit, ndtr

from gan_jax import algorithms, cli, data, draws, loop, networks, plots, population
from gan_jax import config as config_lib
from gan_jax.data.mixtures import MIXTURES, draw
from gan_jax.spec import GANSpec
from gan_jax.state import State
from gan_jax.theory import divergences, line
from gan_jax.writers import write_json, write_whole

KS = (1, 2, 5, 20)
POINTS = 15  # measurements of a run
SAMPLES = 100_000
SETTINGS: dict[str, dict[str, Any]] = {
    "gaussian1d": {"schedules": ()},
    "grid": {
        "update": "alternating",
        "loss": "non_saturating",
        "batch_size": 512,
        "d_optimizer.learning_rate": 1e-3,
        "g_optimizer.learning_rate": 1e-3,
        "generator.batch_norm": False,
        "generator.widths": (128, 128),
        "generator.init_scale": 0.1,
        "discriminator.widths": (128, 128),
        "discriminator.pieces": 1,
        "discriminator.activation": "relu",
        "discriminator.init_scale": 0.1,
    },
}

Measure = Callable[[GANSpec, ConfigDict, State], dict[str, float]]


def on_line(spec: GANSpec, config: ConfigDict, state: State) -> dict[str, float]:
    known = line.curves(spec, config_lib.hparams(config), state, MIXTURES[config.dataset])
    return line.measure(known)


class Plane:
    """Cells of a plane, with the probabilities of a mixture."""

    def __init__(self, name: str):
        self.mixture = MIXTURES[name]
        reach = np.abs(self.mixture.means).max() + 6 * self.mixture.sigma
        self.edges = np.arange(-reach, reach + self.mixture.sigma, self.mixture.sigma)
        inner = (self.edges[1:-1] - self.mixture.means[:, :, None]) / self.mixture.sigma
        cdf = np.pad(ndtr(inner), ((0, 0), (0, 0), (1, 1)), constant_values=(0, 1))
        mass = np.diff(cdf)  # (modes, 2, cells), tails included
        self.p_data = np.mean(mass[:, 0, :, None] * mass[:, 1, None, :], axis=0)
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        self.centres = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)

    def histogram(self, points: np.ndarray) -> np.ndarray:
        inside = np.clip(points, self.edges[0], self.edges[-1])
        counts, _, _ = np.histogram2d(*inside.T, bins=(self.edges, self.edges))
        return counts / len(points)

    def floor(self) -> float:
        """The divergence of as many samples of the data."""
        points, _ = draw(self.mixture, SAMPLES, seed=1)
        return divergences.jsd(self.p_data, self.histogram(points))

    def measure(self, spec: GANSpec, config: ConfigDict, state: State) -> dict[str, float]:
        z = draws.noise(spec, jax.random.key(0), SAMPLES)
        p_g = self.histogram(algorithms.generate(spec, state, z))
        d = state.players["d"].variables
        logits, _ = networks.apply(spec.discriminator, d, jnp.float32(self.centres))
        best = divergences.optimal_discriminator(self.p_data, p_g)
        gap = np.abs(expit(np.float64(logits)).reshape(best.shape) - best)
        return {
            "jsd": divergences.jsd(self.p_data, p_g),
            "d_gap": float(np.sum((self.p_data + p_g) / 2 * gap)),
        }


def curves(name: str, k: int, seeds: int, updates: int, measure: Measure) -> dict[str, Any]:
    """Updates of D and G so far, (points,), and quantities, (seeds, points)."""
    num_steps = updates // (k + 1)
    every = max(1, num_steps // POINTS)
    config = config_lib.replace(
        config_lib.load(name),
        SETTINGS[name]
        | {"k": k, "num_steps": num_steps, "eval_every": 0, "log_every": num_steps}
        | {"metrics_every": every, "sample_every": num_steps, "checkpoint_every": num_steps},
    )
    dataset = data.load(config.dataset, config.split)
    configs = [config_lib.replace(config, {"seed": seed}) for seed in range(seeds)]
    members = population.create(configs, dataset)
    found: list[list[dict[str, float]]] = []
    steps: list[int] = []
    start = population.init(members), np.zeros(seeds, np.int32), 0, None
    for chunk in loop.train(config, members, *start):
        if "metrics" in chunk.due:
            states = (population.member(chunk.states, i) for i in range(seeds))
            found.append([measure(members.spec, config, state) for state in states])
            steps.append(chunk.step)
    named = {n: np.array([[one[n] for one in row] for row in found]).T for n in ("jsd", "d_gap")}
    return {"updates": np.array(steps) * (k + 1), **named}


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over seeds, (points,), and half of its 95 % interval, by Student's t."""
    n = len(values)
    error = values.std(axis=0, ddof=1) / n**0.5
    return values.mean(axis=0), scipy.stats.t.ppf(0.975, n - 1) * error


@plots.style()
def figure(name: str, found: dict[int, dict[str, Any]], floor: float | None) -> bytes:
    drawn = plots.new_figure(10, 4)
    for axes, quantity, label in zip(
        drawn.subplots(1, 2),
        ("d_gap", "jsd"),
        ("mean |D - D*|", "JSD(p_data, p_G) in nats"),
        strict=True,
    ):
        for number, (k, values) in enumerate(found.items()):
            mean, half = interval(values[quantity])
            axes.plot(values["updates"], mean, f"C{number}", label=f"k = {k}")
            ends = mean - half, mean + half
            axes.fill_between(values["updates"], *ends, color=f"C{number}", alpha=0.15, lw=0)
        if quantity == "jsd" and floor is not None:
            axes.axhline(floor, color="0.5", ls=":", lw=1, label="samples of the data")
        every = np.concatenate([values[quantity].mean(axis=0) for values in found.values()])
        plots.log_scale(axes, axes.yaxis, every)
        if axes.get_yscale() == "log":  # intervals reach below 0
            axes.set_ylim(every.min() / 2, every.max() * 2)
        axes.set(xlabel="updates of D and G", ylabel=label)
        axes.legend(frameon=False)
    drawn.suptitle(f"{name}: mean of {len(next(iter(found.values()))['jsd'])} seeds")
    return plots.figure_png(drawn)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--seeds", type=cli.at_least(2), default=5)
    parser.add_argument("--updates", type=cli.at_least(1000), default=12_000)
    parser.add_argument("--out", type=pathlib.Path, default=common.RESULTS / "equilibrium")
    args = parser.parse_args()
    common.setup("gaussian1d")
    args.out.mkdir(exist_ok=True)
    plane = Plane("grid")
    summary: dict[str, Any] = {"updates": args.updates, "floor": plane.floor()}
    measures: dict[str, Measure] = {"gaussian1d": on_line, "grid": plane.measure}
    for name, measure in measures.items():
        found = {k: curves(name, k, args.seeds, args.updates, measure) for k in KS}
        summary[name] = {}
        for k, values in found.items():
            ends = {n: [float(x[-1]) for x in interval(values[n])] for n in ("d_gap", "jsd")}
            summary[name][str(k)] = ends
            text = ", ".join(f"{n} {mean:.4f} ± {half:.4f}" for n, (mean, half) in ends.items())
            print(f"{name}, k = {k}: {text}", flush=True)
        floor = summary["floor"] if name == "grid" else None
        write_whole(args.out / f"{name}.png", figure(name, found, floor))
    write_json(args.out / "summary.json", common.origin() | summary)
    return 0


if __name__ == "__main__":
    cli.run(main)
