"""Model cards of exported runs."""

import pathlib
from collections.abc import Sequence

import gan_jax
from gan_jax import config as config_lib
from gan_jax import workdir
from gan_jax.evaluation.registry import METRICS
from gan_jax.spec import Spec
from gan_jax.writers import read_metrics


def model_card(
    directory: pathlib.Path, spec: Spec, step: int, platforms: Sequence[str], license: str
) -> str:
    """The artifact's README.md: a Hugging Face model card."""
    record = workdir.read_json(directory / "run.json")
    data, commit = record["dataset"], record.get("git_commit")
    changed = config_lib.changed(workdir.read_config(directory))
    rows = "\n".join(f"| `{name}` | `{x!r}` |" for name, (x, _) in changed.items())
    option, argument, condition = "", "", ""
    if spec.classes:
        option, argument = " --label=0", ', label="0"'
        names = ", ".join(workdir.class_names(directory, spec))
        condition = f" and labels, int32 (b,) below {spec.classes}{f' ({names})' * bool(names)},"
    if spec.text:
        option, argument = ' --text="CAPTION"', ', text="CAPTION"'
        condition = (
            f" and text embeddings, float32 (b, {spec.text}), by text_encoder.jax from the lines "
            "of vocabulary.txt on which their words are, int32 (b, 64), padded by zeros,"
        )
    pipeline = "pipeline_tag: unconditional-image-generation"
    if spec.text:
        pipeline = "pipeline_tag: text-to-image"
    elif spec.classes:  # no pipeline of Hugging Face is conditioned on labels
        pipeline = "inference: false"
    images = len(spec.example_shape) == 3
    return f"""---
license: {license}
library_name: jax
tags: [gan_jax, {spec.algorithm}]
{pipeline if images else "inference: false"}
---

# {data["name"]}, {spec.algorithm}

- data: `{data["name"]}`, {data["split"]}, {data["shape"][0]:,} examples, sha256 `{data["sha256"]}`
- iterations: {step:,}
- code: gan_jax {gan_jax.__version__}, commit {commit or "unknown"}
- platforms: {", ".join(platforms)}

## Use

Needs jax and flatbuffers. The files are programs: use only those that you trust.

```sh
python sample.py --num=64 --seed=0{option} --out=samples.npy
```

```python
import pathlib
from sample import draw

samples = draw(pathlib.Path("."), num=64, seed=0{argument})
```

sampler.jax maps z, float32 (b, {spec.z_dim}),{condition} to float32
({", ".join(map(str, ("b", *spec.example_shape)))}){", with pixels from 0 to 1" * images}.

{_scores(directory, step)}## Config

Fields that differ from the defaults:

| field | value |
|---|---|
{rows}
"""


def _scores(directory: pathlib.Path, step: int) -> str:
    """Markdown table of scores at a step, from evaluation.json or else metrics.jsonl."""
    found = workdir.read_json(directory / "evaluation.json", missing_ok=True)
    if found.get("step") == step:
        by = f"{found['samples']:,} samples against {found['test_split']}"
        scores = found["metrics"]
    else:
        by = "during training"
        path = directory / "metrics.jsonl"
        lines = [x for x in read_metrics(path) if x["step"] == step] if path.exists() else []
        scores = {name: {"value": x} for line in lines for name, x in line.items()}
    rows = ""
    for name, x in scores.items():
        if name in METRICS and x["value"] is not None:
            low, high = x.get("low"), x.get("high")  # null where infinite
            interval = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
            rows += f"| {METRICS[name].label} | {x['value']:.4g} | {interval} |\n"
    head = f"## Scores\n\n| {by} | value | 95 % interval |\n|---|---|---|\n"
    return f"{head}{rows}\n" if rows else ""
