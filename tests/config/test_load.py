"""Tests of gan_jax.config.load: files, names, settings, and configs of earlier versions."""

import json
import pathlib
import sys

import pytest
from ml_collections import ConfigDict

from gan_jax import config
from gan_jax.errors import InputError
from tests.conftest import ROOT

NAMES = sorted(p.stem for p in (ROOT / "configs").glob("[!_]*.py"))
EARLIER = sorted((pathlib.Path(__file__).parent / "earlier").glob("*.json"))
OURS = "from ml_collections import ConfigDict\nfrom configs import mnist\n"


@pytest.mark.parametrize("name", NAMES)
def test_configs_load_by_path_name_and_json(name, tmp_path, monkeypatch):
    c = config.load(str(ROOT / f"configs/{name}.py"))
    monkeypatch.chdir(tmp_path)  # where other things have the same names
    (tmp_path / name).touch()
    (tmp_path / "configs").mkdir()
    assert config.load(name) == c
    (tmp_path / "config.json").write_text(json.dumps(c.to_dict()))
    assert config.load("config.json") == c
    assert config.differences(c, config.load("config.json")) == {}


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_config_json_of_earlier_versions(path):
    # As written before generators had kinds, in 2025; those configs have not changed since.
    assert config.load(str(path)) == config.load(path.stem)
    fields = json.loads(path.read_text())
    del fields["pack"], fields["weight_clip"]  # and before there were such
    assert config.override(fields, []) == config.load(path.stem)
    fields["generator"] = {"monotone": True, "widths": []}  # by hand
    with pytest.raises(InputError, match=r"config\.generator\.units is \[\], but must be"):
        config.override(fields, [])


def test_files_need_only_differences(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(): return ConfigDict({'k': 2, 'generator': {'widths': (3,)}})"
    )
    assert config.differences(config.default(), config.load(str(file))) == {
        "k": "1 -> 2",
        "generator.widths": "(128,) -> (3,)",
    }
    assert config.load(str(file), ["--config.k=3"]).k == 3


def test_own_file_imports_ours_of_the_same_name(tmp_path):
    before = dict(sys.modules)
    (tmp_path / "helper.py").write_text("Z_DIM = 7\n")
    (tmp_path / "mnist.py").write_text(
        f"{OURS}from configs import helper\n"
        "def get_config():\n"
        "    c = mnist.get_config()\n"
        "    assert c.dataset == 'mnist'\n"
        "    c.z_dim = helper.Z_DIM\n"
        "    return c\n"
    )
    c = config.load(str(tmp_path / "mnist.py"))
    assert config.differences(config.load("mnist"), c) == {"z_dim": "100 -> 7"}
    assert not {name for name in sys.modules.keys() - before if name.startswith("configs")}


BROKEN = {
    "return 1": "get_config() did not return a ConfigDict",
    "raise SystemExit": "SystemExit",
    "return 1 / 0": "division by zero",
    "import nothing_of_the_kind": "No module named 'nothing_of_the_kind'",
    "return ConfigDict({'kk': 1})": "config.kk is not a field; did you mean config.k?",
}


@pytest.mark.parametrize("body", BROKEN)
def test_broken_files_are_one_line(body, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(f"{OURS}def get_config(): {body}\n")
    with pytest.raises(InputError) as e:
        config.load(str(file))
    assert BROKEN[body] in str(e.value)
    assert "\n" not in str(e.value)


def test_missing_files_and_names(tmp_path):
    for name, message in {
        "mnits": r"--config=mnits: neither a file nor one of all_modes, .*, mnist, ",
        "no/such.py": r"--config=no/such\.py: no such file",
        "no/such.json": r"--config=no/such\.json: no such file",
        f"{ROOT}/README.md": r"neither a \.py nor a \.json file",
    }.items():
        with pytest.raises(InputError, match=message):
            config.load(name)
    for text in ("[]", "{", '{"k": 1', "NaN"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"config\.json: "):
            config.load(str(tmp_path / "config.json"))
    (tmp_path / "empty.py").touch()
    with pytest.raises(InputError, match=r"empty\.py: .*defines no get_config\(\)"):
        config.load(str(tmp_path / "empty.py"))


def test_sweeps_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "configs/sweeps/losses.py")
    settings = config.call("--sweep", "losses", "get_sweep")
    assert settings == config.call("--sweep", path, "get_sweep")
    with pytest.raises(InputError, match=r"--sweep=mnist: neither a file nor one of losses, "):
        config.call("--sweep", "mnist", "get_sweep")


def test_settings_are_parsed_by_their_fields_type(tiny):
    settings = {
        "k": "3",
        "loss": "minimax",
        "split": "1",
        "deterministic": "false",
        "tensorboard": "true",
        "d_optimizer.learning_rate": "1e-4",
        "g_optimizer.b1": "0",
        "discriminator.widths": "(7,8)",
        "generator.widths": "[]",
        "sample_grid": "3,4",
        "eval_metrics": "fid,parzen",
    }
    c = config.override(tiny, [f"--config.{field}={text}" for field, text in settings.items()])
    assert (c.k, c.loss, c.split) == (3, "minimax", "1")
    assert (c.deterministic, c.tensorboard) == (False, True)
    assert (c.d_optimizer.learning_rate, c.g_optimizer.b1) == (1e-4, 0.0)
    assert (c.discriminator.widths, c.generator.widths) == ((7, 8), ())
    assert (tuple(map(int, c.sample_grid)), c.eval_metrics) == ((3, 4), ("fid", "parzen"))
    assert config.override(tiny, ["--config.generator.widths=32"]).generator.widths == (32,)
    assert (tiny.k, tiny.loss) == (1, "non_saturating")  # unchanged
    for setting in ("k=3", "--config.k", "--k=3", "--config=3"):
        with pytest.raises(InputError, match="unknown argument"):
            config.override(tiny, [setting])


def test_another_kind_starts_from_its_defaults(tiny):
    changes = ["--config.z_dim=1", "--config.prior.name=normal", "--config.generator.units=9"]
    c = config.override(tiny, ["--config.generator.name=monotone", *changes])
    assert c.generator.to_dict() == {"name": "monotone", "units": 9}
    back = config.override(c, ["--config.generator.name=mlp"])
    assert back.generator == config.default().generator
    same = config.override(tiny, ["--config.generator.name=mlp"])
    assert same.generator == tiny.generator


def test_differences_name_fields_of_either_kind(tiny):
    other = config.replace(tiny, {"generator.name": "monotone", "z_dim": 1, "prior.name": "normal"})
    found = config.differences(tiny, other)
    assert found["generator.widths"] == "(5,) -> None"
    assert found["generator.units"] == "None -> 16"
    assert isinstance(other, ConfigDict)


@pytest.mark.parametrize(("widths", "units"), [({}, 128), ({"widths": [7, 7]}, 7)])
def test_earlier_monotone_generators_load(widths, units):
    old = {"dataset": "gaussian1d", "z_dim": 1, "prior": {"name": "normal"}}
    c = config.override(old | {"generator": {"monotone": True, **widths}}, [])
    assert c.generator.to_dict() == {"name": "monotone", "units": units}


def test_earlier_monotone_without_layers_is_refused():
    with pytest.raises(InputError, match=r"config\.generator\.units is \[\]"):
        config.override({"generator": {"monotone": True, "widths": []}}, [])
