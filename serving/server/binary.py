"""Runs and supervises `tensorflow_model_server`: its address, readiness, errors and end.

TensorFlow Serving listens on 0.0.0.0 and has no flag to change that (model_servers/server.cc, BuildAndStart:
"0.0.0.0:" + port). It can listen on a Unix socket alone (`--port=0 --grpc_socket_path=...`). So for any other
host it gets a socket in a private directory, and this process relays the requested address to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.runtime import harmless
from tfpipeline.serving.server import probe
from tfpipeline.serving.server.options import ServerOptions
from tfpipeline.serving.server.relay import Relay
from tfpipeline.serving.server.sockets import bind, join_host_port, listen_error, ready_line
from tfpipeline.serving.server.sources import find_models

NAME = "tensorflow_model_server"
EVERY_INTERFACE = "0.0.0.0"

_PROBE_SECONDS = 0.2
_END_SECONDS = 10.0
_LAST_LINES = 20
# The longest path a Unix socket's address can hold is 107 bytes (sockaddr_un).
_LONGEST_SOCKET_PATH = 107
# TensorFlow's own log lines ("2026-01-01 00:00:00.0: E file.cc:1] ...") and absl's ("E0000 00:00:17.0 1
# file.cc:1] ...").
_ERROR_LINE = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:.]+: [EF] |[EF]\d{4} )")
_LOG_PREFIX = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:.]+: [IWEF] |[IWEF]\d{4} [\d:.]+\s+\d+ )\S+\] ")
_LOADED = re.compile(r"Successfully loaded servable version \{name: (.*) version: (\d+)\}")
_UNLOADED = re.compile(r"Done unloading servable version \{name: (.*) version: (\d+)\}")


def command_line(
    options: ServerOptions, binary: Path, *, port: int, socket_path: str = "", config_file: str = ""
) -> list[str]:
    """The command that starts the binary.

    Args:
        options: what to serve.
        binary: the executable.
        port: TCP port on every interface; 0 for none.
        socket_path: a Unix socket to listen on as well.
        config_file: a `ModelServerConfig`, which replaces the model's name and path.
    """
    flags: dict[str, Any] = {
        "port": port,
        "grpc_socket_path": socket_path,
        "rest_api_port": 0,
        "model_name": "" if config_file else find_models(options)[0].name,
        "model_base_path": "" if config_file else options.model_dir,
        "model_config_file": config_file,
        # Whole seconds; for both, 0 means "check once".
        "file_system_poll_wait_seconds": math.ceil(options.poll_seconds),
        "grpc_max_threads": options.threads,
        # By default a version is tried five times, a minute apart: a broken one would look like a hang.
        "load_retry_interval_micros": 2_000_000,
        # Otherwise two servers could share a port without notice and answer alternately.
        "grpc_channel_arguments": "grpc.so_reuseport=0" if port else "",
    }
    return [str(binary), *(f"--{flag}={value}" for flag, value in flags.items() if value != "")]


def model_config(options: ServerOptions) -> str:
    """A `ModelServerConfig` in text form: only a configuration file can request more than one version."""

    def quoted(text: str) -> str:
        return (
            '"'
            + "".join(
                f"\\{byte:03o}" if byte < 32 or byte in b'"\\' or byte > 126 else chr(byte)
                for byte in text.encode()
            )
            + '"'
        )

    return (
        "model_config_list {\n  config {\n"
        f"    name: {quoted(find_models(options)[0].name)}\n"
        f"    base_path: {quoted(str(options.model_dir))}\n"
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ latest {{ num_versions: {options.latest_versions} }} }}\n"
        "  }\n}\n"
    )


def serve_with_binary(options: ServerOptions, binary: Path) -> None:
    """Run the binary until Ctrl-C or SIGTERM; then stop it and return.

    Raises:
        UserError: the address cannot be used, or the binary ended by itself.
    """
    with socket_directory() as directory:
        asyncio.run(_Supervisor(options, binary, directory).run())


@contextlib.contextmanager
def socket_directory() -> Iterator[Path]:
    """A private directory with a path short enough for a Unix socket in it."""
    where: Optional[str] = None
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_SOCKET_PATH - 40:
        where = "/tmp"
    with tempfile.TemporaryDirectory(prefix="tfpipeline-serve-", dir=where) as directory:  # mode 0700
        yield Path(directory)


class _Supervisor:
    def __init__(self, options: ServerOptions, binary: Path, directory: Path) -> None:
        self._name = find_models(options)[0].name
        self._options = options
        self._binary = binary
        self._directory = directory
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._ready = False

    async def run(self) -> None:
        options = self._options
        self._stop = asyncio.Event()
        direct = options.host == EVERY_INTERFACE
        listener = bind(options.host, options.port)
        try:
            port = int(listener.getsockname()[1])
            if direct:
                listener.close()  # this was only a check: the binary listens itself
            say(f"using {self._binary}" + ("" if direct else _relayed(join_host_port(options.host, port))))
            with _signals_set(self._stop):
                await self._serve(listener, port, direct)
        finally:
            listener.close()

    async def _serve(self, listener: socket.socket, port: int, direct: bool) -> None:
        options = self._options
        path = "" if direct else str(self._directory / "grpc.sock")
        config = ""
        if options.latest_versions > 1:
            file = self._directory / "models.config"
            file.write_text(model_config(options), encoding="utf-8")
            config = str(file)
        command = command_line(
            options, self._binary, port=port if direct else 0, socket_path=path, config_file=config
        )
        child = await _start(command)
        log = asyncio.create_task(self._read_log(child))
        ended = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(self._stop.wait())
        relay = Relay(listener, path)
        try:
            with progress(f"starting {self._name}", total=1) as step:
                target = f"127.0.0.1:{port}" if direct else f"unix:{path}"
                probing = asyncio.create_task(_wait_until_available(target, self._name))
                await asyncio.wait({probing, ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not probing.done():
                    probing.cancel()
                    await asyncio.gather(probing, return_exceptions=True)
                else:
                    step.advance()
            if stopped.done():
                return
            if ended.done():
                await log
                raise self._ended(child)
            if not direct:
                try:
                    await relay.start()
                except OSError as error:
                    raise listen_error(options.host, port, error) from error
            self._ready = True
            say(ready_line({self._name: probing.result()}, join_host_port(options.host, port), NAME))
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                await log
                raise self._ended(child)
        finally:
            stopped.cancel()
            await relay.stop()
            await _end(child, ended)
            await asyncio.gather(log, return_exceptions=True)
        say("stopped")

    async def _read_log(self, child: asyncio.subprocess.Process) -> None:
        """Show the binary's errors and the versions it loads and unloads; keep the last lines."""
        assert child.stdout is not None
        while True:
            try:
                raw = await child.stdout.readline()
            except ValueError:  # a line longer than the reader's limit is of no use to the user
                continue
            if not raw:
                return
            line = raw.decode("utf-8", "replace").rstrip()
            if not line or harmless(line):
                continue
            text = _LOG_PREFIX.sub("", line)
            self._last_lines.append(text)
            if not self._ready:
                continue  # a failed start is reported in one sentence when the binary ends
            if _ERROR_LINE.match(line):
                say(f"{NAME}: {text}")
            elif match := _LOADED.search(line):
                say(f"version {match[2]} of {match[1]} is loaded and serving")
            elif match := _UNLOADED.search(line):
                say(f"version {match[2]} of {match[1]} is unloaded")

    def _ended(self, child: asyncio.subprocess.Process) -> UserError:
        code = child.returncode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        when = "while it was serving" if self._ready else "before it was ready"
        said = [line for line in self._last_lines if "Failed to start server" in line] or list(
            self._last_lines
        )[-3:]
        words = " / ".join(said)[:600] or "it printed nothing"
        return UserError(f"{self._binary} {how} {when}: {words}")


def _relayed(address: str) -> str:
    return (
        f"; it can only listen on every interface, so it gets a private socket and {address} is passed on "
        "to it"
    )


async def _start(command: list[str]) -> asyncio.subprocess.Process:
    # The log reports when versions are loaded and unloaded; a quiet log level of this process must not hide
    # it.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            limit=2**20,
            start_new_session=True,  # Ctrl-C goes to this process only: the binary is stopped after the relay
            preexec_fn=_die_with_parent(),
        )
    except OSError as error:
        raise UserError(
            f"the server binary {command[0]} cannot be run: {os.strerror(error.errno or 0)}; "
            f"give a {NAME} built for this machine"
        ) from error


def _die_with_parent() -> Optional[Callable[[], None]]:
    """Code that the child runs first: it asks the kernel to end the child when this process ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # resolved before the fork
    parent = os.getpid()
    set_death_signal = 1  # PR_SET_PDEATHSIG, linux/prctl.h

    def ask() -> None:
        prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended in between
            os._exit(1)

    return ask


async def _end(child: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """Stop the binary and its children: first gently, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)  # it has its own session, so also its own group
        await asyncio.wait({ended}, timeout=_END_SECONDS)
        if ended.done():
            break


async def _wait_until_available(target: str, name: str) -> list[int]:
    """Wait until a version is AVAILABLE; returns the available versions."""
    import grpc

    options = (("grpc.enable_http_proxy", 0),)
    request = probe.encode_request(name)
    while True:
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):  # not listening yet, or not loaded yet
                versions = probe.available_versions(
                    await channel.unary_unary(probe.METHOD)(request, timeout=5)
                )
                if versions:
                    return versions
        await asyncio.sleep(_PROBE_SECONDS)


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    """Set ``stop`` on Ctrl-C and SIGTERM, if this process may handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
