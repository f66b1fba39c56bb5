"""Measures the time to score 10,000 samples, in total and by metric.

    python benchmarks/metrics.py

Scores 10,000 MNIST training images against the test images by every metric, one family of metrics
after the other, and compares Parzen's log-likelihood with its bare matrix products. Prints a table
and writes benchmarks/results/metrics-cpu-N.json (N cores), or metrics-DEVICE.json.
"""

import json
import resource

import common
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import cli, data
from gan_jax.evaluation import registry
from gan_jax.evaluation.baselines import real
from gan_jax.evaluation.metrics import parzen

NUM = 10_000


def parzen_ratios(samples: np.ndarray, test: np.ndarray) -> common.Spread:
    """Time of the log-likelihood over that of its matrix products, once compiled."""
    mu, x = (jnp.asarray(a.reshape(len(a), -1) / 255, jnp.float32) for a in (samples, test))

    @jax.jit
    def products(mu: jax.Array, x: jax.Array) -> jax.Array:
        blocks = x.reshape(-1, 250, x.shape[1])
        return jax.lax.map(lambda block: jnp.max(block @ mu.T, axis=1), blocks)

    sides = (
        lambda num: parzen.log_likelihood(mu, x, 0.2),
        lambda num: jax.block_until_ready(products(mu, x)),
    )
    times = [[common.seconds(side, 1) for side in sides] for _ in range(6)]
    return common.ratios(*zip(*times[1:], strict=True))


def main() -> int:
    cli.parser(__doc__).parse_args()
    config, _ = common.setup("mnist")
    where = common.device_name()
    train = data.load(config.dataset, config.split)
    names = [
        name for name, metric in registry.METRICS.items() if metric.requires in ("evaluator", "")
    ]
    reference = registry.reference(config, train, config.test_split, names, NUM)
    samples = real(train, NUM)
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: name != "parzen"):  # first: its memory is reported
        families.setdefault(registry.METRICS[name].compute.__name__.strip("_"), []).append(name)
    times, peaks = {}, {}
    for family, own in families.items():
        times[family] = common.seconds(
            lambda num, own=own: registry.score(samples, reference, own), 1
        )
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peaks[family] = round(usage * common.MAXRSS / 2**20)
    ratios, total = parzen_ratios(samples, reference.test), sum(times.values())
    print(f"{NUM} samples against {len(reference.test)} on {where}, compiling included")
    for family, spent in times.items():
        print(f"{spent:6.1f} s  {spent / total:4.0%}  {', '.join(families[family])}")
    print(f"{total:6.1f} s  in all")
    spread = f"{ratios.median:.2f} ({ratios.low:.2f} to {ratios.high:.2f})"
    print(f"Parzen over its matrix products: {spread}")
    print(f"peak memory: {peaks['parzen']} MB after Parzen, {max(peaks.values())} MB in all")
    result = {
        **common.origin(),
        "device": where,
        "samples": NUM,
        "seconds": times,
        "parzen_over_products": ratios,
        "peak_memory_mb_after": peaks,
    }
    out = common.RESULTS / f"metrics-{where}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
