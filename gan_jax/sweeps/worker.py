"""Trains one unit of a sweep; the executors of --on run this command, not users.

python -m gan_jax.sweeps.worker DIRECTORY UNIT [--devices=N] [--cores=I,J]
"""

import ctypes
import pathlib
import signal

from gan_jax import cli

_PR_SET_PDEATHSIG = 1


def main() -> int:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # when the parent dies
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm warns all processes; it is for submitit
    parser = cli.parser(__doc__)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("unit", type=cli.at_least(0))
    parser.add_argument("--devices", type=cli.at_least(0), default=0)
    parser.add_argument("--cores", type=lambda text: {int(core) for core in text.split(",")})
    args = parser.parse_args()
    from gan_jax.sweeps import runner

    return runner.train_alone(args.directory, args.unit, args.devices, args.cores)


if __name__ == "__main__":
    cli.run(main)
