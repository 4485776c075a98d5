"""A small server that speaks as much of the Hugging Face hub's API as a download needs, on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories in memory.

    Attributes:
        files: repository -> file name -> content.
        gated: repositories whose files are refused, though they are listed.
        failing: status to answer everything with, or 0.
        cut: whether a file's body ends after half of it.
        requests: "METHOD path" of all requests.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.failing = 0
        self.cut = False
        self.requests: list[str] = []
        self.url = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a GET."""
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        if self.failing:
            return self.failing, {}, b""
        if parts[:2] == ["api", "models"]:
            repository, rest = self._repository(parts[2:])
            if repository is None:
                return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
            files = self.files[repository]
            if rest[:1] == ["tree"]:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": _sha1(data)}
                    for name, data in files.items()
                ]
                return 200, {}, json.dumps(tree).encode()
            if rest[:1] == ["revision"] and rest[1] not in ("main", "v1", COMMIT):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            info = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}
            return 200, {}, json.dumps(info).encode()
        repository, rest = self._repository(parts)
        if repository is None or rest[:1] != ["resolve"]:
            return 404, {}, b""
        if repository in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        data = self.files[repository].get("/".join(rest[2:]))
        if data is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return (
            200,
            {"ETag": f'"{_sha1(data)}"', "X-Repo-Commit": COMMIT, "X-HF-Warning": "t; a warning"},
            data,
        )

    def _repository(self, parts: list[str]) -> tuple[str | None, list[str]]:
        for count in (2, 1):
            if "/".join(parts[:count]) in self.files:
                return "/".join(parts[:count]), parts[count:]
        return None, []


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Answer for a hub until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.cut and "/resolve/" in self.path:
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            else:
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
