"""Exit statuses and one-line errors, in processes of their own whose streams can be closed."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def run(body: str, shell: str = "{}", **options) -> subprocess.CompletedProcess:
    """Runs a command whose main() has this body, within a shell's redirections."""
    code = f"import os, sys\nfrom gan_jax import cli, errors\ndef main():\n {body}\ncli.run(main)"
    command = shell.format(f'"{sys.executable}" -c "$CODE"')
    environment = {**os.environ, "CODE": code, "PYTHONPATH": str(ROOT)}
    environment |= options.pop("env", {})
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, env=environment, check=False, **options
    )


@pytest.mark.parametrize(
    ("body", "status", "err"),
    [
        ("return 3", 3, ""),
        ("raise errors.InputError('not\\n so')", 2, "error: not so\n"),
        ("open('/nowhere')", 1, "error: [Errno 2] No such file or directory: '/nowhere'\n"),
        ("bytearray(2**60)", 1, "error: out of memory: MemoryError: no message\n"),
        (
            "raise RuntimeError('RESOURCE_EXHAUSTED: 5 GB\\nmore')",
            1,
            "error: out of memory: RuntimeError: RESOURCE_EXHAUSTED: 5 GB\n",
        ),
        ("print('é\\udcff')", 1, ""),
    ],
)
def test_status_and_error(body, status, err):
    done = run(f"{body}\n return 1", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr.decode()) == (status, err)


def test_traceback_of_a_bug():
    done = run("raise RuntimeError('a bug')")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&- 2>&-", "2>&-", ">&-"])
def test_closed_streams(closed, tmp_path):
    """No file opened later becomes stderr, where libraries and child processes write."""
    body = (
        "file = open('out', 'w')\n"
        " print('a'); print('b', file=sys.stderr); os.system('echo c >&2 && touch ok')\n"
        " file.write('d'); return 0"
    )
    done = run(body, f"{{}} {closed}", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "d"
    assert (tmp_path / "ok").exists()  # the child had a stderr too
    assert done.stdout == (b"" if ">&-" in closed.split() else b"a\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"b\nc\n")


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("{} > /dev/full; exit $?", "No space left on device"),
        ("{} | true; exit ${{PIPESTATUS[0]}}", "Broken pipe"),
    ],
)
def test_broken_stdout(shell, words):
    done = run("import time\n while True: print('a'); time.sleep(0.01)", shell)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: ")
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr.decode()


def test_broken_stderr_keeps_status():
    assert run("raise errors.InputError('a')", "{} 2> /dev/full; exit $?").returncode == 2


def test_names_not_in_utf8(tmp_path):
    shell = "{} $'--workdir=run\\xff'"
    expected = b"error: '--workdir=run\\udcff' is not valid UTF-8: rename it\n"
    done = run("return 0", shell)
    assert (done.returncode, done.stderr) == (2, expected)
    directory = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(directory)
    done = run("return 0", cwd=directory)
    assert done.returncode == 2
    assert done.stderr.endswith(b"\\udcff' is not valid UTF-8: rename it\n")
