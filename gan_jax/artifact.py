"""Draws samples from an exported run without gan_jax; needs jax and flatbuffers.

python sample.py --num=64 --out=FILE.npy [--seed=N] [--label=NUMBER|NAME | --text=CAPTION]

`gan_jax.export` copies gan_jax/artifact.py to sample.py beside the exported files. The samples are
those of `gan_jax.sample` with the same arguments.
"""

import argparse
import hashlib
import json
import math
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export

_BLOCK = 1000  # samples at a time, which bounds memory
_KEYS = {"jax", "calling_convention", "classes", "class_names", "text", "sha256"}


class ArtifactError(ValueError):
    """Unusable artifact or invalid arguments. The message is one line."""


def _manifest(directory: pathlib.Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((directory / "artifact.json").read_bytes())
        if manifest.keys() >= _KEYS:
            return manifest
    except (AttributeError, OSError, ValueError):
        pass
    raise ArtifactError(f"{directory / 'artifact.json'} is missing or damaged")


def _read(directory: pathlib.Path, name: str) -> bytes:
    """A file of an artifact, whose hash is checked."""
    content = (directory / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != _manifest(directory)["sha256"].get(name):
        raise ArtifactError(f"{directory / name}: its sha256 does not match artifact.json")
    return content


def load(directory: pathlib.Path, name: str) -> Callable[..., jax.Array]:
    """The exported function in a file of an artifact.

    Raises:
      ArtifactError: the file is missing, damaged, or incompatible with this platform or jax
        version. Some incompatibilities are detected only on the first call.
    """
    path, low = directory / name, export.minimum_supported_calling_convention_version
    high, found = export.maximum_supported_calling_convention_version, f"jax {jax.__version__}"
    try:
        manifest, content = _manifest(directory), _read(directory, name)
        if not low <= (version := manifest["calling_convention"]) <= high:
            raise ValueError(f"calling convention {version} is not in the range {low} to {high}")
        exported = export.deserialize(bytearray(content))
    except Exception as e:  # jax raises anything on files of later versions
        raise ArtifactError(f"{found} cannot load {path}: {_one_line(e)}") from e
    if (platform := export.default_export_platform()) not in exported.platforms:
        supported = ", ".join(exported.platforms)
        raise ArtifactError(f"{path} is for {supported}, but jax runs on {platform}")

    function = jax.jit(exported.call)

    def call(*inputs: jax.Array | np.ndarray) -> jax.Array:
        try:
            return function(*inputs)
        except Exception as e:
            by = f"exported by jax {manifest['jax']}"
            raise ArtifactError(f"{found} cannot run {path}, {by}: {_one_line(e)}") from e

    return call


def draw(
    directory: pathlib.Path,
    num: int,
    seed: int = 0,
    label: str | None = None,
    text: str | None = None,
) -> np.ndarray:
    """Samples, float32 (num, *example shape), with pixels from 0 to 1.

    Args:
      directory: the artifact.
      num: number of samples.
      seed: of the noise.
      label: class number or name; None cycles through the classes, one per row of a square grid.
      text: caption, for a run conditioned on text.

    Raises:
      ArtifactError: see `load`; or the run is conditioned on something else, or `num` or `seed`
        is out of range.
    """
    if num < 1:
        raise ArtifactError(f"--num={num}: expected at least 1")
    if not 0 <= seed < 2**32:
        raise ArtifactError(f"--seed={seed}: expected 0 to 2^32 - 1")
    sampler, noise = load(directory, "sampler.jax"), load(directory, "noise.jax")
    manifest = _manifest(directory)
    classes, names = manifest["classes"], manifest["class_names"]
    if label is not None and not classes:
        raise ArtifactError("--label: this sampler is not conditioned on labels")
    if manifest["text"] and not text:
        raise ArtifactError("this sampler needs --text")
    if text and not manifest["text"]:
        raise ArtifactError("--text: this sampler is not conditioned on text")
    z = noise(jax.random.key_data(jax.random.key(seed)), np.arange(num, dtype=np.int32))
    inputs: list[jax.Array | np.ndarray] = [z]
    if classes:
        labels = np.arange(num) // math.ceil(math.sqrt(num)) % classes
        if label is not None:
            known = names if label in names else list(map(str, range(classes)))
            if label not in known:
                raise ArtifactError(f"label {label} is not one of {', '.join(names or known)}")
            labels = np.full(num, known.index(label))
        inputs.append(labels.astype(np.int32))
    elif text:
        embedding = load(directory, "text_encoder.jax")(tokens(directory, text))
        inputs.append(np.tile(embedding, (num, 1)))
    blocks = (sampler(*(x[i : i + _BLOCK] for x in inputs)) for i in range(0, num, _BLOCK))
    return np.concatenate([np.asarray(block) for block in blocks])


def tokens(directory: pathlib.Path, text: str) -> np.ndarray:
    """Indices in vocabulary.txt (from 1) of the words of a text: int32 (1, 64), zero-padded."""
    words = _read(directory, "vocabulary.txt").decode().splitlines()
    numbers = {word: number for number, word in enumerate(words, 1)}
    known = [numbers[word] for word in re.findall(r"\w+", text.lower()) if word in numbers]
    return np.array([(known + [0] * 64)[:64]], np.int32)


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), 300) or type(error).__name__


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label")
    parser.add_argument("--text")
    args = parser.parse_args()
    try:
        if args.out.suffix != ".npy":
            raise ArtifactError(f"--out={args.out} must end in .npy")
        if args.out.exists():
            raise ArtifactError(f"--out={args.out} exists: remove it or choose another file")
        here = pathlib.Path(__file__).parent
        samples = draw(here, args.num, args.seed, args.label, args.text)
        np.save(args.out, samples)
    except (ArtifactError, OSError) as e:
        print("error:", e, file=sys.stderr)
        return 2
    print(f"{args.out}: {args.num} samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
