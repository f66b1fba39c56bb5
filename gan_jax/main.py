"""Trains a config: a GAN, an autoencoder or a Boltzmann machine.

python -m gan_jax.main --config=mnist [--workdir=DIR] [--config.FIELD=VALUE ...]

Without --workdir a new directory runs/<config name>/<n> is created. With the directory of an
unfinished run, the run resumes from its last checkpoint.

Several processes, on one machine or several, train a run together if each is started with
--coordinator=HOST:PORT --num_processes=N --process_id=I, I from 0; HOST is that of process 0. Tasks
of a Slurm step do so by themselves.
"""

import pathlib

from gan_jax import cli


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--config", required=True, help="a config's name or .py file, or a run's config.json"
    )
    parser.add_argument("--workdir", type=pathlib.Path, help="the run's directory")
    parser.add_argument("--coordinator", help="HOST:PORT at which process 0 listens")
    parser.add_argument("--num_processes", type=cli.at_least(1), help="that train together")
    parser.add_argument("--process_id", type=cli.at_least(0), help="number of this one")
    arguments, settings = parser.parse_known_args()
    # seconds of imports that --help does not wait for
    from gan_jax import config, processes, train

    given = arguments.coordinator, arguments.num_processes, arguments.process_id
    with processes.start(*given) as peers:
        return train.run(
            config.load(arguments.config, settings),
            arguments.workdir,
            pathlib.Path(arguments.config).stem,
            peers,
        )


if __name__ == "__main__":
    cli.run(main)
