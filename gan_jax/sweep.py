"""Trains a population: every setting of a sweep with every seed.

python -m gan_jax.sweep --config=configs/mnist.py --sweep=configs/sweeps/NAME.py --seeds=N
                        [--workdir=DIR] [--config.FIELD=VALUE ...] [--dry_run] [--shard=I/N]
python -m gan_jax.sweep --workdir=DIR --merge
python -m gan_jax.sweep --workdir=DIR --rerun=MEMBER

The sweep file defines get_sweep(), a list of settings, see gan_jax/search.py. Members that differ
only in seed and rates are one compiled program. A killed sweep goes on with the same command and
--workdir. --shard=I/N (I from 0) trains a fixed share of the members, into DIR/shard-I-of-N, and
--merge joins the shards. --rerun trains one member again as a run of its own.
"""

import pathlib
import re

from gan_jax import cli
from gan_jax.errors import InputError


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not match or not 0 <= int(match[1]) < int(match[2]):
        raise InputError(f"--shard={text}: want I/N with I from 0 to N - 1, such as 0/4")
    return int(match[1]), int(match[2])


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--config", help="a config .py, or a run's config.json")
    parser.add_argument("--sweep", help="a .py that defines get_sweep()")
    parser.add_argument("--seeds", type=cli.at_least(1), help="of each setting; default: 1")
    parser.add_argument("--workdir", type=pathlib.Path, help="the directory of the sweep")
    parser.add_argument("--dry_run", action="store_true", help="say what would be trained")
    parser.add_argument("--shard", help="I/N: the share of the members to train")
    parser.add_argument("--merge", action="store_true", help="join the shards in --workdir")
    parser.add_argument("--rerun", type=cli.at_least(0), help="a member to train alone")
    args, settings = parser.parse_known_args()
    from gan_jax import config
    from gan_jax.sweeps import host

    if args.merge or args.rerun is not None:
        both = args.merge and args.rerun is not None
        others = (args.config, args.sweep, args.seeds, args.shard, args.dry_run, settings)
        if args.workdir is None or both or any(others):
            raise InputError("--merge and --rerun need --workdir, and go with nothing else")
        if args.merge:
            return host.merge(args.workdir)
        return host.rerun(args.workdir, args.rerun)
    if args.config is None or args.sweep is None:
        raise InputError("--config and --sweep are needed (--help lists what there is)")
    return host.run(
        config.load(args.config, settings),
        config.call("--sweep", args.sweep, "get_sweep"),
        args.seeds or 1,
        args.workdir,
        pathlib.Path(args.sweep).stem,
        shard=None if args.shard is None else _shard(args.shard),
        dry=args.dry_run,
    )


if __name__ == "__main__":
    cli.run(main)
