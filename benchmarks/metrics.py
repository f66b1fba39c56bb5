"""Measures the time to score 10,000 samples, in total and by metric.

    python benchmarks/metrics.py

Scores 10,000 MNIST training images against the test images by every metric, one family of metrics
after the other. Prints a table and writes benchmarks/results/metrics-cpu-N.json (N cores), or
metrics-DEVICE.json.
"""

import common

from gan_jax import cli, data
from gan_jax.evaluation import registry, scoring
from gan_jax.evaluation.baselines import real
from gan_jax.writers import write_json

NUM = 10_000


def main() -> int:
    cli.parser(__doc__).parse_args()
    config, _ = common.setup("mnist")
    train = data.load(config.dataset, config.split)
    names = [
        name for name, metric in registry.METRICS.items() if metric.requires in ("evaluator", "")
    ]
    reference = scoring.reference(config, train, config.test_split, names, NUM)
    samples, families = real(train, NUM), {}
    for name in names:
        families.setdefault(registry.METRICS[name].compute.__name__.strip("_"), []).append(name)
    times = {
        family: common.seconds(lambda num, own=own: scoring.score(samples, reference, own), 1)
        for family, own in families.items()
    }
    total = sum(times.values())
    print(f"{NUM} samples against {len(reference.test)}, including compilation")
    for family, spent in times.items():
        print(f"{spent:6.1f} s  {spent / total:4.0%}  {', '.join(families[family])}")
    print(f"{total:6.1f} s  total")
    device = common.device_name()
    out = common.RESULTS / f"metrics-{device}.json"
    write_json(out, {**common.origin(), "device": device, "samples": NUM, "seconds": times})
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
