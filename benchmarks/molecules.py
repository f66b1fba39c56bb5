"""Screening of held-out molecules by runs of configs/aae_molecules.py, against baselines.

    python benchmarks/molecules.py --workdirs=DIR,DIR,... [--out=DIR]

Reports, over runs that differ in the seed, the enrichment of actives among the best 1 % of the
test split by gan_jax.screen's similarities, and of the same number of bits drawn with their
probabilities; by the nearest active of the training set; and the distributions of bit counts and
of similarities to the nearest training molecule, of samples and of the test split. Writes
results.json and distributions.png.
"""

import pathlib
from typing import Any

import jax
import numpy as np
import scipy.stats

from benchmarks.common import RESULTS, origin
from gan_jax import algorithms, cli, data, draws, plots, workdir
from gan_jax.evaluation.metrics.fingerprints import enrichment, nearest
from gan_jax.writers import write_json, write_whole

NUM = 1000  # samples, and test molecules in the distributions
INACTIVE, ACTIVE = 0, 1


def distributions(samples: dict[str, np.ndarray], train: np.ndarray) -> dict[str, Any]:
    """Bit counts and similarities to the nearest training fingerprint, by name of the samples."""
    return {
        "bits": {name: x.sum(axis=1) for name, x in samples.items()},
        "nearest": {name: nearest(x, train) for name, x in samples.items()},
    }


def measure(
    probabilities: tuple[np.ndarray, np.ndarray], train: data.Dataset, test: data.Dataset
) -> tuple[dict[str, float], dict[str, Any]]:
    """Enrichments, and distributions, of a run's samples.

    Args:
      probabilities: of bits of samples of each label, (NUM, bits) each, at the same z.
      train: the training set.
      test: the molecules to rank.
    """
    uniform = np.random.default_rng(0).random(probabilities[0].shape)
    found, sampled = {}, {}
    for how, threshold in (("at 1/2", np.full_like(uniform, 0.5)), ("drawn", uniform)):
        inactive, active = (p >= threshold for p in probabilities)
        scores = [nearest(test.images, x) for x in (inactive, active)]
        found |= {
            f"active, {how}": enrichment(test.labels, scores[ACTIVE]),
            f"inactive, {how}": enrichment(test.labels, scores[INACTIVE]),
            f"difference, {how}": enrichment(test.labels, scores[ACTIVE] - scores[INACTIVE]),
        }
        sampled |= {f"active, {how}": active, f"inactive, {how}": inactive}
    return found, distributions(sampled, train.images)


def baselines(train: data.Dataset, test: data.Dataset) -> dict[str, float]:
    """Enrichments by similarities to training molecules; of random scores, by expectation."""
    inactive, active = (train.images[train.labels == label] for label in (INACTIVE, ACTIVE))
    some = np.random.default_rng(0).choice(inactive, min(len(active), len(inactive)), replace=False)
    to_active = nearest(test.images, active)
    scores = {
        "nearest training active": to_active,
        "nearest of as many inactives": nearest(test.images, some),
        "nearest active, less nearest inactive": to_active - nearest(test.images, inactive),
    }
    found = {name: enrichment(test.labels, x) for name, x in scores.items()}
    return {"random": 1.0} | found


def summary(values: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Mean of values and of real ones, and the Kolmogorov-Smirnov statistic."""
    statistic = float(scipy.stats.ks_2samp(values, real).statistic)
    return {"mean": float(values.mean()), "real": float(real.mean()), "ks": statistic}


@plots.style()
def figure(sampled: dict[str, Any], real: dict[str, Any]) -> bytes:
    """PNG of both distributions."""
    drawing = plots.new_figure(9, 3.2)
    labels = {"bits": "bits set", "nearest": "similarity to the nearest training molecule"}
    for axes, (name, label) in zip(drawing.subplots(1, 2), labels.items(), strict=True):
        drawn = {**real[name], **{k: x for k, x in sampled[name].items() if k[:6] == "active"}}
        everything = np.concatenate(list(drawn.values()))
        edges = np.linspace(everything.min(), everything.max(), 40)
        for i, (text, values) in enumerate(drawn.items()):
            text = text if text in real[name] else f"samples of {text}"
            axes.hist(values, edges, density=True, histtype="step", color=f"C{i}", label=text)
        axes.set_xlabel(label)
        axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8)
    return plots.figure_png(drawing)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdirs", required=True, help="runs, separated by commas")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS / "molecules")
    args = parser.parse_args()
    directories = [pathlib.Path(name) for name in args.workdirs.split(",")]
    config = workdir.read_config(directories[0])
    train, test = (data.load(config.dataset, split) for split in (config.split, config.test_split))
    rng = np.random.default_rng(0)
    images = {"test": test.images, "test, active": test.images[test.labels == ACTIVE]}
    real = distributions({k: rng.permutation(x)[:NUM] for k, x in images.items()}, train.images)
    runs, sampled = [], {}
    for directory in directories:
        spec, state = workdir.load(directory)
        z = draws.noise(spec, jax.random.key(0), NUM)
        labels = (np.full(NUM, label) for label in (INACTIVE, ACTIVE))
        inactive, active = (algorithms.generate(spec, state, z, y) for y in labels)
        found, sampled = measure((inactive, active), train, test)
        against = {"active": "test, active", "inactive": "test"}
        runs.append(
            {
                "seed": workdir.read_config(directory).seed,
                "steps": int(state.step),
                "enrichment": found,
                **{
                    name: {
                        k: summary(x, real[name][against[k.split(",")[0]]]) for k, x in v.items()
                    }
                    for name, v in sampled.items()
                },
            }
        )
    means = {
        name: {
            "mean": float(np.mean(values)),
            "standard_error": float(np.std(values, ddof=1) / len(values) ** 0.5),
            "seeds": values,
        }
        for name in runs[0]["enrichment"]
        for values in [[run["enrichment"][name] for run in runs]]
    }
    result = {
        **origin(),
        "dataset": {
            "train": len(train.images),
            "train_active": int(train.labels.sum()),
            "test": len(test.images),
            "test_active": int(test.labels.sum()),
        },
        "baselines": baselines(train, test),
        "enrichment": means,
        "runs": runs,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "results.json", result)
    write_whole(args.out / "distributions.png", figure(sampled, real))
    print("| ranking | enrichment in the first 1 % |\n|---|---|")
    for name, value in result["baselines"].items():
        print(f"| {name} | {value:.1f} |")
    for name, value in means.items():
        print(f"| {name} | {value['mean']:.1f} ± {value['standard_error']:.1f} |")
    return 0


if __name__ == "__main__":
    cli.run(main)
