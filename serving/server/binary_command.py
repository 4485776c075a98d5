"""The command line of `tensorflow_model_server`, and the files that its flags name."""

from __future__ import annotations

import functools
import math
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from google.protobuf import text_format

from tfpipeline.errors import UserError
from tfpipeline.serving.server.declared_messages import BOOL, STRING, declare
from tfpipeline.serving.server.model_config import ModelConfig, to_text
from tfpipeline.serving.server.options import METRICS_PATH, ServerOptions
from tfpipeline.serving.server.tls import read_tls

MODELS_FILE = "models.config"
_TLS_FILE = "ssl.config"
_MONITORING_FILE = "monitoring.config"
_BATCHING_FILE = "batching.config"
#: Flags that are set from options of `serve`, and by which.
_OURS = {
    "port": "--port",
    "grpc_socket_path": "--host",
    "rest_api_port": "--rest-port",
    "model_name": "--name",
    "model_base_path": "the model's directory",
    "model_config_file": "--config",
    "model_config_file_poll_wait_seconds": "--config",
    "grpc_max_threads": "--max-concurrency",
    "ssl_config_file": "--tls-key and --tls-certificate",
    "monitoring_config_file": "--metrics-port",
    "allow_version_labels_for_unavailable_models": "the labels of promote and rollback",
}
_CHANNEL_ARGUMENTS = "grpc_channel_arguments"


def http_port(options: ServerOptions) -> Optional[int]:
    """The port of REST and metrics, which the binary serves together; None for none.

    Raises:
        UserError: two different ports are asked for.
    """
    if None not in (options.rest_port, options.metrics_port) and options.rest_port != options.metrics_port:
        raise UserError(
            f"tensorflow_model_server has its metrics on the REST port ({options.rest_port}), at "
            f"{METRICS_PATH}; leave --metrics-port out"
        )
    return options.metrics_port if options.rest_port is None else options.rest_port


def check_flags(flags: Iterable[str]) -> None:
    """Check flags that are passed through.

    Raises:
        UserError: one does not have the form of a flag, or an option of `serve` sets it.
    """
    for flag in flags:
        name = _name(flag)
        if not flag.startswith("--") or not name.replace("_", "").isalnum():
            raise UserError(
                f'"{flag}" is not a flag of tensorflow_model_server; after "--", write --name=value'
            )
        if name in _OURS:
            raise UserError(f'{flag} cannot be given after "--": it is set from {_OURS[name]}')


def command_line(
    options: ServerOptions,
    binary: Iterable[str],
    *,
    directory: str,
    files: Iterable[str],
    port: int,
    socket_path: str = "",
    http: int = 0,
) -> list[str]:
    """The command that starts the server.

    Args:
        options: what to serve, and how.
        binary: the executable, or a command that ends with it.
        directory: where the server finds the files.
        files: the names of :func:`server_files`.
        port: the TCP port of gRPC on every interface; 0 for none.
        socket_path: a Unix socket to listen on as well.
        http: the port of REST and metrics on every interface; 0 for none.
    """
    theirs = {_name(flag): flag for flag in options.flags}

    def file(name: str) -> str:
        return f"{directory}/{name}" if name in files else ""

    channel = [theirs.pop(_CHANNEL_ARGUMENTS).partition("=")[2]] if _CHANNEL_ARGUMENTS in theirs else []
    if port:
        # Otherwise two servers could share a port without notice and answer alternately.
        channel.append("grpc.so_reuseport=0")
    if options.max_connection_age:
        channel.append(f"grpc.max_connection_age_ms={round(options.max_connection_age * 1000)}")
    flags: dict[str, Any] = {
        "port": port,
        "grpc_socket_path": socket_path,
        "rest_api_port": http,
        "model_config_file": file(MODELS_FILE),
        # Whole seconds; for both, 0 means "check once".
        "model_config_file_poll_wait_seconds": math.ceil(options.poll_seconds),
        "file_system_poll_wait_seconds": math.ceil(options.poll_seconds),
        # At the start, labels point to versions that are still loading.
        "allow_version_labels_for_unavailable_models": "true",
        "grpc_max_threads": options.calls_at_once,
        # By default a version is tried five times, a minute apart: a broken one would look like a hang.
        "load_retry_interval_micros": 2_000_000,
        "enable_grpc_healthcheck_service": "true",
        "ssl_config_file": file(_TLS_FILE),
        "monitoring_config_file": file(_MONITORING_FILE),
        "enable_batching": "true" if file(_BATCHING_FILE) else "",
        "batching_parameters_file": file(_BATCHING_FILE),
        _CHANNEL_ARGUMENTS: ",".join(channel),
    }
    ours = [f"--{flag}={value}" for flag, value in flags.items() if value != "" and flag not in theirs]
    return [*binary, *ours, *theirs.values()]


def server_files(options: ServerOptions, configs: Iterable[ModelConfig]) -> dict[str, str]:
    """The files that the flags name: name -> contents. They may contain a private key.

    Raises:
        UserError: a file of TLS or of batching cannot be used.
    """
    files = {MODELS_FILE: to_text(configs)}
    if http_port(options) is not None:
        monitoring = _messages()["MonitoringConfig"](prometheus_config={"enable": True, "path": METRICS_PATH})
        files[_MONITORING_FILE] = text_format.MessageToString(monitoring)
    tls = read_tls(options.tls_key, options.tls_certificate, options.tls_ca)
    if tls is not None:
        ssl = _messages()["SSLConfig"](
            server_key=tls.key.decode(),
            server_cert=tls.certificate.decode(),
            custom_ca=(tls.ca or b"").decode(),
            client_verify=tls.ca is not None,
        )
        files[_TLS_FILE] = text_format.MessageToString(ssl)
    if options.batching_file is not None:
        try:
            files[_BATCHING_FILE] = options.batching_file.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(
                f"cannot read --batching-file {options.batching_file}: {os.strerror(error.errno or 0)}"
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(
                f"--batching-file {options.batching_file} is not a text file; give TensorFlow Serving's "
                "batching_params.pbtxt"
            ) from error
    return files


def write_files(files: Mapping[str, str], directory: Path) -> None:
    """Write the files into a private directory."""
    for name, content in files.items():
        replace_file(directory / name, content)


def replace_file(path: Path, content: str) -> None:
    """Write a file that the server may read at any time: it sees the old contents or the new ones."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)


def script(options: ServerOptions, command: Iterable[str], directory: str, files: Mapping[str, str]) -> str:
    """The command for a shell, after the commands that write its files into a new directory.

    The private key is not in it: the script reads the key's file when it runs.

    Args:
        options: what the command was made from.
        command: a command line in which the directory is called ``directory``.
        directory: any name that occurs nowhere else.
        files: see :func:`server_files`.
    """
    lines = ["config=$(mktemp -d)  # for its owner only"]
    for name, content in files.items():
        if name == _TLS_FILE:
            lines.append(_tls_script(options, f'"$config/{name}"'))
        else:
            lines += [f"cat > \"$config/{name}\" <<'END'", content.rstrip("\n"), "END"]
    words = (
        '"' + word.replace(directory, "$config") + '"' if directory in word else shlex.quote(word)
        for word in command
    )
    return "\n".join([*lines, "exec " + " \\\n    ".join(words)]) + "\n"


def _tls_script(options: ServerOptions, target: str) -> str:
    pems = {
        "server_key": options.tls_key,
        "server_cert": options.tls_certificate,
        "custom_ca": options.tls_ca,
    }
    fields = [
        f"printf '{field}: \"'; awk '{{printf \"%s\\\\n\", $0}}' {shlex.quote(str(path))}; printf '\"\\n'"
        for field, path in pems.items()
        if path is not None
    ]
    if options.tls_ca is not None:
        fields.append("printf 'client_verify: true\\n'")
    return f"{{ {'; '.join(fields)}; }} > {target}"


def _name(flag: str) -> str:
    return flag.partition("=")[0].lstrip("-")


@functools.lru_cache(maxsize=1)
def _messages() -> dict[str, Any]:
    """Source: config/ssl_config.proto, config/monitoring_config.proto in tensorflow/serving."""
    return declare(
        "tensorflow.serving",
        {
            "SSLConfig": {
                "server_key": (1, STRING),
                "server_cert": (2, STRING),
                "custom_ca": (3, STRING),
                "client_verify": (4, BOOL),
            },
            "PrometheusConfig": {"enable": (1, BOOL), "path": (2, STRING)},
            "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
        },
    )
