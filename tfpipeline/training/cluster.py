"""The workers of a training on several machines: their addresses, and a check that all have started. Imports
no TensorFlow.

TensorFlow waits an hour for a missing worker. It holds Python's global lock meanwhile, so nothing can
interrupt it. Therefore the workers first connect to the chief here, over plain sockets on the same addresses
that TensorFlow uses afterwards. A missing worker is reported within a minute, and workers with different run
files or data are detected before training starts.
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
    """The workers of a training, and the index of this process among them.

    Attributes:
        workers: ``host:port`` of each, in the same order on all of them; the first is the chief, which writes
            the run.
        index: this process's index in ``workers``.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run directory."""
        return self.index == 0

    def to_tf_config(self) -> str:
        """The value of ``TF_CONFIG`` that describes this cluster to TensorFlow."""
        return json.dumps(
            {"cluster": {"worker": list(self.workers)}, "task": {"type": "worker", "index": self.index}}
        )


def find_cluster(
    workers: Sequence[str] = (), index: int | None = None, environment: Mapping[str, str] = os.environ
) -> Cluster | None:
    """The cluster that the command line or ``TF_CONFIG`` describes; None if neither does.

    Args:
        workers: ``host:port`` of each, as given to ``--workers``.
        index: as given to ``--index``.
        environment: the environment variables, which may contain ``TF_CONFIG``.
    Raises:
        UserError: the description is invalid, or this worker is not part of the cluster.
    """
    if workers or index is not None:
        if not workers or index is None:
            raise UserError("give --workers and --index together: all workers, and the index of this one")
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
            return None  # some notebooks set it to this without any meaning
        raise UserError(
            'TF_CONFIG needs "cluster" and "task": '
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        )
    unknown = sorted(set(jobs) - {"chief", "worker"})
    if unknown:
        raise UserError(
            f'TF_CONFIG has the job "{unknown[0]}"; training supports only "chief" and "worker", '
            "not parameter servers or evaluators"
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
    """Wait until all workers have connected, and check that all belong to the same training.

    Args:
        cluster: the workers.
        identity: what all workers must agree on, one line per item (``"data: 1f3a"``). An error names the
            first line that differs.
        chief_payload: called on the chief; its result is sent to all workers as JSON.
        seconds: the longest wait.
    Returns:
        The chief's payload.
    Raises:
        UserError: a worker did not connect or belongs to another training, or this worker's port is in use.
    """
    deadline = time.monotonic() + seconds
    return (
        _receive(cluster, identity, chief_payload, deadline)
        if cluster.is_chief
        else _report(cluster, identity, deadline)
    )


def _receive(cluster: Cluster, identity: str, chief_payload: Callable[[], Any], deadline: float) -> Any:
    """The chief's side: accept all other workers, then send the payload to all of them."""
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
                    f"worker {missing} did not connect; start it, and check that it reaches "
                    f"{cluster.workers[0]}"
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
                    f"worker {hello['index']} was given a different list of workers "
                    f"({', '.join(map(str, hello.get('workers') or []))}) "
                    f"from the chief ({', '.join(cluster.workers)}); give all workers the same list"
                )
            if problem:
                for other in [*connections.values(), connection]:
                    _write(other, {"problem": problem})
                raise UserError(problem)
            connections[hello["index"]] = connection  # a worker that reconnects has lost its first connection
        for connection in connections.values():
            _write(connection, {"payload": payload})
    return payload


def _report(cluster: Cluster, identity: str, deadline: float) -> Any:
    """Every other worker's side: connect to the chief and wait for its payload."""
    chief = cluster.workers[0]
    hello = {"index": cluster.index, "identity": identity, "workers": list(cluster.workers)}
    # The worker's own port is tried as well: if it is in use, TensorFlow only reports that it could not start
    # a server.
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
    """A message about the first line in which two identities differ; None if they are equal."""
    if ours == theirs:
        return None
    known = dict(line.partition(": ")[::2] for line in theirs.splitlines())
    for line in ours.splitlines():
        name, _, value = line.partition(": ")
        if known.get(name) != value:
            return (
                f"worker {index} has a different {name} ({known.get(name)}) from the chief ({value}); "
                "give all workers the same run file, checkpoint and data"
            )
    return f"worker {index} belongs to another run; give all workers the same run file, checkpoint and data"


def _address(worker: str) -> tuple[str, int]:
    host, _, port = worker.rpartition(":")
    return host.strip("[]"), int(port)


def _listen(worker: str) -> socket.socket:
    host, port = _address(worker)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        # Listen on all addresses, as TensorFlow does: other machines may reach this one by a different name.
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
    with contextlib.suppress(OSError):  # lost: the worker reconnects, or is reported as missing
        to.sendall(json.dumps(message).encode() + b"\n")


def _read(source: socket.socket) -> dict[str, Any] | None:
    """One line of JSON; None if none arrives."""
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
