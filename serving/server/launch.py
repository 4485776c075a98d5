"""How `tensorflow_model_server` is launched: by itself or in a container, run here or printed for a shell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tfpipeline.console import say
from tfpipeline.serving.server import docker
from tfpipeline.serving.server.binary_command import command_line, http_port, script, server_files
from tfpipeline.serving.server.binary_log import NAME
from tfpipeline.serving.server.options import ServerOptions
from tfpipeline.serving.server.program import Program
from tfpipeline.serving.server.rollout import Configs, Rollout
from tfpipeline.serving.server.sockets import bind, free_port

EVERY_INTERFACE = "0.0.0.0"


@dataclass(frozen=True)
class Place:
    """Where a server listens and reads its files.

    Args:
        options: what to serve, and how.
        host: the address to listen on, in numbers.
        port: the gRPC port.
        program: what runs the server.
        directory: where its files are.
        container: the name of its container; empty for one that docker chooses.
    """

    options: ServerOptions
    host: str
    port: int
    program: Program
    directory: str
    container: str = ""

    @property
    def socket_path(self) -> str:
        return f"{self.directory}/grpc.sock"

    def http(self) -> Optional[int]:
        """The port of REST and metrics; None for none."""
        port = http_port(self.options)
        return free_port(self.host, 0) if port == 0 else port

    def mounts(self, configs: Configs) -> list[Path]:
        """The directories of models that a container sees."""
        return docker.outermost([*self.options.model_dirs, *(config.base_path for config in configs)])

    def command(self, configs: Configs, files: dict[str, str], *, relayed: bool, http: int = 0) -> list[str]:
        """The command that starts the server.

        Args:
            configs: the first configuration.
            files: see :func:`server_files`.
            relayed: whether gRPC listens on :attr:`socket_path` only.
            http: the port of REST and metrics, if it was chosen before.
        """
        options, program = self.options, self.program
        http = http or self.http() or 0
        if not program.image:
            return command_line(
                options,
                [str(program.path)],
                directory=self.directory,
                files=files,
                port=0 if relayed else self.port,
                socket_path=self.socket_path if relayed else "",
                http=http,
            )
        container = docker.docker_command(
            str(program.path),
            program.image,
            name=self.container,
            host=self.host,
            port=self.port,
            http=http or None,
            read=[*map(str, self.mounts(configs)), self.directory],
        )
        return command_line(
            options,
            container,
            directory=self.directory,
            files=files,
            port=docker.PORT,
            http=docker.HTTP_PORT if http else 0,
        )


def printed(options: ServerOptions, program: Program) -> str:
    """A shell script that starts the same server without this process: it does not follow labels.

    Raises:
        UserError: the models, an address or a file cannot be used.
    """
    directory = "@config@"
    configs = Rollout(options, say, whole_only=True, once=True).first()
    files = server_files(options, configs)
    with bind(options.host, 0) as listener:
        host, free = listener.getsockname()[:2]
    place = Place(options, host, options.port or free, program, directory)
    command = place.command(configs, files, relayed=False)
    warning = ""
    if not program.image and options.host != EVERY_INTERFACE:
        warning = (
            f"# {NAME} listens on every interface: {options.host} needs tfpipeline serve, or a firewall.\n"
        )
    return warning + script(options, command, directory, files)
