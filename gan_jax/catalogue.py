"""Lists the packaged configs with their training times and results.

python -m gan_jax.catalogue
"""

import ast
import pathlib
import textwrap

from gan_jax import cli

_CONFIGS = pathlib.Path(__file__).with_name("configs")


def entries() -> dict[str, tuple[str, str]]:
    """Config -> (first line, last paragraph) of its docstring; the latter gives time and result."""
    found = {}
    for file in sorted(_CONFIGS.glob("[!_]*.py")):
        docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
        first, *_, last = docstring.split("\n\n")
        found[file.stem] = first, " ".join(last.split())
    return found


def main() -> int:
    cli.parser(__doc__).parse_args()
    for name, (first, last) in entries().items():
        print(name)
        for text in (first, last):
            print(textwrap.fill(text, 96, initial_indent="    ", subsequent_indent="    "))
    print("\nTo train one: gan-jax train --config=NAME")
    return 0


if __name__ == "__main__":
    cli.run(main)
