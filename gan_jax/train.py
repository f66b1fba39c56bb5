"""The host's side of a run: chunk, log, sample, checkpoint."""

import contextlib
import functools
import importlib.util
import math
import pathlib
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import psutil
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from gan_jax import algorithm, checkpoint, core, data, device, exact, plots, scores, workdir
from gan_jax import config as config_lib
from gan_jax.core import Game, Role, State
from gan_jax.errors import InputError
from gan_jax.writers import Files, TensorBoard, read_metrics, write_json, write_whole

_SHOWN = {"D_loss": "d_loss", "G_loss": "g_loss", "D(x)": "d_real", "D(G(z))": "d_fake"}
_EVERY = ("log", "metrics", "sample", "checkpoint", "eval")  # the config's fields <name>_every
_CHUNK_SECONDS = 1.0  # a longer chunk would leave the progress bar, or a signal, waiting


def run(config: ConfigDict, directory: pathlib.Path | None, name: str) -> int:
    """Trains what a config says, from the start or from the directory's last checkpoint.

    Args:
      config: validated.
      directory: the run's; None makes runs/<name>/<n>.
      name: of the config.

    Returns:
      The exit status: 0 finished, 1 diverged, 128 + signal interrupted.

    Raises:
      InputError: data, device, config or directory do not fit; nothing was written.
      OSError: the machine failed; what was saved is whole.
    """
    if directory is not None and workdir.holds_finished(directory, config):
        return _nothing_to_do(directory)
    device.setup(config.accelerator, config.deterministic, data.cache_dir() / "xla")
    dataset = data.load(config.dataset, config.split, config.image_size)
    check(config, dataset)
    if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise InputError("config.tensorboard needs: pip install 'gan_jax[tensorboard]'")
    game = config_lib.game(config, dataset.images.shape[1:])
    reference = None
    if config.eval_every:
        reference = scores.reference(
            config, dataset, config.validation_split, config.eval_metrics, config.eval_num
        )
    directory = directory or workdir.next_run(name)
    with workdir.lock(directory), signals() as received:
        # Once more: while the data were loading, another process may have been here.
        if workdir.holds_finished(directory, config):
            return _nothing_to_do(directory)
        workdir.check_data(directory, dataset.sha256)
        print(directory, flush=True)
        return _train(config, game, dataset, reference, directory, received)


def check(config: ConfigDict, dataset: data.Dataset) -> None:
    """Raises an InputError where a config does not fit its data."""
    n = len(dataset.images)
    if n < config.batch_size:
        raise InputError(
            f"config.batch_size is {config.batch_size}, but {config.dataset} {config.split} has "
            f"only {n} examples"
        )
    if dataset.images.dtype != np.uint8 and config.generator.output == "sigmoid":
        low, high = dataset.images.min(), dataset.images.max()
        if low < 0 or high > 1:
            raise InputError(
                f"config.generator.output is 'sigmoid', from 0 to 1, but {config.dataset} reaches "
                f"from {low:.3g} to {high:.3g}: use --config.generator.output=linear"
            )


def _nothing_to_do(directory: pathlib.Path) -> int:
    print(f"{directory} holds this run, finished: nothing to do")
    return 0


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """A list that fills with the first SIGINT or SIGTERM; a second one ends the process at once."""
    received: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def handler(number: int, _: Any) -> None:
        received.append(number)
        for kind in kinds:
            signal.signal(kind, signal.SIG_DFL)

    before = {kind: signal.signal(kind, handler) for kind in kinds}
    try:
        yield received
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)


def _periods(config: ConfigDict) -> dict[str, int]:
    """Of `_EVERY`, what is wanted at all, with its iterations in between."""
    every = {name: config[f"{name}_every"] for name in _EVERY}
    return {name: period for name, period in every.items() if period}


def due(step: int, config: ConfigDict) -> set[str]:
    """What is to be written after an iteration: a subset of `_EVERY`."""
    every = _periods(config)
    names = {name for name in every if step % every[name] == 0}
    if "eval" in names:
        names |= {"metrics", "checkpoint"}  # to keep what is found, and what it was found of
    if step == config.num_steps:
        names |= every.keys() - {"eval"}  # a longer run would not have evaluated here
    return names | {"log", "metrics"} if step == 1 else names


def next_stop(step: int, config: ConfigDict) -> int:
    """The next iteration after which something is to be written."""
    if step == 0:
        return 1  # which also tells how long compiling took
    return min(config.num_steps, *((step // n + 1) * n for n in _periods(config).values()))


def next_length(longest: int, length: int, seconds: float) -> int:
    """How many iterations the next chunk may have, when `length` of them took so many seconds."""
    # At most doubled, as the time of a first chunk is mostly that of compiling.
    return max(1, min(2 * longest, round(length * _CHUNK_SECONDS / seconds)))


def _chunks(
    config: ConfigDict, game: Game, state: State, images: jax.Array
) -> Iterator[tuple[State, dict[str, Any]]]:
    """Trains to the end of the run, and yields at every stop and about once a second."""
    hparams = config_lib.hparams(config)
    step, longest = int(state.step), 1
    while step < config.num_steps:
        length = min(next_stop(step, config) - step, longest)
        begun = time.perf_counter()
        state, info = algorithm.train_chunk(game, hparams, state, images, length)
        info = {name: value.item() for name, value in jax.device_get(info).items()}
        longest = next_length(longest, length, time.perf_counter() - begun)
        step += length
        yield state, info


def _not_finite(info: dict[str, float]) -> str | None:
    """The first quantity of a step that is infinite or not a number, if any."""
    return next((name for name, value in info.items() if not math.isfinite(value)), None)


def samples(config: ConfigDict, game: Game, state: State) -> np.ndarray:
    """The run's own samples, a grid of them: G of the same noise, whatever the step."""
    key = core.role_key(state.key, Role.NOISE_SAMPLE)
    noise = core.sample_noise(game, key, math.prod(config.sample_grid))
    return np.asarray(core.generate(game, core.generator(state), noise))


def sample_picture(config: ConfigDict, game: Game, state: State, images: np.ndarray) -> Image.Image:
    if mixture := exact.known_mixture(config.dataset, game):
        return exact.picture(exact.line(game, state, mixture), int(state.step))
    rows, columns = config.sample_grid
    return plots.sample_picture(samples(config, game, state), rows, columns, images)


def evaluation_samples(game: Game, state: State, num: int) -> np.ndarray:
    """The samples that a state is evaluated by: of the same noise, whatever the step."""
    noise = core.sample_noise(game, core.role_key(state.key, Role.EVALUATE), num)
    return core.generate_in_blocks(game, core.generator(state), noise)


def _start(config: ConfigDict, game: Game, directory: pathlib.Path, images: jax.Array) -> State:
    """The state of the newest whole checkpoint, or the seed's where there is none."""
    init = jax.jit(functools.partial(core.init, game, config_lib.hparams(config)))
    seed = np.uint32(config.seed)
    like = jax.eval_shape(init, seed, images)
    saved = checkpoint.restore_newest(directory / "checkpoints", like)
    return init(seed, images) if saved is None else jax.device_put(saved)


def _train(
    config: ConfigDict,
    game: Game,
    dataset: data.Dataset,
    reference: scores.Reference | None,
    directory: pathlib.Path,
    received: list[int],
) -> int:
    images = jax.device_put(dataset.images)
    state = _start(config, game, directory, images)
    step = begin = int(state.step)
    record = {
        "status": "running",
        "seed": config.seed,
        **workdir.provenance(),
        "dataset": {
            "name": config.dataset,
            "split": config.split,
            "shape": list(dataset.images.shape),
            "sha256": dataset.sha256,
        },
        "resumed_from": begin,
    }
    write_json(directory / "config.json", config.to_dict())
    write_json(directory / "run.json", record)
    with contextlib.ExitStack() as stack:
        files = Files(directory, begin, keep_begin="metrics" in due(begin, config))
        writers: list[Files | TensorBoard] = [stack.enter_context(contextlib.closing(files))]
        if config.tensorboard:
            board = TensorBoard(directory / "tensorboard", begin)
            writers.append(stack.enter_context(contextlib.closing(board)))
        saver = checkpoint.Writer(directory / "checkpoints", config.keep_checkpoints, begin)
        stack.enter_context(contextlib.closing(saver))
        bar = tqdm(
            total=config.num_steps, initial=begin, unit="it", disable=None, dynamic_ncols=True
        )
        stack.enter_context(contextlib.closing(bar))
        if begin == 0:
            for writer in writers:
                writer.picture(0, sample_picture(config, game, state, dataset.images))
        clock: list[tuple[float, int]] = []  # (time, step) at the first chunk's end and the last's
        chunks = _chunks(config, game, state, images)
        for state, info in chunks:
            step = info["step"]
            clock = [*clock[:1], (time.time(), step)]
            if quantity := _not_finite(info):
                record |= {"status": "diverged", "diverged": {"step": step, "in": quantity}}
                break
            now = due(step, config)
            if "eval" in now and reference:
                drawn = evaluation_samples(game, state, config.eval_num)
                if not np.isfinite(drawn).all():
                    record |= {"status": "diverged", "diverged": {"step": step, "in": "samples"}}
                    break
                entries = scores.score(drawn, reference, config.eval_metrics, intervals=False)
                info |= {name: entry["value"] for name, entry in entries.items()}
            if "metrics" in now and (mixture := exact.known_mixture(config.dataset, game)):
                info |= exact.measure(exact.line(game, state, mixture))
            bar.update(step - bar.n)
            bar.set_postfix({name: f"{info[key]:.3g}" for name, key in _SHOWN.items()})
            measured = {name: info[name] for name in config.eval_metrics if name in info}
            if "log" in now or measured:
                text = f"Iter: {step} D_loss: {info['d_loss']:.4}, G_loss: {info['g_loss']:.4}"
                bar.write(text + "".join(f", {name}: {x:.4}" for name, x in measured.items()))
            for writer in writers:
                if "metrics" in now:
                    writer.scalars(step, info)
                if "sample" in now:
                    writer.picture(step, sample_picture(config, game, state, dataset.images))
            if received or "checkpoint" in now:
                files.flush()
                best_by = {
                    name: scores.cost(name, info[name]) for name in info if name == config.keep_best
                }
                saver.save(step, state, best_by)
            if received:
                break
    record["step"] = step
    if record["status"] != "diverged":  # whose parameters are those of the chunk's end, not step's
        record["status"] = "finished" if step == config.num_steps else "interrupted"
        record["params_sha256"] = checkpoint.sha256(core.learned(state))
    if clock:
        (t0, s0), (t1, s1) = clock[0], clock[-1]
        record["seconds_to_first_step"] = round(t0 - psutil.Process().create_time(), 2)
        record["steps_per_second"] = round((s1 - s0) / (t1 - t0), 1) if s1 > s0 else None
    write_json(directory / "run.json", record)
    return _report(config, directory, record, received)


def _report(
    config: ConfigDict, directory: pathlib.Path, record: dict[str, Any], received: list[int]
) -> int:
    """Draws the pictures of the whole run, says where things are, and returns the exit status."""
    step = record["step"]
    if record["status"] == "interrupted":
        print(f"Interrupted after iteration {step}, saved; the same --workdir goes on from there")
        return 128 + received[0]
    # By the number, not the name: its 7 digits become 8 in a very long run.
    frames = sorted((directory / "samples").glob("step_*.png"), key=lambda p: int(p.stem[5:]))
    write_whole(directory / "samples.gif", plots.gif([Image.open(frame) for frame in frames]))
    lines = read_metrics(directory / "metrics.jsonl")
    write_whole(directory / "curves.png", plots.curves(lines, f"{config.dataset}, {config.loss}"))
    if record["status"] == "diverged":
        saved = max(checkpoint.steps(directory / "checkpoints"), default=0)
        print(
            f"error: {record['diverged']['in']} is not finite at iteration {step}; "
            + (f"the last checkpoint is of iteration {saved}" if saved else "nothing was saved"),
            file=sys.stderr,
        )
        return 1
    speed = record.get("steps_per_second")
    print(f"Finished {step} iterations" + (f" at {speed} a second" if speed else ""))
    for name, path in (
        ("samples", frames[-1]),
        ("animation", directory / "samples.gif"),
        ("curves", directory / "curves.png"),
    ):
        print(f"  {name:<10} {path}")
    return 0
