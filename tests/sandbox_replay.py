"""Recorded requests, read from their curl commands and sent again byte for byte over a plain socket."""

import base64
import http.client
import json
import shlex
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.folders import DATA, SHARED

COPIED = DATA / "records"
RECORDED = SHARED / "data" / "records"
MOUNTS = {"PAPERBUZZ": "/paperbuzz", "OPERAS": "/operas"}


@dataclass
class Recorded:
    """One recorded request and its answer."""

    name: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None
    status: int
    content_type: str
    answer: str
    version: str = "HTTP/1.1"
    user: bool = False


@dataclass
class Got:
    """What the sandbox answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def read_jsonl(path: Path) -> list[dict[str, object]]:
    """All lines of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def read_recorded(line: dict[str, object]) -> Recorded:
    """A line of the recorded answers."""
    recorded = Recorded(
        name=str(line["name"]),
        method="",
        target="",
        headers={"Host": "api.paperbuzz.org", "User-Agent": "curl/7.88.1", "Accept": "*/*"},
        body=None,
        status=int(str(line["status"])),
        content_type=str(line["content_type"]),
        answer=str(line["body"]),
    )
    words = iter(shlex.split(str(line["request"]))[1:])
    for word in words:
        _take(recorded, word, words)
    recorded.method = recorded.method or ("GET" if recorded.body is None else "POST")
    return recorded


def _take(recorded: Recorded, word: str, following: Iterator[str]) -> None:
    if word == "-H":
        name, _, value = next(following).partition(":")
        recorded.headers.pop(name.title(), None)
        recorded.headers[name] = value.strip()
    elif word == "-X":
        recorded.method = next(following)
    elif word == "-I":
        recorded.method = "HEAD"
    elif word in ("-d", "--data-binary"):
        recorded.body = next(following).encode()
        recorded.headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    elif word == "-u":
        next(following)
        recorded.user = True
    elif word == "--http1.0":
        recorded.version = "HTTP/1.0"
    elif word == "--request-target":
        recorded.target = "/paperbuzz" + next(following)
    elif not recorded.target:
        service, slash, path = word.partition("/")
        recorded.target = MOUNTS[service] + slash + path


def basic(email: str, password: str) -> str:
    """Value of the Authorization header."""
    return "Basic " + base64.b64encode(f"{email}:{password}".encode()).decode()


def send(port: int, recorded: Recorded) -> Got:
    """Send it as it stands, on a connection of its own."""
    lines = [f"{recorded.method} {recorded.target} {recorded.version}"]
    lines += [f"{name}: {value}" for name, value in recorded.headers.items()]
    if recorded.body is not None:
        lines.append(f"Content-Length: {len(recorded.body)}")
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    return send_raw(port, head + (recorded.body or b""), recorded.method)


def send_raw(port: int, data: bytes, method: str = "GET") -> Got:
    """Send bytes, read one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        response.close()
    return Got(response.status, headers, body)


def get(port: int, target: str, **headers: str) -> Got:
    """GET a raw target; underscores in header names stand for hyphens."""
    lines = [f"GET {target} HTTP/1.1", "Host: test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return send_raw(port, "\r\n".join([*lines, "Connection: close", "", ""]).encode())


def post_json(port: int, target: str, value: object, token: str) -> Got:
    """POST JSON with a token."""
    body = json.dumps(value).encode()
    head = (
        f"POST {target} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return send_raw(port, head.encode() + body, "POST")
