"""Trains a sweep: every setting of a config with several seeds.

python -m gan_jax.sweep --config=mnist --sweep=losses --seeds=N
                        [--workdir=DIR] [--config.FIELD=VALUE ...] [--dry_run] [--shard=I/N]
                        [--max_unit=M] [--on=local|ray|slurm]
python -m gan_jax.sweep --workdir=DIR --merge
python -m gan_jax.sweep --workdir=DIR --rerun=MEMBER

--sweep takes the name of one of configs/sweeps, or a Python file that defines get_sweep(), which
returns a list of settings (see gan_jax/sweeps/space.py). Members that differ only in seeds and
traced fields share a compiled program and train together as a unit, of at most --max_unit members.
The same command with --workdir resumes a killed sweep. --shard=I/N (I from 0) trains every N-th
member from I on into DIR/shard-I-of-N, and --merge joins the shards. --rerun trains one member as a
standalone run.

--on trains each unit in a process of its own: on the cores of this machine, as a Ray task (on the
cluster of RAY_ADDRESS, or on this machine) or as a job of a Slurm array. All machines must see DIR.
"""

import pathlib
import re

from gan_jax import cli
from gan_jax.errors import InputError


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not match or not 0 <= int(match[1]) < int(match[2]):
        raise InputError(f"--shard={text}: must be I/N with I from 0 to N - 1, such as 0/4")
    return int(match[1]), int(match[2])


def _slurm(text: str | None) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for item in text.split(",") if text else ():
        name, separator, value = item.partition("=")
        if not (name and separator and value):
            raise InputError(f"--slurm={text}: must be KEY=VALUE,..., such as time=240,partition=a")
        found[name] = int(value) if value.isdecimal() else value
    return found


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--config", help="name of a config, a .py file, or a run's config.json")
    parser.add_argument("--sweep", help="name of a sweep, or a .py file that defines get_sweep()")
    parser.add_argument("--seeds", type=cli.at_least(1), help="per setting; default: 1")
    parser.add_argument("--workdir", type=pathlib.Path, help="directory of the sweep")
    parser.add_argument("--dry_run", action="store_true", help="print what would be trained")
    parser.add_argument("--shard", help="I/N: train every N-th member from I on")
    parser.add_argument("--max_unit", type=cli.at_least(1), help="members trained as one program")
    parser.add_argument("--on", choices=("local", "ray", "slurm"), help="executor of the units")
    parser.add_argument("--gpus_per_unit", type=float, help="with --on=ray; below 1 shares a GPU")
    parser.add_argument("--slurm", help="KEY=VALUE,...: parameters of submitit's SlurmExecutor")
    parser.add_argument("--merge", action="store_true", help="join the shards in --workdir")
    parser.add_argument("--rerun", type=cli.at_least(0), help="member to train standalone")
    args, settings = parser.parse_known_args()
    from gan_jax import config
    from gan_jax.sweeps import executors, merge, runner

    if args.merge or args.rerun is not None:
        both = args.merge and args.rerun is not None
        others = (args.config, args.sweep, args.seeds, args.shard, args.dry_run, settings)
        execution = (args.max_unit, args.on, args.gpus_per_unit, args.slurm)
        if args.workdir is None or both or any(others + execution):
            raise InputError("--merge and --rerun need --workdir and accept no other argument")
        if args.merge:
            return merge.merge(args.workdir)
        return runner.rerun(args.workdir, args.rerun)
    if args.config is None or args.sweep is None:
        raise InputError("--config and --sweep are required (see --help)")
    gpus = args.gpus_per_unit
    if gpus is not None and (
        args.on != "ray" or not (0 <= gpus < 1 or (gpus > 0 and gpus.is_integer()))
    ):
        raise InputError("--gpus_per_unit must be from 0 to 1 or an integer, with --on=ray")
    if args.slurm is not None and args.on != "slurm":
        raise InputError("--slurm needs --on=slurm")
    return runner.run(
        config.load(args.config, settings),
        config.call_from_file("--sweep", args.sweep, "get_sweep"),
        args.seeds or 1,
        args.workdir,
        pathlib.Path(args.sweep).stem,
        shard=None if args.shard is None else _shard(args.shard),
        dry_run=args.dry_run,
        max_unit=args.max_unit,
        on=args.on,
        options=executors.Options(gpus or 0, _slurm(args.slurm)),
    )


if __name__ == "__main__":
    cli.run(main)
