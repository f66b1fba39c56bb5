"""Tests of gan_jax.config.load: files, names, settings, and configs of earlier versions."""

import json
import pathlib
import re
import sys

import pytest

from gan_jax import config
from gan_jax.errors import InputError
from tests.conftest import ROOT

NAMES = sorted(p.stem for p in (ROOT / "configs").glob("[!_]*.py"))
OURS = "from ml_collections import ConfigDict\nfrom configs import mnist\n"


@pytest.mark.parametrize("name", NAMES)
def test_load_by_path_name_and_json(name, tmp_path, monkeypatch):
    c = config.load(str(ROOT / f"configs/{name}.py"))
    monkeypatch.chdir(tmp_path)  # contains files of the same names
    (tmp_path / name).touch()
    (tmp_path / "configs").mkdir()
    assert config.load(name) == c
    (tmp_path / "config.json").write_text(json.dumps(c.to_dict()))
    assert config.load("config.json") == c
    assert config.differences(c, config.load("config.json")) == {}


def test_earlier_config_json():
    # Written in 2025, before `generator.name` existed; the config has not changed since.
    path = pathlib.Path(__file__).with_name("earlier_goodfellow2014.json")
    expected = config.load("goodfellow2014")
    assert config.load(str(path)) == expected
    fields = json.loads(path.read_text())
    del fields["pack"], fields["weight_clip"]  # fields added even later
    assert config.override(fields, []) == expected


@pytest.mark.parametrize(("widths", "units"), [({}, 128), ({"widths": [7, 7]}, 7)])
def test_earlier_monotone_generators(widths, units):
    old = {"dataset": "gaussian1d", "z_dim": 1, "prior": {"name": "normal"}}
    c = config.override(old | {"generator": {"monotone": True, **widths}}, [])
    assert c.generator.to_dict() == {"name": "monotone", "units": units}
    with pytest.raises(InputError, match=r"config\.generator\.units is \[\], but must be"):
        config.override({"generator": {"monotone": True, "widths": []}}, [])


def test_earlier_counts_of_categories():
    c = config.override({"algorithm": "aae", "categories": 5, "labelled": 10}, [])
    assert (c.num_categories, c.num_labelled) == (5, 10)


def test_earlier_schedules():
    old = {
        "d_optimizer": {"schedule": "cosine"},
        "g_optimizer": {"schedule": "linear", "end_learning_rate": 1e-4, "decay_steps": 9},
        "instance_noise": {"std": 0.1, "steps": 7},
    }
    assert config.override(old, []).schedules == (
        "d_optimizer.learning_rate=cosine:0:20000",
        "g_optimizer.learning_rate=linear:0.0001:9",
        "instance_noise.std=linear:0:7",
    )


def test_user_config_imports_packaged_config(tmp_path):
    before = dict(sys.modules)
    (tmp_path / "helper.py").write_text("Z_DIM = 7\n")
    file = tmp_path / "mnist.py"
    file.write_text(
        f"{OURS}from configs import helper\n"
        "def get_config():\n"
        "    assert mnist.get_config().dataset == 'mnist'\n"
        "    return ConfigDict({'z_dim': helper.Z_DIM, 'generator': {'widths': (3,)}})\n"
    )
    assert config.differences(config.default(), config.load(str(file))) == {
        "z_dim": "100 -> 7",
        "generator.widths": "(128,) -> (3,)",
    }
    assert config.load(str(file), ["--config.z_dim=3"]).z_dim == 3
    assert not {name for name in sys.modules.keys() - before if name.startswith("configs")}


REFUSED = {  # contents of a file -> error
    "x.py": {
        "": "x.py: AttributeError: defines no get_config()",
        "def get_config(): return 1": "get_config() did not return a ConfigDict",
        "def get_config(): raise SystemExit": "SystemExit",
        "def get_config(): return 1 / 0": "division by zero",
        "import nothing_of_the_kind": "No module named 'nothing_of_the_kind'",
        f"{OURS}def get_config(): return ConfigDict({{'kk': 1}})": "did you mean config.k?",
    },
    "x.json": dict.fromkeys(("[]", "{", '{"k": 1', "NaN"), "x.json: "),
    "x.md": {"": "neither a .py nor a .json file"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_files(name, tmp_path):
    for content, message in REFUSED[name].items():
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=re.escape(message)) as e:
            config.load(str(tmp_path / name))
        assert "\n" not in str(e.value)


def test_unknown_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    for name, message in {
        "mnits": r"--config=mnits: neither a path nor one of aae_mnist, .*; did you mean mnist\?$",
        "mine": r"--config=mine: .*; did you mean --config=\./mine\.py\?$",
        "no/such.py": r"--config=no/such\.py: no such file",
        "no/such.json": r"--config=no/such\.json: no such file",
    }.items():
        with pytest.raises(InputError, match=message):
            config.load(name)


def test_sweeps_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "configs/sweeps/losses.py")
    settings = config.call_from_file("--sweep", "losses", "get_sweep")
    assert settings == config.call_from_file("--sweep", path, "get_sweep")
    with pytest.raises(InputError, match=r"--sweep=mnist: neither a path nor one of conditions, "):
        config.call_from_file("--sweep", "mnist", "get_sweep")
    with pytest.raises(InputError, match=r"; did you mean losses\?$"):
        config.call_from_file("--sweep", "loses", "get_sweep")


def test_settings_parsed_by_type(tiny):
    settings = {
        "k": ("3", 3),
        "loss": ("minimax", "minimax"),
        "split": ("1", "1"),
        "deterministic": ("false", False),
        "trackers": ("wandb,mlflow", ("wandb", "mlflow")),
        "d_optimizer.learning_rate": ("1e-4", 1e-4),
        "g_optimizer.b1": ("0", 0.0),
        "discriminator.widths": ("(7,8)", (7, 8)),
        "generator.widths": ("[]", ()),
        "sample_grid": ("3,4", (3, 4)),
        "eval_metrics": ("fid,parzen,", ("fid", "parzen")),
    }
    c = config.override(tiny, [f"--config.{name}={text}" for name, (text, _) in settings.items()])
    flat = config.flatten(c)
    assert {name: flat[name] for name in settings} == {n: v for n, (_, v) in settings.items()}
    assert config.override(tiny, ["--config.generator.widths=32"]).generator.widths == (32,)
    assert (tiny.k, tiny.loss) == (1, "non_saturating")  # unchanged
    for setting in ("k=3", "--config.k", "--k=3", "--config=3"):
        with pytest.raises(InputError, match="unknown argument"):
            config.override(tiny, [setting])
    with pytest.raises(InputError, match=r"; did you mean --config\.num_steps=5\?$"):
        config.override(tiny, ["--num_steps=5"])


def test_new_kind_has_its_defaults(tiny):
    changes = ["--config.z_dim=1", "--config.prior.name=normal", "--config.generator.units=9"]
    c = config.override(tiny, ["--config.generator.name=monotone", *changes])
    assert c.generator.to_dict() == {"name": "monotone", "units": 9}
    found = config.differences(tiny, c)
    assert found["generator.widths"] == "(5,) -> None"
    assert found["generator.units"] == "None -> 9"
    back = config.override(c, ["--config.generator.name=mlp"])
    assert back.generator == config.default().generator
    same = config.override(tiny, ["--config.generator.name=mlp"])
    assert same.generator == tiny.generator


def test_empty_tuples():
    assert config.load("dcgan_flowers", ["--config.augment="]).augment == ()
