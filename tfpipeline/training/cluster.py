"""The workers of one training over several machines: who they are, and whether all are there. No TensorFlow.

TensorFlow waits an hour for a worker that never comes, holding Python's lock, so that nothing can interrupt
it. So the workers connect to the chief here first, over sockets of their own on the very addresses that
TensorFlow uses afterwards: whoever is missing is named within a minute, and workers that were given different
runs or data are told apart before anything is trained.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfpipeline.console import plural
from tfpipeline.errors import UserError

RENDEZVOUS_SECONDS = 60.0
_RETRY_SECONDS = 0.2
_MESSAGE_LIMIT = 1 << 20


@dataclass(frozen=True)
class Cluster:
    """The workers, and which of them this process is.

    Attributes:
        workers: ``host:port`` of each, in the same order on all of them; the first is the chief, which writes
            the run.
        index: this process's place in it.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run directory."""
        return self.index == 0

    def to_tf_config(self) -> str:
        """The value of ``TF_CONFIG`` that says the same to TensorFlow."""
        return json.dumps(
            {"cluster": {"worker": list(self.workers)}, "task": {"type": "worker", "index": self.index}}
        )


def find_cluster(
    workers: Sequence[str] = (), index: int | None = None, environment: Mapping[str, str] = os.environ
) -> Cluster | None:
    """The cluster that the command line or ``TF_CONFIG`` describes; None without either.

    Args:
        workers: ``host:port`` of each, as given to ``--workers``.
        index: as given to ``--index``.
        environment: where ``TF_CONFIG`` is looked for.
    Raises:
        UserError: it is no cluster, or this worker is not in it.
    """
    if workers or index is not None:
        if not workers or index is None:
            raise UserError("--workers and --index belong together: all workers, and which of them this is")
        return _checked(list(workers), index, "--workers", "--index")
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error}): {text[:60]}") from error
    jobs = settings.get("cluster") if isinstance(settings, dict) else None
    task = settings.get("task") if isinstance(settings, dict) else None
    if not isinstance(jobs, dict) or not isinstance(task, dict):
        if settings == {} or (isinstance(settings, dict) and not jobs):
            return None  # as some notebooks set it, meaning nothing
        raise UserError(
            'TF_CONFIG needs "cluster" and "task": '
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        )
    unknown = sorted(set(jobs) - {"chief", "worker"})
    if unknown:
        raise UserError(
            f'TF_CONFIG has the job "{unknown[0]}"; training knows "chief" and "worker" only, parameter '
            f"servers "
            "and evaluators are not used"
        )
    chiefs, others = jobs.get("chief") or [], jobs.get("worker") or []
    if not all(isinstance(job, list) for job in (chiefs, others)) or len(chiefs) > 1:
        raise UserError(
            'TF_CONFIG: "worker" must be a list of host:port, and "chief" one of a single address'
        )
    kind, number = task.get("type"), task.get("index")
    if kind not in jobs or not isinstance(number, int) or isinstance(number, bool):
        raise UserError(
            f"TF_CONFIG names the task {json.dumps(task)}, but its cluster has only {_jobs(jobs)}; correct "
            f'"task"'
        )
    if not 0 <= number < len(jobs[kind]):
        raise UserError(
            f'TF_CONFIG names {kind} {number}, but its cluster has only {_jobs(jobs)}; correct "task"'
        )
    place = number + (len(chiefs) if kind == "worker" else 0)
    return _checked([*chiefs, *others], place, "TF_CONFIG", "TF_CONFIG")


def _jobs(jobs: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{len(addresses)} {plural(len(addresses), name)}" for name, addresses in jobs.items())


def _checked(workers: list[Any], index: int, where: str, where_index: str) -> Cluster:
    for worker in workers:
        host, colon, port = worker.rpartition(":") if isinstance(worker, str) else ("", "", "")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise UserError(f'{where}: "{worker}" is not host:port')
    if len(set(workers)) < len(workers):
        twice = next(worker for worker in workers if workers.count(worker) > 1)
        raise UserError(f'{where} names "{twice}" twice; each worker has an address of its own')
    if not 0 <= index < len(workers):
        raise UserError(
            f"{where_index} is {index}, but {where} has {len(workers)} {plural(len(workers), 'worker')}; "
            f"count from 0 to {len(workers) - 1}"
        )
    return Cluster(tuple(workers), index)


def rendezvous(
    cluster: Cluster,
    identity: str,
    chief_payload: Callable[[], Any] = lambda: None,
    *,
    seconds: float = RENDEZVOUS_SECONDS,
) -> Any:
    """Wait until all workers are there; they must have come for the same training.

    Args:
        cluster: the workers.
        identity: what all must agree on, one line a matter (``"data: 1f3a"``); the first that differs is
            named.
        chief_payload: called on the chief; what it returns is sent to all workers, as JSON.
        seconds: how long to wait.
    Returns:
        The chief's payload.
    Raises:
        UserError: somebody did not come, came for something else, or this worker's address is taken.
    """
    deadline = time.monotonic() + seconds
    return (
        _receive(cluster, identity, chief_payload, deadline)
        if cluster.is_chief
        else _report(cluster, identity, deadline)
    )


def _receive(cluster: Cluster, identity: str, chief_payload: Callable[[], Any], deadline: float) -> Any:
    """The chief's side: accept all other workers, then send all of them the payload at once."""
    waiting = {index: address for index, address in enumerate(cluster.workers) if index}
    payload = chief_payload()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(cluster.workers[0]))
        connections: dict[int, socket.socket] = {}
        while waiting.keys() - connections.keys():
            left = deadline - time.monotonic()
            missing = ", ".join(
                f"{index} ({waiting[index]})" for index in sorted(waiting.keys() - connections.keys())
            )
            if left <= 0:
                raise UserError(
                    f"worker {missing} did not come; start it, and check that it reaches {cluster.workers[0]}"
                )
            listener.settimeout(left)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            stack.enter_context(connection)
            connection.settimeout(max(1.0, deadline - time.monotonic()))
            hello = _read(connection)
            if hello is None or hello.get("index") not in waiting:
                continue  # a port scanner, or a health check
            problem = _difference(identity, str(hello.get("identity")), hello["index"])
            if list(cluster.workers) != hello.get("workers"):
                problem = (
                    f"worker {hello['index']} was given other workers "
                    f"({', '.join(map(str, hello.get('workers') or []))}) "
                    f"than the chief ({', '.join(cluster.workers)}); give all the same list"
                )
            if problem:
                for other in [*connections.values(), connection]:
                    _write(other, {"problem": problem})
                raise UserError(problem)
            connections[hello["index"]] = connection  # one that comes again has lost its first connection
        for connection in connections.values():
            _write(connection, {"payload": payload})
    return payload


def _report(cluster: Cluster, identity: str, deadline: float) -> Any:
    """The side of every other worker: connect to the chief, and wait for its payload."""
    chief = cluster.workers[0]
    hello = {"index": cluster.index, "identity": identity, "workers": list(cluster.workers)}
    # Its own port is tried as well: TensorFlow would say of a taken one that a server could not be started.
    with _listen(cluster.workers[cluster.index]):
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UserError(
                    f"the chief, {chief}, did not answer; start worker 0 there, and check that this machine "
                    f"reaches it"
                )
            with (
                contextlib.suppress(OSError),
                socket.create_connection(_address(chief), timeout=left) as to_chief,
            ):
                to_chief.settimeout(max(0.1, deadline - time.monotonic()))
                _write(to_chief, hello)
                answer = _read(to_chief)
                if answer is not None and "problem" in answer:
                    raise UserError(str(answer["problem"]))
                if answer is not None and "payload" in answer:
                    return answer["payload"]
            time.sleep(_RETRY_SECONDS)


def _difference(ours: str, theirs: str, index: int) -> str | None:
    """What two identities differ in."""
    if ours == theirs:
        return None
    known = dict(line.partition(": ")[::2] for line in theirs.splitlines())
    for line in ours.splitlines():
        name, _, value = line.partition(": ")
        if known.get(name) != value:
            return (
                f"worker {index} has another {name} ({known.get(name)}) than the chief ({value}); "
                "give all workers the same run file, checkpoint and data"
            )
    return f"worker {index} has come for another run; give all workers the same run file, checkpoint and data"


def _address(worker: str) -> tuple[str, int]:
    host, _, port = worker.rpartition(":")
    return host.strip("[]"), int(port)


def _listen(worker: str) -> socket.socket:
    host, port = _address(worker)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        # On all addresses, as TensorFlow does: a machine may know itself by another name than the others do.
        listener.bind(("", port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {port} of this worker ({worker}) can't be used: {error.strerror}; stop what uses it, or "
            f"choose another"
        ) from error
    return listener


def _write(to: socket.socket, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # gone: it will come again, or be missed
        to.sendall(json.dumps(message).encode() + b"\n")


def _read(source: socket.socket) -> dict[str, Any] | None:
    """One line of JSON; None where none comes."""
    data = b""
    try:
        while not data.endswith(b"\n") and len(data) < _MESSAGE_LIMIT:
            piece = source.recv(65536)
            if not piece:
                return None
            data += piece
        message = json.loads(data)
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) else None
