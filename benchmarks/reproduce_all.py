"""Runs every command of docs/reproductions.md in turn, or lists what has been reproduced.

    python benchmarks/reproduce_all.py [--list]

Commands resume in their workdirs if they are interrupted. All of them take days.
"""

import pathlib
import re
import shlex
import subprocess
import sys

from gan_jax import cli

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproductions.md"


def status() -> list[list[str]]:
    """The cells of the page's first table, without links."""
    _, _, *rows = re.findall(r"^\|(.*)\|$", PAGE.read_text().split("\n## ")[1], re.MULTILINE)
    texts = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", row) for row in rows)
    return [[cell.strip() for cell in text.split("|")] for text in texts]


def commands() -> list[list[str]]:
    """The long commands of the page."""
    found = re.findall(r"^python (.*?)  # long$", PAGE.read_text(), re.MULTILINE)
    return [[sys.executable, *shlex.split(command)] for command in found]


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--list", action="store_true", help="print published, ours and status")
    if parser.parse_args().list:
        for name, published, ours, why in status():
            print(name)
            print(f"    published: {published or '-'}")
            print(f"    ours:      {ours or '-'}")
            print(f"    {why}")
        return 0
    for command in commands():
        print(shlex.join(command), flush=True)
        if code := subprocess.run(command, cwd=ROOT).returncode:
            return code
    return 0


if __name__ == "__main__":
    cli.run(main)
