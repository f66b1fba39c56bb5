"""Trains a GAN.

python -m gan_jax.main --config=mnist [--workdir=DIR] [--config.FIELD=VALUE ...]

Without --workdir a new directory runs/<config name>/<n> is created. With the directory of an
unfinished run, the run resumes from its last checkpoint.
"""

import pathlib

from gan_jax import cli


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--config", required=True, help="a config's name or .py file, or a run's config.json"
    )
    parser.add_argument("--workdir", type=pathlib.Path, help="the run's directory")
    arguments, settings = parser.parse_known_args()
    from gan_jax import config, train  # seconds of imports that --help does not wait for

    return train.run(
        config.load(arguments.config, settings),
        arguments.workdir,
        pathlib.Path(arguments.config).stem,
    )


if __name__ == "__main__":
    cli.run(main)
