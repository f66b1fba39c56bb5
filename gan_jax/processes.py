"""Control messages between the processes of a run, and their joint end.

JAX's collectives do not notice that a process was killed. Process 0 therefore listens at
--coordinator, and every other process keeps a connection to it. When the kernel closes one, all
processes exit, even those that wait in a collective.
"""

import contextlib
import json
import os
import queue
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import jax

from gan_jax.errors import InputError, brief

_SECONDS = 60  # for all processes to connect
_GONE = "was killed or has lost its connection: start all again to resume"


class Processes:
    """The processes of a run, as seen by one of them.

    Attributes:
      number: of processes.
      index: number of this process, from 0; process 0 alone writes files.
    """

    def __init__(self, number: int, index: int, links: Mapping[int, Connection], jax_address: str):
        """Takes over connections: of process 0 to all others, of the others to process 0."""
        self.number, self.index = number, index
        self._links, self._jax_address = links, jax_address
        self._received: dict[int, queue.Queue[Any]] = {i: queue.Queue() for i in links}
        self._ending = threading.Lock()  # held by the first to end this process
        for i in links:
            threading.Thread(target=self._receive, args=(i,), daemon=True).start()

    def _receive(self, sender: int) -> None:
        end: dict[str, Any] = {"process": sender, "reason": _GONE, "status": 1}
        with contextlib.suppress(OSError, EOFError):
            while True:
                message = json.loads(self._links[sender].recv_bytes())
                if message is None:  # it is done
                    return
                if "reason" in message:
                    end = message
                    break
                self._received[sender].put(message["value"])
        if self._ending.acquire(blocking=False):
            self._send(end, self._links.keys() - {sender})
            sys.stdout.flush()
            print(f"error: process {end['process']} {end['reason']}", file=sys.stderr, flush=True)
            os._exit(end["status"])  # the main thread may be waiting for a collective

    def _send(self, message: Any, receivers: Sequence[int] | Any) -> None:
        for i in receivers:
            with contextlib.suppress(OSError):  # it is gone, which `_receive` reports
                self._links[i].send_bytes(json.dumps(message).encode())

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all processes, in their order; JSON.

        A collective: all processes must make the same calls in the same order.
        """
        if self.index:
            self._send({"value": value}, [0])
            values: list[Any] = self._received[0].get()
            return values
        values = [value, *(self._received[i].get() for i in range(1, self.number))]
        self._send({"value": values}, range(1, self.number))
        return values

    def call_on_primary(self, function: Callable[[], Any]) -> Any:
        """What a function returns in process 0, which alone calls it; a collective as well."""
        return self.all_gather(None if self.index else function())[0]

    def check_same(self, named: Mapping[str, Any]) -> None:
        """Raises an InputError in all processes if one has other values than process 0."""
        expected, *others = self.all_gather({name: repr(value) for name, value in named.items()})
        for i, found in enumerate(others, 1):
            for name in dict.fromkeys([*expected, *found]):
                a, b = (values.get(name, "nothing") for values in (expected, found))
                if a != b:
                    self._ending.acquire(blocking=False)  # each reports it by itself
                    raise InputError(f"process {i} has {name} {b}, but process 0 has {a}")

    def join(self) -> None:
        """Makes the devices of all processes visible to each, before JAX computes anything."""
        if self.number > 1:
            jax.distributed.initialize(
                self._jax_address, self.number, self.index, initialization_timeout=_SECONDS
            )

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, _: Any) -> None:
        if self.number == 1:
            return
        if error is None:
            if jax.distributed.is_initialized():
                jax.distributed.shutdown()  # waits for all
            self._ending.acquire(blocking=False)
            self._send(None, self._links)
            return
        expected = isinstance(error, InputError | OSError)
        if not expected:
            time.sleep(5)  # a collective may fail just before `_receive` sees why
        text = str(error) if expected else brief(error)
        status = 2 if isinstance(error, InputError) else 1
        if self._ending.acquire(blocking=False):
            end = {"process": self.index, "reason": f"stopped: {text}", "status": status}
            self._send(end, self._links)
        if jax.distributed.is_initialized():  # JAX would wait for the others at exit
            if not expected:
                traceback.print_exception(error)
            print("error:", " ".join(text.split()), file=sys.stderr, flush=True)
            os._exit(status)


ALONE = Processes(1, 0, {}, "")


def start(address: str | None, number: int | None, index: int | None) -> Processes:
    """Connects the processes of a run; without arguments those of a Slurm step, or none.

    Args:
      address: HOST:PORT of process 0.
      number: of processes.
      index: number of this process, from 0.

    Raises:
      InputError: incomplete arguments, or not all processes connect within a minute.
    """
    if address is None and number is None and index is None:
        address, number, index = _slurm()
    if address is None or number is None or index is None:
        if (address, number, index) == (None, None, None):
            return ALONE
        raise InputError("--coordinator, --num_processes and --process_id are needed together")
    if not index < number:
        raise InputError(f"--process_id={index}: must be below --num_processes={number}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator={address}: must be HOST:PORT")
    if number == 1:
        return ALONE
    end = time.monotonic() + _SECONDS
    try:
        if index:
            link, jax_address = _connect(host, int(port), number, index, end)
            return Processes(number, index, {0: link}, jax_address)
        links = _accept(host, int(port), number, end)
        with socket.create_server((host, 0)) as free:
            jax_address = f"{host}:{free.getsockname()[1]}"
        for link in links.values():
            link.send_bytes(jax_address.encode())
        return Processes(number, index, links, jax_address)
    except (OSError, EOFError) as e:
        raise InputError(f"--coordinator={address}: {brief(e)}") from e


def _connection(link: socket.socket) -> Connection:
    link.settimeout(None)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Connection(link.detach())


def _accept(host: str, port: int, number: int, end: float) -> dict[int, Connection]:
    links: dict[int, Connection] = {}
    with socket.create_server((host, port)) as server:
        while len(links) < number - 1:
            server.settimeout(max(0.01, end - time.monotonic()))
            try:
                link = _connection(server.accept()[0])
            except TimeoutError:
                missing = sorted(set(range(1, number)) - links.keys())
                raise InputError(
                    f"--num_processes={number}: not connected within {_SECONDS} s: process "
                    + ", ".join(map(str, missing))
                ) from None
            i, total = json.loads(link.recv_bytes())
            if total != number or i in links:
                reason = f"--process_id={i} --num_processes={total} does not fit --num_processes="
                raise InputError(f"a process with {reason}{number} or is there twice")
            links[i] = link
    return links


def _connect(host: str, port: int, number: int, index: int, end: float) -> tuple[Connection, str]:
    """Connection to process 0, and the address of JAX's coordinator."""
    while True:
        try:
            left = max(0.01, end - time.monotonic())
            link = _connection(socket.create_connection((host, port), left))
            break
        except OSError as e:
            if time.monotonic() > end - 1:
                raise InputError(
                    f"--coordinator={host}:{port}: process 0 does not answer within {_SECONDS} s "
                    f"({brief(e)})"
                ) from None
            time.sleep(0.5)  # it may start later
    link.send_bytes(json.dumps([index, number]).encode())
    if not link.poll(max(0.01, end - time.monotonic()) + 5):
        _fail(host, port, "answers, but other processes are missing")
    try:
        return link, link.recv_bytes().decode()
    except (EOFError, OSError):
        _fail(host, port, "has ended: see its error")


def _fail(host: str, port: int, why: str) -> NoReturn:
    raise InputError(f"--coordinator={host}:{port}: process 0 {why}")


def _slurm() -> tuple[str | None, int | None, int | None]:
    """Coordinator's address, number of processes and index in a Slurm step of several tasks.

    The port follows from the job's id, so that jobs on one node rarely share it.
    """
    # Variables of the step, which a batch script outside srun does not have.
    names = ("STEP_NUM_TASKS", "PROCID", "JOB_ID")
    found = [os.environ.get(f"SLURM_{name}") for name in names]
    nodes = os.environ.get("SLURM_STEP_NODELIST")
    if None in found or not nodes or found[0] == "1":
        return None, None, None
    number, index, job = map(int, filter(None, found))
    first = re.match(r"([^,\[]+)(?:\[([^],-]+))?", nodes)  # of node[03-04,7],other
    assert first is not None
    return f"{first[1]}{first[2] or ''}:{61440 + job % 4096}", number, index
