"""Trains one run: data, outputs, checkpoints, exit status."""

import contextlib
import functools
import hashlib
import math
import pathlib
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import (
    algorithms,
    checkpoint,
    data,
    device,
    grid,
    loop,
    parallel,
    plots,
    population,
    provenance,
    trackers,
    workdir,
)
from gan_jax import config as config_lib
from gan_jax.errors import InputError
from gan_jax.evaluation import scoring, text_encoder
from gan_jax.evaluation.registry import Reference, lower_is_better
from gan_jax.extras import require
from gan_jax.networks.layers import OUTPUT_RANGES
from gan_jax.population import Population
from gan_jax.processes import ALONE, Processes
from gan_jax.state import State, trainable
from gan_jax.theory import line
from gan_jax.trackers import Tracker
from gan_jax.writers import Files, png, sample_name, write_json, write_whole

# Quantities on the progress bar by label; those of _PRINTED are also in printed lines.
_SHOWN = {
    "D_loss": "d_loss",
    "G_loss": "g_loss",
    "D(x)": "d_real",
    "D(G(z))": "d_fake",
    "loss": "loss",
    "reconstruction": "reconstruction",
    "KL": "kl",
}
_PRINTED = [label for label in _SHOWN if "D(" not in label]


def run(
    config: ConfigDict,
    directory: pathlib.Path | None,
    name: str,
    peers: Processes = ALONE,
    progress_bar: bool | None = None,
) -> int:
    """Trains a config, resuming from the directory's last checkpoint if there is one.

    Args:
      config: validated.
      directory: the run's directory; None makes runs/<name>/<n>.
      name: name of the config.
      peers: the processes that train together; process 0 writes.
      progress_bar: whether to show a progress bar; None: if stderr is a terminal.

    Returns:
      Exit status: 0 finished, 1 diverged, 128 + signal interrupted.

    Raises:
      InputError: invalid data, device, config or directory; nothing was written. Or a tracker
        cannot start; the run's status is as before.
      OSError: a system failure; saved files are intact.
    """
    fields = {f"config.{field}": value for field, value in config_lib.flatten(config).items()}
    given = {"--workdir": directory is not None}
    peers.check_same(fields | given | {"source_sha256": provenance.source_sha256()})
    if directory is not None and peers.call_on_primary(
        functools.partial(workdir.holds_finished, directory, config)
    ):
        return int(peers.call_on_primary(functools.partial(_recreate_figures, directory, config)))
    peers.join()
    cache = data.cache_dir() / "xla"
    cpu_devices = min(config.devices // peers.number, provenance.cores())
    device.setup(config.accelerator, config.deterministic, cache, cpu_devices)
    dataset = load_data(config)
    check(config, dataset)
    parallel.devices_per_member(config)
    placement = "host" if population.on_host(config, dataset.images.nbytes) else "device"
    peers.check_same({"data of hash": dataset.sha256, "config.data_placement": placement})
    for tracker in config.trackers:
        require(f"config.trackers={tracker}", tracker)
    config_lib.spec(config, dataset.images.shape[1:], data.num_classes(dataset))
    reference = None
    if config.eval_every and not peers.index:
        reference = scoring.reference(
            config, dataset, config.validation_split, config.eval_metrics, config.eval_num
        )
    if peers.index:
        with loop.signals() as pending_signals:
            return _train_secondary(config, dataset, pending_signals, peers)
    directory = directory or workdir.next_run(name)
    with workdir.lock(directory), loop.signals() as pending_signals:
        # Checked again: another process may have used the directory since.
        finished = workdir.holds_finished(directory, config, dataset.sha256)
        peers.call_on_primary(lambda: finished)
        if finished:
            write_json(directory / "config.json", config.to_dict())  # its data may have moved
            return _recreate_figures(directory, config)
        print(directory, flush=True)
        return _train(config, dataset, reference, directory, pending_signals, peers, progress_bar)


def load_data(config: ConfigDict) -> data.Dataset:
    """The training set of a run, with its captions if it is conditioned on text.

    Its hash then covers captions and text encoder as well.
    """
    condition = config.condition
    try:
        dataset = data.load(
            config.dataset,
            config.split,
            config.image_size,
            captions_file=condition.captions,
            without=condition.held_out,
        )
    except data.SplitError as e:
        raise InputError(f"config.split: {e}") from None
    if dataset.captions is None:
        return dataset
    encoder = text_encoder.load(condition.encoder)
    digest = hashlib.sha256((dataset.sha256 + encoder.sha256).encode())
    return dataset._replace(sha256=digest.hexdigest())


def check(config: ConfigDict, dataset: data.Dataset) -> None:
    """Raises an InputError if a config is incompatible with its data."""
    n = len(dataset.images)
    if n < config.batch_size:
        raise InputError(
            f"config.batch_size is {config.batch_size}, but {config.dataset} {config.split} has "
            f"only {n} examples"
        )
    uses_labels = config.condition.on == "label" or config.get("num_labelled")
    if uses_labels and dataset.labels is not None and dataset.labels.min() < 0:
        field = "condition.on" if config.condition.on == "label" else "num_labelled"
        raise InputError(
            f"config.{field} is {config_lib.flatten(config)[field]!r}, but {config.dataset} has "
            f"the label {dataset.labels.min()}: expected classes numbered from 0"
        )
    if config.get("num_labelled"):
        number = data.num_classes(dataset)
        if dataset.labels is None or number != config.num_categories:
            raise InputError(
                f"config.num_categories is {config.num_categories}, but {config.dataset} has "
                f"{number} classes of labels, which config.num_labelled needs"
            )
        fewest = np.bincount(dataset.labels, minlength=number).min()
        if config.num_labelled % number or config.num_labelled > number * fewest:
            raise InputError(
                f"config.num_labelled is {config.num_labelled}: expected a multiple of {number} "
                f"up to {number * fewest}"
            )
    rbm = config.algorithm == "rbm"
    output = "sigmoid" if rbm else config.generator.get("output")
    if dataset.images.dtype != np.uint8 and output in OUTPUT_RANGES:
        least, most = OUTPUT_RANGES[output]
        low, high = dataset.images.min(), dataset.images.max()
        if low < least or high > most:
            chosen = "algorithm is 'rbm'" if rbm else f"generator.output is {output!r}"
            hint = "" if rbm else ": use --config.generator.output=linear"
            raise InputError(
                f"config.{chosen}, with range {least} to {most}, but {config.dataset} has values "
                f"from {low:.3g} to {high:.3g}{hint}"
            )


def _image_file(directory: pathlib.Path, step: int) -> pathlib.Path:
    return directory / "samples" / sample_name(step)


def _recreate_figures(directory: pathlib.Path, config: ConfigDict) -> int:
    """Recreates missing images of a finished run, as far as its checkpoints are kept."""
    for step in checkpoint.steps(directory / "checkpoints"):
        file = _image_file(directory, step)
        if "sample" in loop.due(step, config) and not file.exists():
            device.setup(config.accelerator, config.deterministic, data.cache_dir() / "xla")
            spec, state = workdir.load(directory, step)
            dataset = load_data(config)
            workdir.check_data(directory, dataset.sha256)
            write_whole(file, png(grid.image(config, spec, state, dataset)))
    plots.draw(directory, config, [x for x in plots.FIGURES if not (directory / x).exists()])
    print(f"{directory}: already finished")
    _print_results(directory, config.num_steps)
    return 0


def _print_results(directory: pathlib.Path, step: int) -> None:
    """Prints the paths of a finished run's pictures, and the command that collects them."""
    names = {"samples": _image_file(directory, step)}
    names |= {"animation": directory / "samples.gif", "curves": directory / "curves.png"}
    for name, file in names.items():
        if file.exists():
            print(f"  {name:<10} {file}")
    print("  report     " + shlex.join(["gan-jax", "report", f"--workdir={directory}"]))


def _pace(clock: Sequence[tuple[float, int]], num_steps: int) -> str:
    """Speed and remaining time, by the first and last (time, step)."""
    (t0, s0), (t1, s1) = clock[0], clock[-1]
    if s1 == s0:
        return ""
    speed = (s1 - s0) / (t1 - t0)
    return f" ({speed:,.1f} iterations/s, {tqdm.format_interval((num_steps - s1) / speed)} left)"


def _start(
    config: ConfigDict, dataset: data.Dataset, directory: pathlib.Path | None, peers: Processes
) -> tuple[Population, State, int]:
    """A run's population, its state, initial or restored by process 0, and the step of that."""
    members = population.create([config], dataset)
    like = algorithms.shapes(members.spec, config_lib.hparams(config))
    saved = None
    if directory is not None:
        saved = checkpoint.restore_newest(directory / "checkpoints", like)
    begin = int(peers.call_on_primary(lambda: 0 if saved is None else int(saved.step)))
    if not begin:
        return members, population.init(members), 0
    states = population.stack([parallel.broadcast(saved, like)])
    return members, population.place(members, states), begin


def _train_secondary(
    config: ConfigDict,
    dataset: data.Dataset,
    pending_signals: Sequence[int],
    peers: Processes,
) -> int:
    """Trains with process 0, without writing anything; returns the exit status."""
    if peers.call_on_primary(bool):  # process 0 found the run finished
        return 0
    members, states, begin = _start(config, dataset, None, peers)
    parallel.gather(states)  # each of these is a collective of `_train` as well
    diverged = np.zeros(1, np.int32)
    for chunk in loop.train(config, members, states, diverged, begin, None, peers=peers):
        if chunk.diverged[0]:
            return 1
        if stop := max(peers.all_gather(max(pending_signals, default=0))):
            parallel.gather(chunk.states)
            return 128 + int(stop)
    return 0


def _train(
    config: ConfigDict,
    dataset: data.Dataset,
    reference: Reference | None,
    directory: pathlib.Path,
    pending_signals: Sequence[int],
    peers: Processes,
    progress_bar: bool | None,
) -> int:
    """Trains as process 0, which writes; returns the exit status."""
    members, states, begin = _start(config, dataset, directory, peers)
    gathered = parallel.gather(states)
    spec, step = members.spec, begin
    if begin:
        print(f"resuming after iteration {begin}", flush=True)
    path = directory / "run.json"
    environment = provenance.provenance(parallel.devices_per_member(config), config.shard_state)
    earlier = workdir.read_json(path, missing_ok=True)
    record = {
        "status": "running",
        "seed": config.seed,
        **environment,
        "earlier": provenance.earlier(earlier, environment, begin),
        "dataset": {
            "name": config.dataset,
            "split": config.split,
            "shape": list(dataset.images.shape),
            "sha256": dataset.sha256,
            "classes": data.num_classes(dataset),
            "class_names": dataset.class_names,
        },
        "resumed_from": begin,
    }
    if spec.text:
        encoder = text_encoder.load(config.condition.encoder)
        record["text_encoder"] = {"name": config.condition.encoder, "sha256": encoder.sha256}
    write_json(directory / "config.json", config.to_dict())
    with contextlib.ExitStack() as stack:
        active: dict[str, Tracker] = {}

        def close_trackers(error: type[BaseException] | None, *_: Any) -> None:
            failed = error is not None or record["status"] == "diverged"
            status = 1 if failed else 0 if step == config.num_steps else 128 + stop
            trackers.each(active, lambda t: t.close(status))

        stack.push(close_trackers)
        for name in dict.fromkeys(config.trackers):
            active[name] = trackers.start(name, directory, config, begin)
        write_json(path, record)
        files = Files(directory, begin, keep_begin="metrics" in loop.due(begin, config))
        if begin and "sample" not in loop.due(begin, config):  # the end of a shorter run
            _image_file(directory, begin).unlink(missing_ok=True)
        stack.enter_context(contextlib.closing(files))
        saver = checkpoint.Writer(directory / "checkpoints", config.keep_checkpoints, begin)
        stack.enter_context(contextlib.closing(saver))
        bar = tqdm(
            total=config.num_steps,
            initial=begin,
            unit=" iterations",
            disable=None if progress_bar is None else not progress_bar,
            dynamic_ncols=True,
        )
        stack.enter_context(contextlib.closing(bar))

        def write_image(step: int, state: State) -> None:
            image = grid.image(config, spec, state, dataset)
            files.image(step, image)
            trackers.each(active, lambda t: t.image(step, image))

        def write_scalars(step: int, info: dict[str, Any]) -> None:
            files.scalars(step, info)
            scalars = {name: x for name, x in info.items() if name != "step"}
            trackers.each(active, lambda t: t.scalars(step, scalars))

        if begin == 0:
            write_image(0, population.member(gathered, 0))
        clock: list[tuple[float, int]] = []  # (time, step) after the first and the last chunk
        stop = 0
        for chunk in loop.train(
            config, members, states, np.zeros(1, np.int32), begin, reference, peers=peers
        ):
            gathered, step, now = chunk.states, chunk.step, chunk.due
            clock = [*clock[:1], (time.time(), step)]
            info = {name: value[0].item() for name, value in chunk.info.items()}
            if chunk.diverged[0]:
                step = int(chunk.diverged[0])
                trained = (n for n in info if n not in config.eval_metrics)
                quantity = next((n for n in trained if not math.isfinite(info[n])), "samples")
                record |= {"status": "diverged", "diverged": {"step": step, "in": quantity}}
                break
            if now & {"metrics", "sample"}:
                state = population.member(gathered, 0)
            if "metrics" in now and (mixture := line.known_mixture(config.dataset, spec)):
                hparams = config_lib.hparams(config)
                info |= line.measure(line.curves(spec, hparams, state, mixture))
            bar.update(step - bar.n)
            bar.set_postfix({k: f"{info[name]:.3g}" for k, name in _SHOWN.items() if name in info})
            measured = {name: info[name] for name in config.eval_metrics if name in info}
            if "log" in now or measured:
                printed = {k: info[_SHOWN[k]] for k in _PRINTED if _SHOWN[k] in info} | measured
                text = ", ".join(f"{name}: {x:.4}" for name, x in printed.items())
                pace = _pace(clock, config.num_steps) if bar.disable else ""
                bar.write(f"Iter: {step} {text}{pace}")
            if "metrics" in now:
                write_scalars(step, info)
            if "sample" in now:
                write_image(step, state)
            # Once: a signal may arrive during the save.
            stop = max(peers.all_gather(max(pending_signals, default=0)))
            if stop:
                gathered = parallel.gather(gathered)
            if stop or "checkpoint" in now:
                files.flush()
                best = config.keep_best
                best_by = {best: lower_is_better(best, info[best])} if best in info else {}
                saver.save(step, population.member(gathered, 0), best_by)
            if stop:
                break
    record["step"] = step
    if record["status"] != "diverged":
        record["status"] = "finished" if step == config.num_steps else "interrupted"
        record["params_sha256"] = checkpoint.sha256(trainable(population.member(gathered, 0)))
    if clock:
        (t0, s0), (t1, s1) = clock[0], clock[-1]
        record["seconds_to_first_step"] = round(t0 - psutil.Process().create_time(), 2)
        record["steps_per_second"] = round((s1 - s0) / (t1 - t0), 1) if s1 > s0 else None
    return _finish(config, directory, record, stop)


def _finish(
    config: ConfigDict,
    directory: pathlib.Path,
    record: dict[str, Any],
    stop: int,
) -> int:
    """Draws the figures of the whole run, records its end, and returns the exit status."""
    step = record["step"]
    if record["status"] == "interrupted":
        write_json(directory / "run.json", record)
        print(
            f"Interrupted after iteration {step} and saved; resume with --config="
            f"{directory / 'config.json'} --workdir={directory}"
        )
        return 128 + stop
    plots.draw(directory, config)
    write_json(directory / "run.json", record)
    if record["status"] == "diverged":
        saved = max(checkpoint.steps(directory / "checkpoints"), default=0)
        print(
            f"error: {record['diverged']['in']} is not finite at iteration {step}; "
            + (f"the last checkpoint is from iteration {saved}" if saved else "nothing was saved"),
            file=sys.stderr,
        )
        return 1
    speed = record.get("steps_per_second")
    print(f"Finished {step} iterations" + (f" at {speed} iterations/s" if speed else ""))
    _print_results(directory, step)
    return 0
