"""Exports a run's sampler for use without gan_jax.

python -m gan_jax.export --workdir=DIR --out=NEWDIR [--step=N|best] [--platforms=cpu,cuda,tpu]
                         [--license=ID]

Writes to NEWDIR:

  sampler.jax          (z, labels or text embeddings) -> examples, for any batch size b
  noise.jax            (key data, uint32 (2,); any int32 (b,)) -> z, float32 (b, z_dim)
  text_encoder.jax     word indices in vocabulary.txt -> text embeddings
  weights.safetensors  the sampler's weights, keyed by path in the training state
  sample.py            draws samples; needs only jax and flatbuffers
  artifact.json        file hashes and metadata for sample.py
  README.md            model card

The .jax files are serialized with jax.export. Exports the newest checkpoint by default. Requires
the extra `export`.
"""

import hashlib
import pathlib
import re
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gan_jax import cli
from gan_jax.errors import InputError, brief
from gan_jax.extras import require

if TYPE_CHECKING:
    import jax

    from gan_jax.spec import Spec
    from gan_jax.state import State

PLATFORMS = ("cpu", "cuda", "tpu")


def _inputs(spec: "Spec", batch: Any) -> "list[jax.ShapeDtypeStruct]":
    """Shapes of the sampler's inputs: z, and labels or text embeddings if it is conditional."""
    import jax

    z = jax.ShapeDtypeStruct((batch, spec.z_dim), np.float32)
    if spec.text:
        return [z, jax.ShapeDtypeStruct((batch, spec.text), np.float32)]
    return [z, jax.ShapeDtypeStruct((batch,), np.int32)] if spec.classes else [z]


def sampler(
    spec: "Spec", state: "State"
) -> "tuple[Callable[..., jax.Array], dict[str, np.ndarray]]":
    """The sampler as a function of (weights, z, y), and its weights by path in the state.

    For GANs, averaged weights and recomputed batch statistics are folded into the generator.
    """
    import jax
    import jax.export

    from gan_jax.algorithms import ALGORITHMS, gan
    from gan_jax.spec import GANSpec

    if isinstance(spec, GANSpec):
        g = jax.jit(gan.sampling_variables, static_argnums=0)(spec, state)
        player = state.players["g"]._replace(params=g.params, stats=g.stats)
        state = state.replace_players(g=player)._replace(averages={})
        if hasattr(spec.generator, "sample_statistics"):
            spec = spec._replace(generator=spec.generator.clone(sample_statistics="running"))
    paths, treedef = jax.tree_util.tree_flatten_with_path(state)
    leaves = {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in paths}

    def sample(weights: dict[str, Any], z: Any, y: Any = None) -> jax.Array:
        full = jax.tree.unflatten(treedef, (leaves | weights).values())
        return ALGORITHMS[spec.algorithm].sample(spec, full, z, y)

    # With fixed shapes, jax.export drops arguments that are not used. Leaves of a dict are sorted.
    kept = jax.export.export(jax.jit(sample))(leaves, *_inputs(spec, 1)).module_kept_var_idx
    used = [name for i, name in enumerate(sorted(leaves)) if i in kept]
    return sample, {name: np.asarray(leaves[name]) for name in used}


def export(
    directory: pathlib.Path,
    out: pathlib.Path,
    *,
    step: int | Literal["best"] | None = None,
    platforms: Sequence[str] = PLATFORMS,
    license: str = "unknown",
) -> None:
    """Writes the sampler of a run's checkpoint to a new directory.

    Raises:
      InputError: no such run or checkpoint, the text encoder differs from the one used in
        training, or `out` cannot be created.
    """
    import jax
    import jax.export
    from safetensors.numpy import save

    from gan_jax import artifact, device, draws, workdir
    from gan_jax.evaluation import text_encoder
    from gan_jax.model_card import model_card
    from gan_jax.writers import write_json, write_whole

    if out.exists():
        raise InputError(f"--out={out} exists: remove it or choose another directory")
    device.setup("auto", deterministic=True)
    spec, state = workdir.load(directory, step)
    try:
        card = model_card(directory, spec, int(state.step), platforms, license)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise InputError(
            f"run.json, evaluation.json or metrics.jsonl of {directory} is damaged: {brief(e)}"
        ) from e
    (b,) = jax.export.symbolic_shape("b")

    def serialized(function: Callable[..., Any], *inputs: Any) -> bytes:
        exported = jax.export.export(jax.jit(function), platforms=platforms)(*inputs)
        return bytes(exported.serialize())

    def with_weights(function: Callable[..., Any], weights: Any) -> Callable[..., Any]:
        # As constants, the weights would be folded by XLA, which rounds differently than
        # gan_jax.sample.
        return lambda *inputs: function(jax.lax.optimization_barrier(weights), *inputs)

    def noise(key: jax.Array, index: jax.Array) -> jax.Array:
        return draws.noise(spec, jax.random.wrap_key_data(key), index.shape[0])

    sample, weights = sampler(spec, state)
    key, index = jax.ShapeDtypeStruct((2,), np.uint32), jax.ShapeDtypeStruct((b,), np.int32)
    files = {
        "sampler.jax": serialized(with_weights(sample, weights), *_inputs(spec, b)),
        "noise.jax": serialized(noise, key, index),
        "weights.safetensors": save(weights),
        "sample.py": pathlib.Path(artifact.__file__).read_bytes(),
    }
    if spec.text:
        encoder = workdir.recorded_encoder(directory)
        params = {name: x for name, x in encoder.params.items() if not name.startswith("image/")}
        words = jax.ShapeDtypeStruct((b, text_encoder.MAX_WORDS), np.int32)
        files["text_encoder.jax"] = serialized(with_weights(text_encoder.embed, params), words)
        files["vocabulary.txt"] = "".join(f"{word}\n" for word in encoder.vocabulary).encode()
    manifest = {
        "jax": jax.__version__,
        "calling_convention": jax.config.values["jax_export_calling_convention_version"],
        "classes": spec.classes,
        "class_names": workdir.class_names(directory, spec),
        "text": bool(spec.text),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    try:
        out.mkdir()
    except OSError as e:
        raise InputError(f"--out={out} cannot be created: {e.strerror}") from None
    for name, content in (files | {"README.md": card.encode()}).items():
        write_whole(out / name, content)
    write_json(out / "artifact.json", manifest)
    text = ["--text=CAPTION"] if spec.text else []
    command = ["python", str(out / "sample.py"), "--num=64", *text, "--out=samples.npy"]
    print(f"{out}: sampler of iteration {int(state.step)}")
    print(f"  to draw samples, with jax and flatbuffers: {shlex.join(command)}")


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run's directory")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="directory to create")
    cli.add_step(parser)
    parser.add_argument("--platforms", default=",".join(PLATFORMS), help="comma-separated")
    parser.add_argument("--license", default="unknown", help="of the weights, such as apache-2.0")
    args = parser.parse_args()
    platforms = args.platforms.split(",")
    if not set(platforms) <= set(PLATFORMS):
        raise InputError(f"--platforms={args.platforms}: expected some of {', '.join(PLATFORMS)}")
    if not re.fullmatch(r"[a-z0-9.-]+", args.license):
        raise InputError(f"--license={args.license}: expected an identifier such as apache-2.0")
    require("gan_jax.export", "export")
    export(args.workdir, args.out, step=args.step, platforms=platforms, license=args.license)
    return 0


if __name__ == "__main__":
    cli.run(main)
