"""Trains, samples and scores GANs and their relatives.

gan-jax COMMAND [ARGUMENTS]      (or python -m gan_jax COMMAND)

`gan-jax COMMAND --help` describes a command. To begin: gan-jax train --config=digits
"""

import ast
import importlib
import pathlib
import sys

from gan_jax import cli
from gan_jax.errors import InputError, did_you_mean

COMMANDS = {
    "train": "main",
    "sample": "sample",
    "evaluate": "evaluate",
    "sweep": "sweep",
    "report": "report",
    "reproduce": "reproduce",
    "export": "export",
    "spectrum": "spectrum",
    "retrieve": "retrieve",
    "screen": "screen",
    "configs": "catalogue",
    "doctor": "doctor",
}


def summary(module: str) -> str:
    """First line of a command's docstring; imports nothing."""
    source = pathlib.Path(__file__).with_name(f"{module}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main() -> int:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:<{width}}  {summary(module)}" for name, module in COMMANDS.items())
    parser = cli.parser("\n".join([__doc__, "commands:", *lines]))
    parser.prog = "gan-jax"
    parser.add_argument("command", metavar="COMMAND")
    command = parser.parse_args(sys.argv[1:2] or ["--help"]).command
    if command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS)
        raise InputError(f"unknown command {command!r}: expected {', '.join(COMMANDS)}{hint}")
    sys.argv = [f"gan-jax {command}", *sys.argv[2:]]  # as argparse reads and shows it
    return int(importlib.import_module(f"gan_jax.{COMMANDS[command]}").main())


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
