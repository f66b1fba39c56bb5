"""Tests of sweeps: search, plan, and gan_jax.sweep from its command to its files."""

import contextlib
import csv
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gan_jax import algorithm, checkpoint, cli, config, data, search, sweep, train, workdir
from gan_jax.errors import InputError
from gan_jax.sweeps import host, plan, summary
from tests.conftest import ROOT, fill, tiny_config
from tests.test_commands import assert_one_line, call

RATE = "d_optimizer.learning_rate"


def base():
    return config.replace(
        tiny_config(),
        {"eval_metrics": ("parzen",), "eval_num": 30, "eval_every": 6, "num_steps": 12},
    )


SETTINGS = search.grid({"loss": ["minimax", "non_saturating"], RATE: [1e30, 1e-3]})


def test_grid_is_every_combination_in_order():
    assert search.grid({"k": [1, 2], "loss": ["a", "b"]}) == [
        {"k": k, "loss": loss} for k, loss in itertools.product([1, 2], ["a", "b"])
    ]


def test_random_is_decided_by_its_seed_and_keeps_to_its_spaces():
    spaces = {
        "a": search.uniform(2, 3),
        "b": search.log_uniform(1e-4, 1e-2),
        "c": search.choice([1, 2, 5]),
    }
    drawn = search.random(spaces, 300, seed=1)
    assert drawn == search.random(spaces, 300, seed=1) != search.random(spaces, 300, seed=2)
    a, b, c = (np.array([s[name] for s in drawn]) for name in spaces)
    assert 2 <= a.min() < 2.1 < 2.9 < a.max() < 3
    assert 1e-4 <= b.min() < b.max() <= 1e-2
    assert 0.4 < np.mean(b < 1e-3) < 0.6  # half of the decades
    assert set(c.tolist()) == {1, 2, 5}
    with pytest.raises(InputError, match="0 < low"):
        search.log_uniform(0, 1)


def test_random_settings_differ():
    spaces = {"k": search.choice([1, 2]), "loss": search.choice(["minimax", "hinge"])}
    drawn = search.random(spaces, 4, seed=0)
    assert sorted(map(repr, drawn)) == sorted(
        repr({"k": k, "loss": loss}) for k in (1, 2) for loss in ("minimax", "hinge")
    )
    with pytest.raises(InputError, match="hold only 4 settings, not 5"):
        search.random(spaces, 5, seed=0)
    for call_, words in (
        (lambda: search.random({"k": [1, 2]}, 1, 0), "must be a space"),
        (lambda: search.grid({"loss": "hinge"}), "must be a list"),
        (lambda: search.choice([]), "at least one"),
    ):
        with pytest.raises(InputError, match=words):
            call_()


def test_members_are_settings_with_seeds():
    members = plan.members(config.replace(base(), {"seed": 7}), SETTINGS, 3)
    assert [m.number for m in members] == list(range(12))
    assert [(m.setting, m.config.seed) for m in members[:4]] == [(0, 7), (0, 8), (0, 9), (1, 7)]
    assert members[0].config.d_optimizer.learning_rate == 1e30


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "at least one"),
        ("grid", "must return a list"),
        (None, "must return a list"),
        ({"k": [1, 2]}, "must return a list"),
        (({"k": k} for k in (1, 2)), "must return a list"),
        ([{"k": 1}, None], "setting 1 must be a dict of the same fields as the first, not None"),
        ([{1: 2}], "config.1 is not a field"),
        ([{"k": np.arange(10**6)}], r"config.k is array.*, but must be an integer from 1"),
        ([{"k": len}], "config.k is <built-in function len>, but must be an integer"),
        ([{RATE: float("nan")}], f"config.{RATE} is nan, but must be a number"),
        ([{RATE: 1}, {RATE: 2}, {RATE: np.float64(1)}], "settings 0 and 2 are the same"),
        ([{}, {}], "settings 0 and 1 are the same"),
        ([{"k": 1}, {"loss": "minimax"}], "setting 1 must be a dict of the same fields"),
        ([{"kk": 1}], "config.kk is not a field"),
        ([{"k": 0}], "config.k is 0, but must be an integer from 1"),
        ([{"seed": 3}], "config.seed is one for the whole sweep"),
    ],
)
def test_settings_that_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        plan.members(base(), settings, 2)


def test_as_many_seeds_as_there_are():
    last = config.replace(base(), {"seed": 2**32 - 2})
    assert [m.config.seed for m in plan.members(last, [{}], 2)] == [2**32 - 2, 2**32 - 1]
    with pytest.raises(InputError, match=r"--seeds=3: from config.seed, 4294967294, they would"):
        plan.members(last, [{}], 3)
    with pytest.raises(InputError, match="1 settings with 4294967295 seeds are more than 100000"):
        plan.members(base(), [{}], 2**32 - 1)


def test_settings_are_as_their_config_has_them():
    settings = [{"generator.widths": [5], "k": np.int32(2), RATE: 1, "loss": np.str_("minimax")}]
    (member,) = plan.members(base(), settings, 1)
    assert repr(member.values) == repr(
        {"generator.widths": (5,), "k": 2, RATE: 1.0, "loss": "minimax"}
    )


def test_members_of_one_program_train_together():
    settings = search.grid({"k": [1, 2], RATE: [1e-3, 1e-2, 1e-1]})
    groups = plan.group(plan.members(base(), settings, 2))
    assert [[m.config.k for m in group] for group in groups] == [[1] * 6, [2] * 6]


def test_a_unit_holds_no_more_than_memory_does(monkeypatch):
    members = plan.members(base(), SETTINGS[:1], 7)
    monkeypatch.setattr(plan, "block", lambda *_: 3)
    units = plan.units(members, (8, 8, 1), 0)
    assert [len(unit) for unit in units] == [2, 2, 3]
    assert [m for unit in units for m in unit] == members


def test_half_of_free_memory_is_for_members(monkeypatch):
    each = 3 * plan.population.size(base(), (8, 8, 1))
    memory = type("Memory", (), {"available": 2 * (1000 + 9.5 * each)})
    monkeypatch.setattr(plan.psutil, "virtual_memory", lambda: memory)
    assert plan.block(base(), (8, 8, 1), 1000) == 9
    memory.available = each
    assert plan.block(base(), (8, 8, 1), 1000) == 1
    memory.available = each - 1
    with pytest.raises(InputError, match="a member would take"):
        plan.block(base(), (8, 8, 1), 1000)


def run(directory, shard=None, settings=SETTINGS, **changes) -> int:
    c = config.replace(base(), changes)
    return host.run(c, settings, 2, directory, "sweep", shard=shard, dry=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep") / "whole"
    assert run(directory) == 0
    return directory


def rows(directory) -> list[dict[str, str]]:
    return list(csv.DictReader((directory / "results.csv").read_text().splitlines()))


def test_a_sweep_leaves_its_files(whole):
    names = {p.name for p in whole.iterdir() if p.is_file()}
    assert names >= {"config.json", "run.json", "sweep.json", "results.csv", "curves.npz"}
    assert names >= {"summary.md", "ranking.png", "samples.png", "curves.png"}
    assert workdir.read_json(whole / "run.json")["status"] == "finished"
    found = rows(whole)
    assert len(found) == 8
    for row in found:
        assert (row["diverged_at"] != "") == (row[RATE] == "1e+30")
        assert (row["params_sha256"] == "") == (row["diverged_at"] != "")
        assert (row["final_parzen"] == "") == (row["diverged_at"] != "")


def test_a_member_is_the_lone_run(whole, capsys):
    for number in (2, 7):
        assert host.rerun(whole, number) == 0
        alone = workdir.read_json(whole / "members" / str(number) / "run.json")
        assert alone["params_sha256"] == rows(whole)[number]["params_sha256"]
        lines = train.read_metrics(whole / "members" / str(number) / "metrics.jsonl")
        with np.load(whole / "curves.npz") as file:
            steps, names = file["steps"].tolist(), file["names"].tolist()
            for line in lines:
                values = file["curves"][number, steps.index(line["step"])]
                curve = dict(zip(names, values, strict=True))
                for name, value in line.items():
                    if name != "step":
                        assert np.float32(value) == curve[name], name
    assert host.rerun(whole, 0) == 1  # which diverges alone as well
    with pytest.raises(InputError, match="members are 0 to 7"):
        host.rerun(whole, 8)


@pytest.mark.slow
def test_a_penalty_may_be_swept_on_and_off(tmp_path, capsys):
    weight = "penalties.r1.weight"
    assert run(tmp_path, settings=search.grid({weight: [0.0, 0.5]}), seed=7) == 0
    found = rows(tmp_path)
    assert [(row[weight], row["seed"]) for row in found] == [
        *[("0.0", "7"), ("0.0", "8")],
        *[("0.5", "7"), ("0.5", "8")],
    ]
    assert [row["last_d_penalty"] == "" for row in found] == [True, True, False, False]
    # Each quantity stands under its name, as a lone run has it.
    assert host.rerun(tmp_path, 2) == 0
    assert "identical to the member" in capsys.readouterr().out
    (tmp_path / "results.csv").unlink()
    assert host.rerun(tmp_path, 2) == 0
    assert "nothing to compare it with" in capsys.readouterr().out
    last = train.read_metrics(tmp_path / "members/2/metrics.jsonl")[-1]
    for name in algorithm.STEP_INFO:
        assert np.float32(found[2][f"last_{name}"]) == np.float32(last[name]), name


def test_a_sweep_is_ranked_by_the_first_of_its_metrics(tmp_path):
    metrics = ("memorisation", "parzen")
    split = {"split": "train[:1000]", "validation_split": "train[1000:]"}
    assert run(tmp_path, settings=SETTINGS[1:2], eval_metrics=metrics, **split) == 0
    assert "# Sweep by memorisation" in (tmp_path / "summary.md").read_text()
    assert "30 samples against digits train[1000:]" in (tmp_path / "summary.md").read_text()


def test_a_member_whose_samples_are_not_finite_disturbs_no_other(tmp_path, monkeypatch, capsys):
    original = train.evaluation_samples

    def broken(game, state, num):
        samples = original(game, state, num)
        return (
            np.full_like(samples, np.inf)
            if int(state.step) == 12 and state.key[1] == 1
            else samples
        )

    monkeypatch.setattr(train, "evaluation_samples", broken)
    assert run(tmp_path, settings=SETTINGS[1:2]) == 0
    assert [row["diverged_at"] for row in rows(tmp_path)] == ["", "12"]
    assert [row["final_parzen"] == "" for row in rows(tmp_path)] == [False, True]


def test_a_finished_sweep_stays_as_it_is_and_some_fields_may_change(whole, capsys):
    before = times(whole)
    assert run(whole, log_every=3, checkpoint_every=7) == 0
    assert "It is finished: nothing to do" in capsys.readouterr().out
    assert times(whole) == before


def test_units_of_different_code_are_told(whole, tmp_path, caplog):
    shutil.copytree(whole, tmp_path / "sweep")
    unit = tmp_path / "sweep/units/0001/run.json"
    unit.write_text(unit.read_text().replace('"git_commit": "', '"git_commit": "not '))
    (tmp_path / "sweep/run.json").unlink()
    assert run(tmp_path / "sweep") == 0
    assert "different code, versions or devices" in caplog.text
    assert "different code" in (tmp_path / "sweep/summary.md").read_text()
    assert "different code" not in (whole / "summary.md").read_text()


def test_held_out_data_that_changed_are_another_sweep(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    file = tmp_path / "mine.npz"
    np.savez(file, images=images)
    own = {
        "dataset": f"npz:{file}",
        "split": "train[:40]",
        "validation_split": "train[40:]",
        "eval_num": 20,
    }
    assert run(tmp_path / "sweep", settings=SETTINGS[1:2], **own) == 0
    images[50:] = 0
    np.savez(file, images=images)
    with pytest.raises(InputError, match="its data_sha256 changed"):
        run(tmp_path / "sweep", settings=SETTINGS[1:2], **own)


def same(a, b) -> None:
    for name in ("results.csv", "samples.png"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    with np.load(a / "curves.npz") as x, np.load(b / "curves.npz") as y:
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


def test_a_sweep_that_was_stopped_ends_the_same(whole, tmp_path, monkeypatch):
    stops, original = iter([3, 1, 2, 99]), host.population.run  # chunks until a signal

    @contextlib.contextmanager
    def signals():
        left, received = next(stops), []

        def run(*arguments):
            *others, tell = arguments

            def count(progress):
                nonlocal left
                left -= 1
                tell(progress)

            return original(*others[:-1], Due(lambda: left <= 0), count)

        class Due(list):
            """A list of signals that is not empty once a number of chunks has been trained."""

            def __init__(self, due):
                super().__init__([15])
                self.due = due

            def __bool__(self):
                return self.due()

        received.append(15)
        with monkeypatch.context() as patch:
            patch.setattr(host.population, "run", run)
            yield received

    monkeypatch.setattr(train, "signals", signals)
    statuses = [run(tmp_path / "sweep") for _ in range(4)]
    assert statuses == [128 + 15] * 3 + [0]
    same(whole, tmp_path / "sweep")


def times(directory) -> dict:
    return {p: p.stat().st_mtime_ns for p in directory.rglob("*") if p.name != ".lock"}


@contextlib.contextmanager
def refused(directory, words):
    """What is done here is refused in these words, and changes nothing in the directory."""
    before = times(directory)
    with pytest.raises(InputError, match=words):
        yield
    assert times(directory).keys() - before.keys() <= {directory}
    assert all(times(directory)[p] == time for p, time in before.items() if p.is_file())


def test_shards_join_to_the_whole(whole, tmp_path):
    assert run(tmp_path, shard=(1, 2)) == 0
    with refused(tmp_path, r"lacks the shards \[0\] of 2"):
        host.merge(tmp_path)
    with refused(tmp_path, "shard-1-of-2 is there, which is not one of 4 shards"):
        run(tmp_path, shard=(0, 4))
    with refused(tmp_path, r"another sweep: its config \(num_steps\) changed"):
        run(tmp_path, shard=(0, 2), num_steps=13)
    assert run(tmp_path, shard=(0, 2)) == 0
    with refused(tmp_path, "holds something that is not this sweep"):
        run(tmp_path)
    result = tmp_path / "shard-0-of-2/units/0000/result.npz"
    result.rename(tmp_path / "shard-0-of-2/result.npz")
    with refused(tmp_path, "is not finished"):
        host.merge(tmp_path)
    assert not (tmp_path / "sweep.json").exists()
    (tmp_path / "shard-0-of-2/result.npz").rename(result)
    assert host.merge(tmp_path) == 0
    same(whole, tmp_path)
    assert host.merge(tmp_path) == run(tmp_path, shard=(1, 2)) == 0
    with refused(tmp_path, "holds this sweep, merged from shards"):
        run(tmp_path)
    assert host.rerun(tmp_path, 3) == 0
    alone = workdir.read_json(tmp_path / "members/3/run.json")
    assert alone["params_sha256"] == rows(whole)[3]["params_sha256"]
    shutil.copytree(tmp_path / "shard-1-of-2", tmp_path / "shard-1-of-4")
    with refused(tmp_path, "shard-1-of-4 is not the shard of its name"):
        host.merge(tmp_path)
    with refused(tmp_path, "shard-1-of-4 is not the shard of its name"):
        run(tmp_path, shard=(1, 4))
    shutil.rmtree(tmp_path / "shard-1-of-4")
    for changes in (
        {"settings": None},
        {"units": [[1, 3], [5]]},
        {"units": [[1, 3], [5, 5]]},
        {"units": None},
        {"shard": [1, 0]},
        {"seeds": 2**70},
        {"config": "digits"},
    ):
        spec = workdir.read_json(tmp_path / "shard-0-of-2/sweep.json")
        (tmp_path / "shard-1-of-2/sweep.json").write_text(json.dumps(spec | changes))
        with refused(tmp_path, "shard-1-of-2/sweep.json is damaged"):
            host.merge(tmp_path)
    (tmp_path / "shard-1-of-2/sweep.json").write_text("{")
    with refused(tmp_path, "shard-1-of-2/sweep.json cannot be read"):
        host.merge(tmp_path)


def test_shards_of_different_sweeps_are_refused(tmp_path):
    spec = {"config": {}, "settings": [{}], "seeds": 2, "data_sha256": ["", ""], "command": ""}
    for i, changes in enumerate(({"units": [[0]]}, {"units": [[1]], "seeds": 3})):
        (tmp_path / f"shard-{i}-of-2").mkdir()
        host.write_json(tmp_path / f"shard-{i}-of-2/sweep.json", spec | {"shard": [i, 2]} | changes)
    with pytest.raises(InputError, match=r"is of another sweep than .*: its seeds differ"):
        host.merge(tmp_path)


def test_a_directory_of_another_sweep_is_refused_and_left_as_it_is(whole, tmp_path):
    with refused(whole, r"holds another sweep: its settings changed"):
        run(whole, settings=SETTINGS[:1])
    with refused(whole, r"holds another sweep: its config \(num_steps\) changed"):
        run(whole, num_steps=13)
    with refused(whole, "holds this sweep as a whole, not in shards"):
        run(whole, shard=(0, 2))
    with refused(whole, "has no shards"):
        host.merge(whole)
    (tmp_path / "mine").write_text("mine")
    for shard in (None, (0, 2)):
        with refused(tmp_path, "holds something that is not this sweep"):
            run(tmp_path, shard=shard)
    for path, words in (
        (tmp_path / "mine", "is not a directory"),
        (tmp_path / (300 * "x"), "File name too long"),
    ):
        with refused(tmp_path, words):
            run(path)


def test_a_sweep_of_numpy_scalars_and_tuples_goes_on(tmp_path):
    settings = [{"generator.widths": (5,), RATE: rate} for rate in np.logspace(-3, -2, 2)]
    assert run(tmp_path, settings=settings) == 0
    kept = (tmp_path / "results.csv").read_bytes()
    result = tmp_path / "units/0000/result.npz"
    trained = times(tmp_path)[result]
    (tmp_path / "results.csv").unlink()
    assert run(tmp_path, settings=settings) == 0
    assert times(tmp_path)[result] == trained
    assert (tmp_path / "results.csv").read_bytes() == kept
    assert b'"(5,)",0.001,' in kept
    with refused(tmp_path, "its settings changed"):
        run(tmp_path, settings=[{**settings[0], "generator.widths": (6,)}])


def test_a_damaged_result_is_named_and_trained_again_once_it_is_removed(whole, tmp_path):
    directory = tmp_path / "sweep"
    shutil.copytree(whole, directory)
    (directory / "summary.md").unlink()  # as after a kill: what is finished is not read again
    result = directory / "units/0001/result.npz"
    content = result.read_bytes()
    middle = len(content) // 2
    other = (directory / "units/0000/result.npz").read_bytes()
    for damaged in (content[:-100], content[:middle] + b"x" + content[middle + 1 :], b"", other):
        result.write_bytes(damaged)
        with pytest.raises(InputError, match=r"0001/result.npz cannot be read: .*; remove it to"):
            run(directory)
        assert result.read_bytes() == damaged
    result.unlink()
    assert run(directory) == 0
    same(whole, directory)


def test_a_member_is_not_run_again_on_other_data(whole, tmp_path):
    spec = workdir.read_json(whole / "sweep.json")
    host.write_json(tmp_path / "sweep.json", spec | {"data_sha256": ["0", "0"]})
    with refused(tmp_path, "trained on other data: digits has changed since"):
        host.rerun(tmp_path, 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["checkpoint", "result", "summary"])
def test_a_full_disk_is_one_line_and_the_sweep_goes_on_once_there_is_space(
    what, whole, small_disk, monkeypatch, capsys
):
    owner, name = {
        "checkpoint": (checkpoint.Writer, "_save"),
        "result": (host, "write_whole"),
        "summary": (summary, "write_whole"),
    }[what]
    original = getattr(owner, name)

    def fill_first(*arguments):
        if what != "checkpoint" or any(small_disk.glob("sweep/units/*/checkpoints/step_*")):
            fill(small_disk / "ballast")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fill_first)
        patch.setattr(sys, "argv", ["sweep"])
        with pytest.raises(SystemExit) as e:
            cli.run(lambda: run(small_disk / "sweep"))
    assert e.value.code == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(err) == 1
    assert "No space left on device" in err[0]
    assert "the same --workdir goes on" in err[0]
    (small_disk / "ballast").unlink()
    assert run(small_disk / "sweep") == 0
    same(whole, small_disk / "sweep")


def test_a_workdir_removed_under_a_sweep_is_not_made_anew(tmp_path, monkeypatch, capsys):
    directory, train_unit = tmp_path / "sweep", host._train_unit

    def remove_after(*arguments):
        done = train_unit(*arguments)
        shutil.rmtree(directory)
        return done

    monkeypatch.setattr(host, "_train_unit", remove_after)
    monkeypatch.setattr(sys, "argv", ["sweep"])
    with pytest.raises(SystemExit) as e:
        cli.run(lambda: run(directory))
    assert e.value.code == 1
    assert_one_line(capsys.readouterr().err, "No such file or directory")
    assert not directory.exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_and_stopped_ends_the_same(tmp_path):
    """Three members on two devices, then on three, and at last on as many as this process has."""
    settings = search.grid({"loss": ["minimax", "non_saturating"], RATE: [1e30, 1e-3, 1e-2]})
    changes = {"num_steps": 300, "metrics_every": 20, "eval_every": 0, "checkpoint_every": 300}
    c = config.replace(base(), {**changes, "sample_every": 300, "log_every": 300})
    assert host.run(c, settings, 1, tmp_path / "once", "s", shard=None, dry=False) == 0
    c = config.replace(c, {"checkpoint_every": 20})
    host.write_json(tmp_path / "config.json", c.to_dict())
    (tmp_path / "s.py").write_text(f"def get_sweep():\n    return {settings!r}\n")
    directory = tmp_path / "often"
    arguments = [f"--config={tmp_path}/config.json", f"--sweep={tmp_path}/s.py"]

    def stop(cores, unit, kind) -> int:
        """Starts it, and sends a signal once a unit has saved something."""
        code = (
            f"import os; os.cpu_count = lambda: {cores}\n"
            "from gan_jax import cli, sweep; cli.run(sweep.main)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments, f"--workdir={directory}"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        while not checkpoint.steps(directory / f"units/{unit:04}/checkpoints"):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(kind)
        return process.wait(60)

    assert stop(2, 0, signal.SIGKILL) == -signal.SIGKILL
    assert workdir.read_json(directory / "run.json")["status"] == "running"
    assert stop(3, 1, signal.SIGTERM) == 128 + signal.SIGTERM
    assert workdir.read_json(directory / "run.json")["status"] == "interrupted"
    assert (directory / "units/0000/result.npz").exists()
    assert 20 <= max(checkpoint.steps(directory / "units/0001/checkpoints")) < 300
    assert host.run(c, settings, 1, directory, "s", shard=None, dry=False) == 0
    same(tmp_path / "once", directory)
    assert rows(directory)[0]["diverged_at"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A config and a sweep of it as files."""
    host.write_json(tmp_path / "config.json", base().to_dict())
    (tmp_path / "rates.py").write_text(
        "from gan_jax import search\n"
        "def get_sweep():\n"
        f"    return search.grid({{{RATE!r}: [1e-3, 1e-2], 'k': [1, 2]}})\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dry_run_says_what_it_would_train_and_writes_nothing(files, monkeypatch, capsys):
    before = set(files.rglob("*"))
    arguments = ["--config=config.json", "--sweep=rates.py", "--seeds=3", "--dry_run"]
    assert call(sweep, monkeypatch, *arguments) == 0
    out = capsys.readouterr().out
    assert "members: 12, units: 2, programs to compile: 2" in out
    assert "unit 1: 6 members" in out
    assert set(files.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--config and --sweep are needed"),
        (["--config=config.json", "--sweep=none.py"], "--sweep=none.py: no such file"),
        (["--config=config.json", "--sweep=config.json"], "neither a .py nor a .json"),
        (["--config=config.json", "--sweep=rates.py", "--shard=2/2"], "want I/N with I from 0"),
        (["--config=config.json", "--sweep=rates.py", "--seeds=0"], "from 1 up"),
        (["--config=config.json", "--sweep=rates.py", "--workdir=x", "--shard="], "want I/N"),
        (["--config=config.json", "--sweep=rates.py", "--workdir=x", "--shard=1e0/8"], "want I/N"),
        (["--config=config.json", "--sweep=rates.py", f"--shard={5000 * '9'}/1"], "want I/N"),
        (["--config=config.json", "--sweep=rates.py", "--shard=0/2"], "--shard needs --workdir"),
        (["--config=config.json", "--sweep=rates.py", "--seed=3"], "unknown argument '--seed=3'"),
        (["--config=config.json", "--sweep=rates.py", "--seeds=4294967295"], "more than 100000"),
        (
            ["--config=config.json", "--sweep=rates.py", "--config.seed=4294967295", "--seeds=2"],
            "--seeds=2: from config.seed, 4294967295",
        ),
        (["--config=config.json", "--sweep=rates.py", "--workdir=x", "--shard=4/5"], "no members"),
        (["--merge"], "need --workdir"),
        (["--merge", "--workdir=none", "--config.k=2"], "go with nothing else"),
        (["--merge", "--workdir=none", "--rerun=0"], "go with nothing else"),
        (["--rerun=0", "--workdir=none", "--shard=0/2"], "go with nothing else"),
        (["--merge", "--workdir=none"], "has no shards"),
        (["--rerun=0", "--workdir=none"], "not the directory of a run"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(arguments, words, files, monkeypatch, capfd):
    before = set(files.rglob("*"))
    assert call(sweep, monkeypatch, *arguments) == 2
    assert_one_line(capfd.readouterr().err, words)
    assert set(files.rglob("*")) == before


def test_data_that_do_not_fit_a_member_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.batch_size is 5000"):
        run(tmp_path / "sweep", settings=[{"batch_size": 8}, {"batch_size": 5000}])
    assert not (tmp_path / "sweep").exists()
    assert len(data.load("digits").images) < 5000
