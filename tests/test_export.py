import hashlib
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
import yaml

from gan_jax import algorithms, artifact, config, draws, export, grid, sample, workdir
from gan_jax.data.pixels import to_uint8
from gan_jax.errors import InputError
from tests.conftest import assert_one_line_error, call, tiny_config, untrained

DCGAN = {
    "generator.name": "dcgan",
    "generator.widths": (4, 3),
    "discriminator.name": "dcgan",
    "discriminator.widths": (3, 4),
}
RESNET = {"generator.name": "resnet", "generator.widths": (4, 4)}
NORMAL = {"prior.name": "normal"}
RUNS = {
    "points": {"dataset": "ring", "generator.output": "linear", "generator.batch_norm": True},
    "ema": {"ema": 0.9},
    "bfloat16": DCGAN | {"precision": "bfloat16", "ema": 0.9},
    "resnet": RESNET | {"condition.on": "label", "condition.generator": "batch_norm"},
    "r3gan": {
        "generator.name": "r3gan",
        "generator.widths": (8, 8),
        "generator.group_size": 4,
        "condition.on": "label",
    },
    "recomputed": DCGAN
    | {"generator.sample_statistics": "recomputed", "condition.on": "label", "ema": 0.9},
    "autoencoder": NORMAL | {"algorithm": "autoencoder"},
    "vae": NORMAL | {"algorithm": "vae"},
    "aae": {"algorithm": "aae", "prior.name": "swiss_roll", "z_dim": 2, "num_categories": 4},
    "rbm": {"algorithm": "rbm", "sample_steps": 5},
}
# Runs the file of its first argument with the others, where only jax and what it needs exist.
ALONE = """
import runpy, sys
for name in ("gan_jax", "flax", "optax", "orbax", "safetensors", "ml_collections", "PIL"):
    sys.modules[name] = None  # an import raises ModuleNotFoundError
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(path: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", ALONE, str(path), *arguments]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True)


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """Artifact of `finished`, not to be modified."""
    out = tmp_path_factory.mktemp("export") / "artifact"
    export.export(finished, out, license="cc0-1.0")
    return out


def test_samples_without_gan_jax(exported, finished, tmp_path, monkeypatch):
    (tmp_path / "gan_jax.py").write_text("import gan_jax")
    assert "ModuleNotFoundError" in alone(tmp_path / "gan_jax.py").stderr
    done = alone(exported / "sample.py", "--num=10", "--seed=3", f"--out={tmp_path}/a.npy")
    assert (done.returncode, done.stderr) == (0, "")
    arguments = [f"--workdir={finished}", "--num=10", "--seed=3", f"--out={tmp_path}/b.npz"]
    assert call(sample, monkeypatch, *arguments) == 0
    found = np.load(tmp_path / "a.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(to_uint8(found), np.load(tmp_path / "b.npz")["images"])


SLOW = {"bfloat16", "resnet", "r3gan", "autoencoder", "rbm"}


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] if x in SLOW else []) for x in RUNS]
)
def test_samples_are_bitwise_identical(name, tmp_path, monkeypatch):
    for module in (artifact, algorithms):  # other shapes may round differently
        monkeypatch.setattr(module, "_BLOCK", 3)
    c = config.replace(tiny_config(), RUNS[name])
    run = untrained(c, tmp_path / "run")
    export.export(run, tmp_path / "artifact")
    spec, state = workdir.load(run)
    for num in (1, 7) if name == "ema" else (7,):
        z = draws.noise(spec, jax.random.key(1), num)
        y = grid.labels(spec, num, int(np.ceil(num**0.5)))
        found = artifact.draw(tmp_path / "artifact", num, seed=1)
        np.testing.assert_array_equal(found, algorithms.generate(spec, state, z, y))


def test_class_by_number_or_name(tmp_path):
    c = config.replace(tiny_config(), {"condition.on": "label"})
    out = tmp_path / "artifact"
    run = untrained(c, tmp_path / "run")
    record = workdir.read_json(run / "run.json")
    record["dataset"]["class_names"] = [f"digit {i}" for i in range(10)]
    (run / "run.json").write_text(json.dumps(record))
    export.export(run, out)
    assert "pipeline_tag" not in (out / "README.md").read_text()
    spec, state = workdir.load(run)
    z = draws.noise(spec, jax.random.key(0), 5)
    three = algorithms.generate(spec, state, z, np.full(5, 3))
    np.testing.assert_array_equal(three, artifact.draw(out, 5, label="3"))
    np.testing.assert_array_equal(three, artifact.draw(out, 5, label="digit 3"))
    for label in ("10", "digit", "-1"):
        with pytest.raises(artifact.ArtifactError, match="is not one of digit 0, digit 1"):
            artifact.draw(out, 5, label=label)


def test_weights_by_path(exported, finished):
    weights = safetensors.numpy.load_file(exported / "weights.safetensors")
    assert sorted(weights) == [
        f"players.g.params.Dense_{i}.{name}" for i in (0, 1) for name in ("bias", "kernel")
    ]
    _, state = workdir.load(finished)
    kernel = state.players["g"].params["Dense_1"]["kernel"]
    np.testing.assert_array_equal(weights["players.g.params.Dense_1.kernel"], kernel)


def refused(directory: pathlib.Path, words: str) -> None:
    done = alone(directory / "sample.py", "--num=2", "--out=no.npy")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line_error(done.stderr, words)


def test_artifact_errors(exported, finished, tmp_path):
    export.export(finished, tmp_path / "tpu", platforms=["tpu"])
    refused(tmp_path / "tpu", "sampler.jax is for tpu, but jax runs on cpu")
    for num, seed, message in (
        (0, 0, "--num=0: expected at least 1"),
        (1, -1, "--seed=-1: expected 0 to"),
        (1, 2**32, "--seed=4294967296: expected 0 to"),
    ):
        with pytest.raises(artifact.ArtifactError, match=message):
            artifact.draw(exported, num, seed)
    done = alone(exported / "sample.py", "--num=2", "--out=no.npz")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line_error(done.stderr, "--out=no.npz must end in .npy")
    taken = tmp_path / "taken.npy"
    taken.touch()
    done = alone(exported / "sample.py", "--num=2", f"--out={taken}")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line_error(done.stderr, f"--out={taken} exists: remove it")
    with pytest.raises(artifact.ArtifactError, match="is not conditioned on"):
        artifact.draw(exported, 2, label="0")

    directory = tmp_path / "damaged"
    shutil.copytree(exported, directory)
    manifest = json.loads((exported / "artifact.json").read_bytes())
    content = (exported / "sampler.jax").read_bytes()
    (directory / "sampler.jax").write_bytes(content[:1000] + b"x" + content[1001:])
    with pytest.raises(artifact.ArtifactError, match="sha256 does not match"):
        artifact.draw(directory, 2)
    (directory / "sampler.jax").write_bytes(content)
    later = manifest | {"calling_convention": 99}
    (directory / "artifact.json").write_text(json.dumps(later))
    with pytest.raises(artifact.ArtifactError, match="convention 99 is not in the range"):
        artifact.draw(directory, 2)
    forged = manifest["sha256"] | {"sampler.jax": hashlib.sha256(b"").hexdigest()}
    (directory / "artifact.json").write_text(json.dumps(manifest | {"sha256": forged}))
    (directory / "sampler.jax").write_bytes(b"")
    with pytest.raises(artifact.ArtifactError, match=r"cannot load .*sampler\.jax"):
        artifact.draw(directory, 2)
    (directory / "artifact.json").write_text("{}")
    with pytest.raises(artifact.ArtifactError, match=r"artifact\.json is missing or damaged"):
        artifact.draw(directory, 2)
    with pytest.raises(artifact.ArtifactError, match=r"cannot run .*, exported by jax"):
        artifact.load(exported, "sampler.jax")(np.zeros((2, 99)))


def test_model_card(exported, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    score = {"value": 1.25, "low": 1.0, "high": 1.5}
    found = {"step": 12, "samples": 500, "test_split": "test", "metrics": {"fid": score}}
    (run / "evaluation.json").write_text(json.dumps(found))
    export.export(run, tmp_path / "scored", license="cc0-1.0")
    (run / "metrics.jsonl").unlink()  # not needed
    bad = found | {"metrics": {"fid": {"value": "x"}}}
    for text, error in (('{"step": 12}', "KeyError"), (json.dumps(bad), "ValueError")):
        (run / "evaluation.json").write_text(text)
        with pytest.raises(InputError, match=f"is damaged: {error}"):
            export.export(run, tmp_path / "damaged")
    (run / "evaluation.json").unlink()
    export.export(run, tmp_path / "unscored")
    assert "## Scores" not in (tmp_path / "unscored/README.md").read_text()
    card = (tmp_path / "scored/README.md").read_text()
    assert "| 500 samples against test | value | 95 % interval |" in card
    assert "| FID | 1.25 | 1 to 1.5 |" in card
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc0-1.0"
    assert yaml.safe_load(front)["tags"] == ["gan_jax", "gan"]
    assert yaml.safe_load(front)["pipeline_tag"] == "unconditional-image-generation"
    assert workdir.read_json(run / "run.json")["dataset"]["sha256"] in text
    assert "| `generator.widths` | `(5,)` |" in text
    assert "`loss`" not in text  # is the default
    assert "## Scores" not in (exported / "README.md").read_text()
    (run / "evaluation.json").write_text(json.dumps(found))  # of another iteration
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "fid": 2.5}\n')
    export.export(run, tmp_path / "other", step=8)
    assert "| FID | 2.5 |  |" in (tmp_path / "other/README.md").read_text()


def test_model_card_example(exported, tmp_path):
    directory = tmp_path / "artifact"
    shutil.copytree(exported, directory)
    code = (exported / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code += 'import numpy\nnumpy.save("card.npy", samples)\n'
    (directory / "card.py").write_text(code)
    assert alone(directory / "card.py").stderr == ""
    np.testing.assert_array_equal(np.load(directory / "card.npy"), artifact.draw(exported, 64))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workdir=nowhere", "--out=x"], "not the directory of a run"),
        (["--workdir=WORKDIR", "--out=."], "--out=. exists"),
        (["--workdir=WORKDIR", "--out=no/x"], "--out=no/x cannot be created"),
        (["--workdir=WORKDIR", "--out=x", "--platforms=cpu,metal"], "some of cpu, cuda, tpu"),
        (["--workdir=WORKDIR", "--out=x", "--license=a b"], "such as apache-2.0"),
        (["--workdir=WORKDIR", "--out=x", "--step=3"], "it has: 4, 8, 12"),
    ],
)
def test_one_line_errors(arguments, words, finished, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = [a.replace("WORKDIR", str(finished)) for a in arguments]
    assert call(export, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, words)
    assert not list(tmp_path.iterdir())


def test_missing_extra(finished, capfd, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    arguments = [f"--workdir={finished}", f"--out={tmp_path}/x"]
    assert call(export, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, "pip install 'gan_jax[export]'")
