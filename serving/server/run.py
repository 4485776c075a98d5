"""`tfpipeline serve`: chooses a server, reports the choice, and runs it until it is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Optional, Union

from tfpipeline import paths
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.runtime import import_tensorflow
from tfpipeline.serving.server import batching_parameters
from tfpipeline.serving.server.binary_command import check_flags
from tfpipeline.serving.server.docker import IMAGE
from tfpipeline.serving.server.options import ServerOptions, make_options
from tfpipeline.serving.server.program import Program
from tfpipeline.serving.server.sockets import free_port, http_line, ready_line
from tfpipeline.serving.server.sources import checked_models
from tfpipeline.serving.server.tls import read_tls

BINARY = "tensorflow_model_server"
DOCKER = "docker"
_TICK_SECONDS = 0.1


def serve(
    models: Union[str, Path, Iterable[Union[str, Path]]] = (),
    *,
    server_binary: Optional[Union[str, Path]] = None,
    docker: bool = False,
    image: Optional[str] = None,
    **options: Any,
) -> None:
    """Serve models over gRPC until Ctrl-C or SIGTERM; then return.

    Uses `tensorflow_model_server` if it is given or on the PATH, otherwise the embedded development server.
    New versions are loaded while it runs; old ones are unloaded once the new version is ready. Labels,
    directories of models and a configuration file are followed.

    Args:
        models: one or several directories: `models/NAME`, which holds integer version directories, or a
            directory of such models.
        server_binary: a `tensorflow_model_server` to use instead of the one on the PATH.
        docker: run it in a container instead.
        image: the container's image; by default tensorflow/serving.
        options: `config`, `name` and the other fields of :class:`ServerOptions`.
    Raises:
        UserError: a directory, a version, an address or a binary cannot be used.
    """
    checked = make_options(models, **options)
    program = _find_program(checked, server_binary, docker, image)
    models_served = checked_models(checked)
    if program is not None:
        from tfpipeline.serving.server.binary import serve_with_binary

        with batching_parameters.chosen(checked, models_served) as batched:
            serve_with_binary(batched, program)
        return
    names = ", ".join(model.name for model in models_served)
    _serve_embedded(batching_parameters.for_embedded(checked, models_served), names)


def print_command(
    models: Union[str, Path, Iterable[Union[str, Path]]] = (),
    *,
    server_binary: Optional[Union[str, Path]] = None,
    docker: bool = False,
    image: Optional[str] = None,
    **options: Any,
) -> str:
    """A shell script that starts the server that :func:`serve` would start.

    Raises:
        UserError: see :func:`serve`; or there is only the embedded server, which has no command.
    """
    checked = make_options(models, **options)
    program = _find_program(checked, server_binary, docker, image, needed=False)
    if program is None:
        raise UserError(
            f"there is no {BINARY} on the PATH whose command could be printed; give --docker or "
            "--server-binary"
        )
    from tfpipeline.serving.server.launch import printed

    with batching_parameters.chosen(checked, checked_models(checked)) as batched:
        return printed(batched, program)


def _find_program(
    options: ServerOptions,
    server_binary: Optional[Union[str, Path]],
    docker: bool,
    image: Optional[str],
    needed: bool = True,
) -> Optional[Program]:
    """The binary or docker; None for the embedded server."""
    check_flags(options.flags)
    if docker:
        if server_binary is not None:
            raise UserError("--docker and --server-binary are two servers; give one of them")
        found = shutil.which(DOCKER)
        if found is None and needed:
            raise UserError(
                f"there is no {DOCKER} on the PATH; install it, or leave --docker out for {BINARY} or the "
                "embedded development server"
            )
        return Program(Path(found) if found and needed else Path(DOCKER), image or IMAGE)
    if image is not None:
        raise UserError("--image is the image of a container; give --docker as well")
    binary = find_binary(server_binary)
    if binary is not None:
        return Program(binary)
    if options.flags:
        raise UserError(
            f"flags after -- can only be given to {BINARY}, which is not on the PATH; give --server-binary "
            "or --docker"
        )
    return None


def find_binary(given: Optional[Union[str, Path]]) -> Optional[Path]:
    """The `tensorflow_model_server` to use, or None for the embedded server.

    Raises:
        UserError: the given one does not exist or cannot be executed.
    """
    if given is None:
        executable = shutil.which(BINARY)
        return Path(executable) if executable else None
    # As in a shell, a bare name is looked up on the PATH; anything with a slash is a path.
    on_path = shutil.which(str(given)) if os.sep not in str(given) else None
    path = Path(on_path) if on_path else paths.local(given)
    if not path.exists():
        raise UserError(
            f"there is no server binary {given}; give the path of {BINARY}, or leave --server-binary out "
            "for the embedded development server"
        )
    if path.is_dir() or not os.access(path, os.X_OK):
        raise UserError(
            f"the server binary {path} cannot be executed; give the path of {BINARY} itself (chmod +x)"
        )
    return path.absolute()


def _serve_embedded(options: ServerOptions, names: str) -> None:
    from tfpipeline.serving.server.embedded import EmbeddedServer

    say(f"no {BINARY} on the PATH: using the embedded development server")
    stop = threading.Event()
    with _stop_on_signals(stop):
        server = EmbeddedServer(options, stopping=stop)
        try:
            # Before TensorFlow's import, which takes seconds.
            read_tls(options.tls_key, options.tls_certificate, options.tls_ca)
            for option, port in options.ports.items():
                free_port(options.host, port, option)
            with progress(f"starting {names}", total=2) as step:
                with explain_missing_extra("serve"):
                    import_tensorflow()
                step.advance()
                server.start()
                step.advance()
            if not stop.is_set():
                if server.metrics_address:
                    say(http_line(server.rest_address, server.metrics_address))
                say(ready_line(server.models(), server.address, "embedded development server"))
                # Event.wait() briefly holds a lock; a signal handler that calls set() at that moment would
                # hang.
                while not stop.is_set():
                    time.sleep(_TICK_SECONDS)
        finally:
            server.stop()
        say("stopped")


@contextlib.contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on Ctrl-C and SIGTERM; a second signal ends the process in the usual way."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the calling program
        return
    before: dict[int, Any] = {}

    def on_signal(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        before[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
