"""Scores a run, finished or in progress.

python -m gan_jax.evaluate --workdir=DIR [--step=N|best] [--num=10000] [--split=SPLIT]
                           [--metrics=fid,kid,...] [--features=inception --weights=FILE]
                           [--held_out]

Compares samples with SPLIT of the data set, by default the config's test_split. Prints a table of
scores and those of real data and trivial models, and writes evaluation.json and evaluation.png to
DIR. With --held_out, samples are generated for the classes that training held out, compared with
those, and the files are evaluation_held_out.*.
"""

import math
import pathlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gan_jax import cli
from gan_jax.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from gan_jax.data import Dataset
    from gan_jax.spec import Spec
    from gan_jax.state import State

_LISTED = 4  # unavailable metrics of one reason


def _classification_error(
    config: "ConfigDict", spec: "Spec", state: "State", test: "Dataset"
) -> dict[str, Any]:
    """The error of inferred classes on labelled examples, a proportion with its interval."""
    from gan_jax import algorithms, data
    from gan_jax.evaluation.metrics import conditional

    assert test.labels is not None
    found = algorithms.classify(spec, state, test.images).argmax(axis=1)
    by, used = None, len(np.unique(found))
    if not config.num_labelled:
        by = config.validation_split
        validation = data.load(config.dataset, config.validation_split, config.image_size)
        assert validation.labels is not None  # it has what the test split has
        probabilities = algorithms.classify(spec, state, validation.images)
        found = conditional.cluster_labels(probabilities, validation.labels)[found]
    right = conditional.agreement(found, test.labels)
    return {
        "value": 1 - right.value,
        "low": 1 - right.high,
        "high": 1 - right.low,
        "labelled": config.num_labelled,
        "categories": spec.classes,
        "categories_used": used,
        "clusters_labelled_by": by,
    }


def evaluate(
    directory: pathlib.Path,
    *,
    step: int | Literal["best"] | None = None,
    num: int = 10_000,
    split: str | None = None,
    metrics: list[str] | None = None,
    weights: pathlib.Path | None = None,
    held_out: bool = False,
) -> dict[str, Any]:
    """Scores a checkpoint of a run, and writes evaluation.json and evaluation.png.

    Args:
      directory: the run's directory.
      step: iteration of the checkpoint; "best" or None for the newest.
      num: number of samples.
      split: split to compare with; None for the config's test_split.
      metrics: keys of registry.METRICS; None for all that are available.
      weights: Inception's weights, to use its features; None for EfficientNet's.
      held_out: generate the held-out classes and compare with their images, which are also the
        "real data" of the table; by default only the metrics of conditional samples.

    Returns:
      The contents of evaluation.json.

    Raises:
      InputError: no such run, checkpoint or metric, changed data, other weights, or an
        unavailable metric.
    """
    from gan_jax import algorithms, data, device, plots, train, workdir
    from gan_jax import config as config_lib
    from gan_jax.evaluation import registry, scoring, tables
    from gan_jax.evaluation.baselines import baselines
    from gan_jax.writers import read_metrics, write_json, write_whole

    for name in metrics or ():
        if name not in registry.METRICS:
            hint = did_you_mean(name, registry.METRICS)
            known = ", ".join(registry.METRICS)
            raise InputError(f"--metrics: {name!r} is not one of {known}{hint}")
    config = workdir.read_config(directory)
    if held_out and not config.condition.held_out:
        raise InputError(f"--held_out: {directory} has no classes in config.condition.held_out")
    extractor = scoring.load_extractor(weights) if weights else None
    device.setup("auto", deterministic=True, cache=data.cache_dir() / "xla")
    spec, state = workdir.load(directory, step)
    device.check_samples(num, spec.z_dim + math.prod(spec.example_shape))
    lines = read_metrics(directory / "metrics.jsonl")
    dataset = train.load_data(config)
    workdir.check_data(directory, dataset.sha256)
    split = config.test_split if split is None else split
    test = scoring.load_test(config, split, held_out)
    dataset = test if held_out else dataset
    unavailable = scoring.unavailable_metrics(config, dataset, test, num, split, extractor)
    default = [
        name
        for name, metric in registry.METRICS.items()
        if name not in unavailable and (not held_out or metric.requires in registry.CONDITIONAL)
    ]
    names = metrics or default
    if not names:
        reasons = ", ".join(dict.fromkeys(unavailable.values()))
        raise InputError(f"no metric is available: {reasons}")
    reference = scoring.reference(config, dataset, split, names, num, extractor, held_out)
    y, conditions = scoring.evaluation_conditions(config, num, dataset)
    samples = scoring.evaluation_samples(spec, state, num, y)
    entries = scoring.score(samples, reference, names, conditions=conditions)
    others = baselines(reference, num, names)
    evaluator, extractor = reference.evaluator, reference.extractor
    result: dict[str, Any] = {
        "step": int(state.step),
        "samples": num,
        "dataset": config.dataset,
        "test_split": split,
        "test_examples": len(reference.test),
        "validation_split": config.validation_split,
        "evaluator": evaluator and {"name": evaluator.name, "accuracy": evaluator.accuracy},
        "features": extractor and {"name": extractor.name, "sha256": extractor.sha256},
        "preprocessing": "evaluator: rounded to 8 bits, in [0, 1]; other metrics: as generated",
        "metrics": {
            name: {
                **entry,
                "interval": registry.METRICS[name].interval,
                "better": registry.METRICS[name].better,
                "baselines": {row: found[name] for row, found in others.items()},
            }
            for name, entry in entries.items()
        },
        "unavailable": {} if metrics else unavailable,  # one that is asked for raised
    }
    if config.get("num_categories") and test.labels is not None:
        result["classification"] = _classification_error(config, spec, state, test)
    if algorithms.ALGORITHMS[spec.algorithm].log_likelihoods:
        found = algorithms.log_likelihoods(spec, config_lib.hparams(config), state, reference.test)
        result["log_likelihood"] = {
            name: {"value": float(x.mean()), "standard_error": float(x.std() / len(x) ** 0.5)}
            for name, x in found.items()
        }
    by = f", by {evaluator.name} ({evaluator.accuracy:.1%} accurate)" if evaluator else ""
    print(
        f"{directory}, iteration {result['step']}: {num} samples against {len(reference.test)} "
        f"examples of {config.dataset} {split}{by}"
    )
    print("\n".join([*tables.table(entries, others, num), *tables.likelihoods_and_errors(result)]))
    if metrics is None:
        for why in dict.fromkeys(unavailable.values()):
            missing = [name for name in unavailable if unavailable[name] == why]
            more = f" and {len(missing) - _LISTED} more" * (len(missing) > _LISTED)
            print(f"unavailable: {', '.join(missing[:_LISTED])}{more}: {why}")
    stem = "evaluation_held_out" if held_out else "evaluation"
    write_json(directory / f"{stem}.json", result)
    write_whole(directory / f"{stem}.png", plots.evaluation(samples, dataset.images, result, lines))
    for suffix in ("json", "png"):
        print(f"  {directory / stem}.{suffix}")
    return result


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--workdir", dest="directory", type=pathlib.Path, required=True, help="directory of the run"
    )
    cli.add_step(parser)
    parser.add_argument("--num", type=cli.at_least(1), default=10_000, help="number of samples")
    parser.add_argument("--split", help="to compare with, such as test or train[50000:]")
    parser.add_argument(
        "--metrics",
        type=lambda text: text.removesuffix(",").split(","),
        help="comma-separated names, such as fid,parzen; default: all that are available",
    )
    parser.add_argument(
        "--features",
        choices=("efficientnet", "inception"),
        default="efficientnet",
        help="feature extractor for natural images; inception is that of published FIDs and needs"
        " --weights; default: efficientnet",
    )
    parser.add_argument(
        "--weights", type=pathlib.Path, help="pytorch-fid's pt_inception-2015-12-05-6726825d.pth"
    )
    parser.add_argument(
        "--held_out",
        action="store_true",
        help="generate the classes held out of training (config.condition.held_out)",
    )
    args = vars(parser.parse_args())
    if (args.pop("features") == "inception") != (args["weights"] is not None):
        raise InputError("--features=inception and --weights=FILE go together (see --help)")
    evaluate(**args)
    return 0


if __name__ == "__main__":
    cli.run(main)
