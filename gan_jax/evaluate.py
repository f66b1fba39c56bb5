"""Scores a run, finished or still running.

python -m gan_jax.evaluate --workdir=DIR [--step=N|best] [--num=10000] [--split=SPLIT]
                           [--metrics=fid,kid,...]

Prints a table, with what real data and trivial models get, and writes evaluation.json and
evaluation.png into DIR. The samples are compared with SPLIT of the data set, by
default the config's test_split.
"""

import pathlib
from typing import TYPE_CHECKING, Any, Literal

from gan_jax import cli
from gan_jax.errors import InputError

if TYPE_CHECKING:
    from gan_jax.scores import Entry


def _number(x: float) -> str:
    if x % 1 == 0:
        return f"{x:.0f}"
    return f"{x:.1f}" if abs(x) >= 100 else f"{x:#.3g}"


def table(
    entries: "dict[str, Entry]", baselines: "dict[str, dict[str, Entry | None]]", num: int
) -> list[str]:
    """Lines of text: a row a metric; the value, its 95 % interval, the baselines', what is better.

    Args:
      entries: by metric, see gan_jax.scores.score.
      baselines: by baseline and metric, see gan_jax.scores.baselines.
      num: of samples; of a baseline that has fewer, its head says how many.
    """
    from gan_jax.scores import METRICS

    def best(better: str | float) -> str:
        return better if isinstance(better, str) else f"{better:.3g}"

    counts = {row: {e["samples"] for e in found.values() if e} for row, found in baselines.items()}
    heads = (" of ".join([row, *map(str, n - {num})]) for row, n in counts.items())
    rows = [["", "this run", "95 % interval", *heads, "better"]]
    for name, entry in entries.items():
        others = (row[name] for row in baselines.values())
        rows.append(
            [
                METRICS[name].label,
                _number(entry["value"]),
                f"{_number(entry['low'])} to {_number(entry['high'])}",
                *("-" if other is None else _number(other["value"]) for other in others),
                best(METRICS[name].better),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])]
    return ["  ".join(aligned).format(*row) for row in rows]


def evaluate(
    directory: pathlib.Path,
    *,
    step: int | Literal["best"] | None,
    num: int,
    split: str | None,
    metrics: list[str] | None,
) -> dict[str, Any]:
    """Scores a checkpoint of a run, and writes evaluation.json and evaluation.png beside it.

    Args:
      directory: of the run.
      step: of the checkpoint; None is the newest.
      num: how many samples.
      split: of the data set, to compare with; None is the config's test_split.
      metrics: keys of gan_jax.scores.METRICS; None is all that the data set allows.

    Returns:
      The contents of evaluation.json.

    Raises:
      InputError: no such run, checkpoint or metric, changed data, or too few samples for a metric.
    """
    from gan_jax import data, device, plots, scores, train, workdir
    from gan_jax.writers import read_metrics, write_json, write_whole

    for name in metrics or ():
        if name not in scores.METRICS:
            raise InputError(f"--metrics: {name!r} is none of {', '.join(scores.METRICS)}")
    config = workdir.read_config(directory)
    device.setup("auto", deterministic=True, cache=data.cache_dir() / "xla")
    game, state = workdir.load(directory, step)
    lines = read_metrics(directory / "metrics.jsonl")
    dataset = data.load(config.dataset, config.split, config.image_size)
    workdir.check_data(directory, dataset.sha256)
    split = config.test_split if split is None else split
    absent = scores.absent(config, dataset, split, num)
    names = metrics or [name for name in scores.METRICS if name not in absent]
    reference = scores.reference(config, dataset, split, names, num)
    samples = train.evaluation_samples(game, state, num)
    entries = scores.score(samples, reference, names)
    baselines = scores.baselines(reference, num, names)
    evaluator = reference.evaluator
    result: dict[str, Any] = {
        "step": int(state.step),
        "samples": num,
        "dataset": config.dataset,
        "test_split": split,
        "test_examples": len(reference.test),
        "validation_split": config.validation_split,
        "evaluator": evaluator and {"name": evaluator.name, "accuracy": evaluator.accuracy},
        "preprocessing": "evaluator: rounded to 8 bits, in [0, 1]; other metrics: as generated",
        "metrics": {
            name: {
                **entry,
                "better": scores.METRICS[name].better,
                "baselines": {row: found[name] for row, found in baselines.items()},
            }
            for name, entry in entries.items()
        },
        "absent": absent,
    }
    by = f", by {evaluator.name} ({evaluator.accuracy:.1%} accurate)" if evaluator else ""
    print(
        f"{directory}, iteration {result['step']}: {num} samples against {len(reference.test)} "
        f"examples of {config.dataset} {split}{by}"
    )
    print("\n".join(table(entries, baselines, num)))
    if metrics is None:
        for why in dict.fromkeys(absent.values()):
            print(f"absent: {', '.join(n for n in absent if absent[n] == why)}: {why}")
    write_json(directory / "evaluation.json", result)
    write_whole(
        directory / "evaluation.png", plots.evaluation(samples, dataset.images, result, lines)
    )
    for file in ("evaluation.json", "evaluation.png"):
        print(f"  {directory / file}")
    return result


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run's directory")
    cli.add_step(parser)
    parser.add_argument("--num", type=cli.at_least(1), default=10_000, help="how many samples")
    parser.add_argument("--split", help="to compare with, such as test or train[50000:]")
    parser.add_argument(
        "--metrics",
        type=lambda text: text.split(","),
        help="some of gan_jax.scores.METRICS, joined by commas; default: all that the data allow",
    )
    args = parser.parse_args()
    evaluate(args.workdir, step=args.step, num=args.num, split=args.split, metrics=args.metrics)
    return 0


if __name__ == "__main__":
    cli.run(main)
