"""How long scoring 10,000 samples takes, and what share each metric has.

    python benchmarks/metrics.py

Scores 10,000 MNIST training images against the test images by every metric, each family of metrics
in turn; Parzen's log-likelihood also against its bare matrix products. Prints a table and writes
benchmarks/results/metrics-cpu-N.json (N cores), or metrics-DEVICE.json.
"""

import datetime
import json
import os
import pathlib
import re
import resource
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import cli, config, data, device
from gan_jax.evaluation import registry as scores
from gan_jax.evaluation.metrics import parzen

HERE = pathlib.Path(__file__).parent
NUM = 10_000


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def parzen_ratios(samples: np.ndarray, test: np.ndarray) -> list[float]:
    """Time of the log-likelihood over that of its matrix products, in turn, once compiled."""
    mu, x = (jnp.asarray(a.reshape(len(a), -1) / 255, jnp.float32) for a in (samples, test))

    @jax.jit
    def products(mu: jax.Array, x: jax.Array) -> jax.Array:
        blocks = x.reshape(-1, 250, x.shape[1])
        return jax.lax.map(lambda block: jnp.max(block @ mu.T, axis=1), blocks)

    sides = (
        lambda: parzen.log_likelihood(mu, x, 0.2),
        lambda: jax.block_until_ready(products(mu, x)),
    )
    for side in sides:
        side()
    times = [[seconds(side) for side in sides] for _ in range(5)]
    return [ours / bare for ours, bare in times]


def main() -> int:
    cli.parser(__doc__).parse_args()
    device.setup("auto", deterministic=True)
    kind, cores = jax.devices()[0].device_kind, os.cpu_count()
    where = f"cpu-{cores}" if kind == "cpu" else re.sub(r"\W+", "-", kind.lower())
    c = config.load(str(HERE.parent / "configs/mnist.py"))
    train = data.load(c.dataset, c.split)
    reference = scores.reference(c, train, c.test_split, list(scores.METRICS), NUM)
    samples = scores.real(train, NUM)
    families: dict[str, list[str]] = {}
    for name, metric in scores.METRICS.items():
        families.setdefault(metric.family.__name__.strip("_"), []).append(name)
    times, peaks = {}, {}
    for family in sorted(
        families, key=lambda name: name != "parzen"
    ):  # whose memory is of interest
        names = families[family]
        times[family] = seconds(lambda names=names: scores.score(samples, reference, names))
        peaks[family] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    ratios = parzen_ratios(samples, reference.test)
    total = sum(times.values())
    print(f"{NUM} samples against {len(reference.test)} on {where}, compiling included")
    for family, spent in times.items():
        print(f"{spent:6.1f} s  {spent / total:4.0%}  {', '.join(families[family])}")
    print(f"{total:6.1f} s  in all")
    print(
        f"Parzen over its matrix products: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(
        f"peak memory of the process: {peaks['parzen']} MB after Parzen, {max(peaks.values())} MB"
    )
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/metrics.py",
        "device": where,
        "samples": NUM,
        "seconds": times,
        "parzen_over_products": ratios,
        "peak_memory_mb_after": peaks,
    }
    out = HERE / "results" / f"metrics-{where}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
