"""Runs and supervises `tensorflow_model_server`: its address, configuration, readiness, errors and end.

TensorFlow Serving listens on 0.0.0.0 and has no flag to change that (model_servers/server.cc, BuildAndStart:
"0.0.0.0:" + port). It can listen on a Unix socket alone (`--port=0 --grpc_socket_path=...`). So for any other
host it gets a socket in a private directory, and this process relays the requested address to it. A container
needs no relay: its port is published on the requested address.

The server polls its configuration file. The file is there only while a change waits to be read. So a client's
HandleReloadConfigRequest holds until something changes on the disk: with a file that stays, the server would
go back to it at the next poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.runtime import harmless
from tfpipeline.serving.server import docker
from tfpipeline.serving.server.binary_command import (
    MODELS_FILE,
    http_port,
    replace_file,
    server_files,
    write_files,
)
from tfpipeline.serving.server.binary_log import NAME, BinaryLog
from tfpipeline.serving.server.launch import EVERY_INTERFACE, Place
from tfpipeline.serving.server.model_config import ModelConfig, Specific, to_text
from tfpipeline.serving.server.options import DRAIN_SECONDS, METRICS_PATH, ServerOptions
from tfpipeline.serving.server.program import Program
from tfpipeline.serving.server.relay import Relay
from tfpipeline.serving.server.rollout import Configs, Rollout
from tfpipeline.serving.server.sockets import bind, free_port, join_host_port, listen_error, ready_line
from tfpipeline.serving.server.tls import plain_ports

_TICK_SECONDS = 0.1
_END_SECONDS = 10.0
# The longest path a Unix socket's address can hold is 107 bytes (sockaddr_un).
_LONGEST_SOCKET_PATH = 107


def serve_with_binary(options: ServerOptions, program: Program) -> None:
    """Run the binary until Ctrl-C or SIGTERM; then stop it and return.

    Raises:
        UserError: the address cannot be used, or the binary ended by itself.
    """
    http_port(options)  # is checked before anything starts
    with socket_directory() as directory:
        asyncio.run(_Supervisor(options, program, directory).run())


@contextlib.contextmanager
def socket_directory() -> Iterator[Path]:
    """A private directory with a path short enough for a Unix socket in it."""
    where: Optional[str] = None
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_SOCKET_PATH - 40:
        where = "/tmp"
    with tempfile.TemporaryDirectory(prefix="tfpipeline-serve-", dir=where) as directory:  # mode 0700
        yield Path(directory)


class _Supervisor:
    def __init__(self, options: ServerOptions, program: Program, directory: Path) -> None:
        self._options = options
        self._program = program
        self._directory = directory
        self._rollout = Rollout(options, say, whole_only=True)
        self._log = BinaryLog()
        self._ready = False

    async def run(self) -> None:
        options = self._options
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        relayed = options.host != EVERY_INTERFACE and not self._program.image
        configs = self._rollout.first()
        files = server_files(options, configs)
        listener = bind(options.host, options.port)
        try:
            host, port = listener.getsockname()[:2]
            if not relayed:
                listener.close()  # this was only a check: the server listens itself
            say(f"using {self._program}" + (_relayed(join_host_port(options.host, port)) if relayed else ""))
            place = Place(
                options, host, port, self._program, str(self._directory), container=self._directory.name
            )
            with _signals_set(self._stop, self._hurry):
                await self._serve(listener, place, configs, files, relayed)
            say("stopped")
        finally:
            listener.close()

    async def _serve(
        self,
        listener: socket.socket,
        place: Place,
        configs: Configs,
        files: dict[str, str],
        relayed: bool,
    ) -> None:
        options = self._options
        write_files(files, self._directory)
        http = place.http()
        if http:
            free_port(place.host, http, "--metrics-port" if options.rest_port is None else "--rest-port")
        child = await _start(place.command(configs, files, relayed=relayed, http=http or 0))
        log = asyncio.create_task(self._read_log(child))
        ended = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(self._stop.wait())
        relay = Relay(listener, place.socket_path)
        following: Optional[asyncio.Task[None]] = None
        try:
            with progress(f"starting {', '.join(config.name for config in configs)}", total=1) as step:
                loading = asyncio.create_task(self._wait_until_loaded(configs))
                await asyncio.wait({loading, ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not loading.done():
                    loading.cancel()
                    await asyncio.gather(loading, return_exceptions=True)
                else:
                    step.advance()
            if stopped.done():
                return
            if ended.done():
                await log
                raise self._ended(child)
            loading.result()
            if relayed:
                try:
                    await relay.start()
                except OSError as error:
                    raise listen_error(options.host, place.port, error) from error
            self._tell_ready(configs, place, http)
            following = asyncio.create_task(self._follow(place.mounts(configs)))
            await asyncio.wait({ended, stopped, following}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
            if not stopped.done():
                await log
                raise self._ended(child)
            await self._drain(relay, ended)
        finally:
            for task in (stopped, following):
                if task is not None:
                    task.cancel()
            await _end(child, ended)
            await relay.stop()
            if self._program.image:
                _remove_container(self._program.path, place.container)
            await asyncio.gather(log, *([following] if following else []), return_exceptions=True)

    async def _drain(self, relay: Relay, ended: asyncio.Task[int]) -> None:
        """Let calls in flight finish, which the binary does not: SIGTERM ends it at once."""
        if calls := relay.calls():
            say(f"stopping: {calls} {'call is' if calls == 1 else 'calls are'} being answered")
        draining = asyncio.create_task(relay.drain(DRAIN_SECONDS))
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({draining, hurried, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurried):
            task.cancel()
        await asyncio.gather(draining, hurried, return_exceptions=True)

    async def _wait_until_loaded(self, configs: Configs) -> None:
        """Wait until the server listens, and every version of the configuration is loaded or has failed."""
        while not (self._log.listening and all(map(self._loaded, configs))):
            unknown = self._log.unknown_flag
            if unknown in self._options.flags:
                form = "" if "=" in unknown else f", or it needs a value ({unknown}=VALUE)"
                raise UserError(
                    f"{self._program} has no flag {unknown}{form}; see its flags with {self._program.path} "
                    "--help"
                )
            await asyncio.sleep(_TICK_SECONDS)
        (self._directory / MODELS_FILE).unlink()

    def _loaded(self, config: ModelConfig) -> bool:
        available = self._log.available.get(config.name, set())
        if not isinstance(config.policy, Specific):
            return bool(available)  # the server itself waits for one version
        return all(n in available or (config.name, n) in self._log.failed for n in config.policy.versions)

    def _tell_ready(self, configs: Configs, place: Place, http: Optional[int]) -> None:
        self._ready = True
        for (name, version), reason in sorted(self._log.failed.items()):
            say(f"version {version} of {name} cannot be loaded ({reason}); the others are being served")
        if http:
            where = f"http://{join_host_port(place.host, http)}"
            open_to_all = "" if self._program.image else f" ({NAME} opens this port on every interface)"
            say(f"REST on {where}/v1/models/NAME, metrics on {where}{METRICS_PATH}{open_to_all}")
            if self._options.tls_key is not None:
                say(plain_ports(join_host_port(place.host, http)))
        available = self._log.available
        models = {config.name: sorted(available.get(config.name, ()), reverse=True) for config in configs}
        say(ready_line(models, join_host_port(self._options.host, place.port), NAME))

    async def _follow(self, mounts: list[Path]) -> None:
        """Write what changes on the disk into the polled configuration file."""
        file = self._directory / MODELS_FILE
        written: Optional[Configs] = None
        seconds = self._options.poll_seconds
        while seconds:
            await asyncio.sleep(_TICK_SECONDS if written else seconds)
            if written is None:
                written = self._rollout.next(lambda name: self._log.available.get(name, set()))
                hidden = self._program.image and docker.hidden(written or (), mounts)
                if hidden:
                    self._rollout.refused(f"{hidden} is not mounted into the container: start it again")
                    written = None
                elif written is not None:
                    self._log.forget_change()
                    replace_file(file, to_text(written))
            elif self._log.refused is not None or self._log.applied:
                file.unlink(missing_ok=True)
                if self._log.refused is not None:
                    self._rollout.refused(self._log.refused)
                else:
                    self._rollout.applied(written)
                written = None

    async def _read_log(self, child: asyncio.subprocess.Process) -> None:
        """Show the binary's errors and the versions it loads and unloads."""
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
            if sentence := self._log.read(line, starting=not self._ready):
                say(sentence)

    def _ended(self, child: asyncio.subprocess.Process) -> UserError:
        code = child.returncode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        when = "while it was serving" if self._ready else "before it was ready"
        return UserError(f"{self._program} {how} {when}: {self._log.last_words()}")


def _remove_container(program: Path, name: str) -> None:
    """Remove the container if it outlived the program that ran it."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [str(program), "rm", "--force", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_END_SECONDS,
        )


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


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    """Set ``stop`` on Ctrl-C and SIGTERM, and ``hurry`` on the second, if this process may handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
