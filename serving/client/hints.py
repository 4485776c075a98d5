"""What a status' details say beyond its code: a better name for the problem, and advice.

gRPC reports most problems of a connection as UNAVAILABLE; only the words of the details tell them apart. They
are no interface, and differ between releases: the patterns below are those of grpcio 1.62 and 1.85. Details
that match none get the advice of their code, in ``errors.py``.

This module imports nothing but the standard library, so that other programs can use :func:`reason`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Optional


@dataclass(frozen=True)
class Situation:
    """What is known of a call that failed.

    Attributes:
        tls: whether the client encrypts the connection.
        connected: whether there is a connection now; None if that is not known.
        method: the call, by its name in messages.
    """

    tls: bool = False
    connected: Optional[bool] = None
    method: str = "predict"


class Hint(NamedTuple):
    """A problem and advice; where one is empty, that of the status is used."""

    problem: str
    advice: str


_UNREACHED = "cannot be reached"
_RUNNING = "is the server running, and is the address right?"
_REST = "it does not speak gRPC; is this the REST port (8501 by default) instead of the gRPC port (8500)?"
_FIREWALL = (
    "no connection was made in this time; is the address right, is the server running, and does a firewall "
    "let the client through?"
)
_FEWER = "raise timeout, or send fewer texts in a request"

# Status -> (pattern in the details, hint); the first that is found counts.
_HINTS: dict[str, list[tuple[str, Hint]]] = {
    "UNAVAILABLE": [
        (
            r"WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST",
            Hint(
                _UNREACHED, "it does not speak TLS on this port; leave out credentials, or use its TLS port"
            ),
        ),
        (
            r"CERTIFICATE_VERIFY_FAILED.*expired",
            Hint(_UNREACHED, "its certificate has expired; renew it on the server"),
        ),
        (
            r"CERTIFICATE_VERIFY_FAILED",
            Hint(
                _UNREACHED,
                "its certificate is not trusted; give that of the authority that signed it: TLS(root=...)",
            ),
        ),
        (
            r"Hostname Verification|is not in peer certificate",
            Hint(
                _UNREACHED,
                "its certificate is for another name than the target's; give that name: TLS(server_name=...)",
            ),
        ),
        (
            r"create security handshaker",
            Hint(_UNREACHED, "the certificate and the key of TLS(...) do not belong together"),
        ),
        (r"[Hh]andshake failed", Hint(_UNREACHED, "the TLS handshake failed; check TLS(...) of the client")),
        (r"Failed parsing HTTP/2|SETTINGS frame|http1|HTTP/1", Hint(_UNREACHED, _REST)),
        (
            r"HTTP proxy|http_proxy",
            Hint(_UNREACHED, "a proxy is in the way; add the host to no_proxy in the environment"),
        ),
        (
            r"DNS resolution failed|errors resolving|hostname lookup|Domain name not found",
            Hint(_UNREACHED, "its host name is unknown; is it spelt right?"),
        ),
        (r"Connection refused|No such file or directory", Hint(_UNREACHED, _RUNNING)),
        (r"[Ff]ailed to connect|all backends|Connect Failed|connect failed", Hint(_UNREACHED, _RUNNING)),
    ],
    "INVALID_ARGUMENT": [
        (
            r"Missing but required: \{([^}]*,)?adapter[,}]",
            Hint("has a model of several adapters", "name the adapter of each text: adapter=..."),
        ),
        (
            r"Sent extra: \{([^}]*,)?adapter[,}]",
            Hint("has a model without adapters", "leave out adapter"),
        ),
    ],
    "UNIMPLEMENTED": [
        (
            r"http2 header",
            Hint(
                "", "a web server or a proxy answered; check the address, and http_proxy in the environment"
            ),
        ),
    ],
    "RESOURCE_EXHAUSTED": [
        (
            r"SERVER: (Received|Sent) message larger than max",
            Hint(
                "does not take or send messages of this size",
                "send fewer texts in a request, or raise its limit",
            ),
        ),
        (
            r"larger than max",
            Hint(
                "is sent, or sends, a message that is too long",
                "send fewer texts in a request, or raise max_message_bytes",
            ),
        ),
    ],
}
# A connection that ends before it is one. Both kinds of server do so with what they do not understand.
_HANGS_UP = re.compile(
    r"(all backends|[Ff]ailed to connect|failed to connect).*(Socket closed|reset by peer|GOAWAY)"
)


def find(code: str, details: str, situation: Situation) -> Hint:
    """The hint for a status; both parts are empty if its details say nothing more than its code."""
    if code == "DEADLINE_EXCEEDED":
        if situation.connected is False:
            return Hint("was not connected to in {timeout}", _FIREWALL)
        return Hint("", _FEWER if situation.method == "predict" else "")
    if code == "UNIMPLEMENTED" and situation.method == "health":
        return Hint(
            "has no health service",
            "start tensorflow_model_server with --enable_grpc_healthcheck_service, or ask model_status()",
        )
    if code == "NOT_FOUND" and situation.method == "health":
        return Hint("has no such service", 'ask for "", the server as a whole')
    if code == "UNAVAILABLE" and _HANGS_UP.search(details):
        if situation.tls:
            advice = (
                "it ends the TLS connection; does it require a certificate of the client, signed by an "
                "authority that it trusts: TLS(certificate=..., key=...)?"
            )
        else:
            advice = "it ends the connection at once; does it require TLS: credentials=TLS(...)?"
        return Hint(_UNREACHED, advice)
    for pattern, hint in _HINTS.get(code, ()):
        if re.search(pattern, details):
            return hint
    return Hint("", "")


# [[{{node NAME}}]], perhaps with the function's name before it, or [Op:NAME].
_NODE = re.compile(r"\s*(\[\[[^\n]*?\{\{[^\n]*?\}\}[^\n]*?\]\]|\[Op:[^\]\n]*\])")
_FIRST_ROOT = re.compile(r"\(0\) [A-Z_]+: (.*?)(\n\s*\(1\) |\Z)", re.DOTALL)
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]\s*\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def reason(message: str) -> str:
    """What a TensorFlow error says, without what TensorFlow puts around it.

    The names of graph nodes go, and the words "assertion failed" with the brackets around each part of an
    assertion's message: a model's refusal is the sentence that its author wrote.

    Args:
        message: an error's message or a status' details, from any source.
    Returns:
        The part for people; the message itself if nothing is around it.
    """
    if message.startswith("Graph execution error"):  # eager TensorFlow: then where the node was made
        message = message.rpartition("\n\n")[2]
    if "root error(s) found" in message and (first := _FIRST_ROOT.search(message)):
        message = first[1]
    text = _NODE.sub("", message)
    if found := _ASSERTION.search(text):
        sentence = found[1].replace("] [", " ")
        text = re.sub(r"\\([\"'\\ntr])", lambda escape: _ESCAPES.get(escape[1], escape[1]), sentence)
    return text.strip() or message
