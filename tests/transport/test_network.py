"""Through a proxy and with certificates of one's own, over real sockets on loopback."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harvester.config.load import load
from harvester.core.errors import ConnectionLost, Misconfigured, Unreachable
from harvester.core.text.sanitize import masked
from harvester.harvest.from_settings import network
from harvester.transport.aiohttp import AiohttpTransport
from harvester.transport.messages import Request
from harvester.transport.network import Network

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificates")


def certificate(folder: Path, name: str, host: str) -> Path:
    """A certificate that signed itself, with its key in the same file."""
    path = folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    key = folder / f"{name}.key"
    subprocess.run([*command, *names, "-keyout", key, "-out", path], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


@dataclass
class Way:
    """A server that speaks TLS, and a proxy that leads to it whatever it is asked for."""

    proxy: str = ""
    heads: list[bytes] = field(default_factory=list)
    refuses_with: bytes = b""
    shown: list[object] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.shown.append(writer.get_extra_info("peercert"))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def lead(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.refuses_with:
            writer.write(b"HTTP/1.1 " + self.refuses_with + b"\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(carry(reader, back), carry(there, writer))


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
    except OSError:
        pass
    finally:
        target.close()


@asynccontextmanager
async def way(own: Path, trusted: Path | None = None) -> AsyncIterator[Way]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own)
    if trusted:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(trusted)
    made = Way()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    proxy = await asyncio.start_server(lambda *pair: made.lead(port, *pair), "127.0.0.1", 0)
    made.proxy = f"http://jane:s3cret@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        proxy.close()


URL = "https://paperbuzz.test/v0/doi/10.1/a"


class Counting:
    entered = 0

    async def enter(self) -> None:
        self.entered += 1

    def leave(self) -> None:
        pass


@needs_openssl
async def test_two_requests_share_a_tunnel_and_only_they_pass_the_gate(tmp_path: Path) -> None:
    own, gate = certificate(tmp_path, "server", "paperbuzz.test"), Counting()
    async with way(own) as made:
        given = Network(proxy=made.proxy, ca_bundle=own)
        async with AiohttpTransport(gate, connections=1, network=given) as transport:
            for _ in range(2):
                assert (await transport.send(Request("GET", URL, timeout_seconds=20))).body == b"ok"
    assert gate.entered == 2
    [head] = made.heads
    assert head.startswith(b"CONNECT paperbuzz.test:443 ")
    assert b"Proxy-Authorization: Basic amFuZTpzM2NyZXQ=" in head


@needs_openssl
async def test_a_certificate_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    own = certificate(tmp_path, "server", "paperbuzz.test")
    async with way(own) as made, AiohttpTransport(connections=1, network=Network(proxy=made.proxy)) as transport:
        with pytest.raises(ConnectionLost):
            await transport.send(Request("GET", URL, timeout_seconds=20))


@needs_openssl
async def test_a_certificate_of_ones_own_is_shown(tmp_path: Path) -> None:
    own, client = certificate(tmp_path, "server", "paperbuzz.test"), certificate(tmp_path, "client", "press.test")
    async with way(own, trusted=client) as made:
        given = Network(proxy=made.proxy, ca_bundle=own, client_cert=client)
        async with AiohttpTransport(connections=1, network=given) as transport:
            await transport.send(Request("GET", URL, timeout_seconds=20))
    assert made.shown
    assert all(made.shown)


@needs_openssl
async def test_a_proxy_that_refuses_is_named_and_is_no_fault_of_what_is_asked(tmp_path: Path) -> None:
    async with way(certificate(tmp_path, "server", "paperbuzz.test")) as made:
        made.refuses_with = b"407 Proxy Authentication Required"
        async with AiohttpTransport(connections=1, network=Network(proxy=made.proxy)) as transport:
            with pytest.raises(Unreachable, match="the proxy refuses to connect: it answers 407"):
                await transport.send(Request("GET", URL, timeout_seconds=20))


async def test_a_proxy_that_is_not_there_is_named() -> None:
    async with AiohttpTransport(connections=1, network=Network(proxy="http://127.0.0.1:1")) as transport:
        with pytest.raises(Unreachable, match="no connection to the proxy"):
            await transport.send(Request("GET", URL, timeout_seconds=20))


@pytest.mark.parametrize(
    ("url", "is_through"),
    [
        (URL, True),
        ("https://api.press.example/", False),
        ("https://press.example:8443/", False),
        ("https://mypress.example/", True),
        ("http://127.0.0.1:8080/", False),
        ("http://localhost/", False),
    ],
)
def test_who_is_asked_directly(url: str, is_through: bool) -> None:
    given = Network(proxy="http://proxy.example:3128", no_proxy="other.example, .press.example")
    assert (given.proxy_for(url) is not None) == is_through


def test_the_variables_that_other_programs_know_count_unless_there_is_a_setting() -> None:
    environ = {"HTTPS_PROXY": "proxy.example:3128", "NO_PROXY": "a.example", "REQUESTS_CA_BUNDLE": "/ca.pem"}
    found = network(load(None, {}, {}).settings, environ)
    assert found == Network("http://proxy.example:3128", "a.example", Path("/ca.pem"))
    given = load(None, {"HARVESTER_NETWORK__PROXY": "http://jane:hunter22@own.example"}, {}).settings
    assert network(given, environ).proxy == "http://jane:hunter22@own.example"
    assert "hunter22" not in masked("cannot reach jane:hunter22@own.example", 200)


def test_an_address_of_a_proxy_that_is_none_is_told_without_its_password() -> None:
    with pytest.raises(Misconfigured) as told:
        load(None, {"HARVESTER_NETWORK__PROXY": "socks5://jane:hunter22@own.example"}, {})
    assert "hunter22" not in str(told.value)
    with pytest.raises(Misconfigured, match="HTTPS_PROXY"):
        network(load(None, {}, {}).settings, {"HTTPS_PROXY": "socks5://jane:pw@x.example"})


def test_a_bundle_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="ca_bundle"):
        Network(ca_bundle=tmp_path / "none.pem").certificates()
