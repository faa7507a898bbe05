"""Promise G9: password, token and Basic value are written nowhere, the e-mail address only masked.

Canaries go through every way in which the tool can fail, as a process of its own; then everything it wrote is searched:
what it printed, every file it left, packed or not, the ledger with its write-ahead log, and its command line. Where the
user asks for the address itself (`config show`, `check`) it is shown; the other secrets never are.
"""

import base64
import gzip
import html
import itertools
import json
import re
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import pytest
import zstandard

from harvester.core.failpoint import VARIABLE
from harvester.sandbox.faults.rates import Faults, chance, faults_of
from harvester.sandbox.options import Account, SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.tool import Tool, dois

PASSWORD = "Qkiwi7\"\\%41 ü+/=<&>'~~~???>>>lemonZ9"
"""Every character that one encoding or another writes differently, between two words that none of them does."""

EMAIL = "walnutmail+o'neil@press.example"
ACCOUNT = "almondmail+operas@press.example"
UNAPPROVED = "pecanmail@press.example"
BASIC = base64.b64encode(f"{ACCOUNT}:{PASSWORD}".encode()).decode()
assert set("+/=") & set(BASIC), "the Basic value has to change when it is encoded"

OUTPUTS = ("one.jsonl", "two.jsonl.gz", "three.jsonl.zst")
STICKY_RATE = 0.9
WINDOW = 12
"""So many characters of a token or a Basic value are a leak."""

Form = Callable[[str], str]

FORMS: dict[str, Form] = {
    "plain": str,
    "url": lambda text: quote(text, safe=""),
    "url with slashes": quote,
    "form": quote_plus,
    "url twice": lambda text: quote(quote(text, safe=""), safe=""),
    "json": lambda text: json.dumps(text)[1:-1],
    "json in unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "html": html.escape,
}
"""How a server may write what it was sent."""


# The search


def windows(secret: str) -> Iterator[str]:
    """Pieces of a secret, of which any leak of twice their length holds one whole."""
    yield from (secret[start : start + WINDOW] for start in range(0, len(secret) - WINDOW + 1, WINDOW))


@dataclass
class Canaries:
    """What must not be found.

    Args:
        tokens: that were given out.
    """

    tokens: list[str] = field(default_factory=list)

    def found_in(self, data: bytes, *, email_too: bool = True) -> set[str]:
        """Names of the secrets that stand in some bytes, in whatever encoding."""
        text = data.decode("utf-8", "replace")
        text += unquote(unquote(text)) if "%" in text else ""
        found = {f"password ({word})" for word in ("Qkiwi7", "lemonZ9") if word in text}
        values = {"Basic": {BASIC, *(form(BASIC) for form in FORMS.values())}, "token": set(self.tokens)}
        for name, secrets in values.items():
            if any(piece in text for secret in secrets for piece in windows(secret)):
                found.add(name)
        if email_too:
            found |= {word for word in ("walnutmail", "almondmail", "pecanmail") if word in text.lower()}
        return found


def unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """A file's bytes, and what is in them if it is packed or a database."""
    data = path.read_bytes()
    yield path.name, data
    if data.startswith(b"\x1f\x8b"):
        rest = data
        while rest.startswith(b"\x1f\x8b"):  # members may be torn: a run was killed
            unpacker = zlib.decompressobj(31)
            yield f"{path.name} unpacked", unpacker.decompress(rest)
            rest = unpacker.unused_data
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        with path.open("rb") as file:
            yield (
                f"{path.name} unpacked",
                zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read(),
            )
    if data.startswith(b"SQLite format 3\0"):
        # A copy: looking into the file itself would check its log in.
        copy = path.parent / "searched" / path.name
        copy.parent.mkdir(exist_ok=True)
        for name in (path.name, f"{path.name}-wal"):
            if (path.parent / name).exists():
                copy.with_name(name).write_bytes((path.parent / name).read_bytes())
        with closing(sqlite3.connect(copy)) as ledger:
            yield f"{path.name} dumped", "\n".join(ledger.iterdump()).encode("utf-8", "surrogateescape")


@dataclass
class Watched:
    """The tool with canaries for secrets, and all that it said.

    Args:
        tool: runs it.
        canaries: what it must not say.
        said: what it printed, by command.
        searched: how many texts and files were looked at.
    """

    tool: Tool
    canaries: Canaries
    said: list[tuple[str, bytes, bool]] = field(default_factory=list)
    searched: int = 0

    def __call__(self, *arguments: str, email_is_asked_for: bool = False) -> "subprocess.CompletedProcess[str]":
        run = self.tool(*arguments)
        self.heard(run, *arguments, email_is_asked_for=email_is_asked_for)
        return run

    def heard(self, run: "subprocess.CompletedProcess[str]", *arguments: str, email_is_asked_for: bool = False) -> None:
        """Remember what was printed; on stderr the address is never asked for."""
        self.said.append((f"stdout of {' '.join(arguments)}", run.stdout.encode(), not email_is_asked_for))
        self.said.append((f"stderr of {' '.join(arguments)}", run.stderr.encode(), True))

    def leaks(self) -> list[str]:
        """Where a canary was found, in all that was said and written until now."""
        found = []
        files = [path for path in self.tool.folder.rglob("*") if path.is_file() and "searched" not in path.parts]
        written = [(name, data, True) for path in files for name, data in unpacked(path)]
        for name, data, email_too in self.said + written:
            self.searched += 1
            found += [f"{what} in {name}" for what in self.canaries.found_in(data, email_too=email_too)]
        assert self.searched
        return found


def watched(folder: Path, sandbox: Sandbox, canaries: Canaries) -> Watched:
    environment = {
        "HARVESTER_PAPERBUZZ__EMAIL": EMAIL,
        "HARVESTER_PAPERBUZZ__PATIENCE": "0.2",
        "HARVESTER_PAPERBUZZ__MAX_ATTEMPTS": "1",
        "HARVESTER_OPERAS__EMAIL": ACCOUNT,
        "HARVESTER_OPERAS__PASSWORD": PASSWORD,
        "HARVESTER_LOG__LEVEL": "debug",
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "PYTHONUTF8": "1",
    }
    return Watched(Tool(folder, sandbox, environment), canaries)


def options_whose_tokens_are_given() -> SandboxOptions:
    """With `sticky` faults at `STICKY_RATE` the request for a token meets none."""
    path = "/api/get_token"
    seed = next(seed for seed in itertools.count(1) if chance(seed, "operas", path, 0) >= STICKY_RATE)
    accounts = (Account(ACCOUNT, PASSWORD), Account(UNAPPROVED, PASSWORD, approved=False))
    return SandboxOptions(seed=seed, accounts=accounts, size_scale=0.1)


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with run_in_thread(options_whose_tokens_are_given()) as running:
        yield running


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    yield running
    running.set_faults(Faults())
    running.set_outage("operas", None)
    running.latency_seconds = 0


@pytest.fixture
def canaries(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Canaries:
    """All tokens are remembered as they are given out."""
    seen, issue = Canaries(), sandbox.operas.token

    def token(email: str, **claims: object) -> str:
        seen.tokens.append(issue(email, **claims))
        return seen.tokens[-1]

    monkeypatch.setattr(sandbox.operas, "token", token)
    return seen


@pytest.fixture
def harvester(tmp_path: Path, sandbox: Sandbox, canaries: Canaries) -> Iterator[Watched]:
    made = watched(tmp_path, sandbox, canaries)
    yield made
    made.tool.close()


def test_the_search_finds_each_secret_wherever_it_is_hidden(tmp_path: Path, sandbox: Sandbox) -> None:
    """A search that finds nothing proves nothing by itself."""
    canaries = Canaries([sandbox.operas.token(ACCOUNT)])
    secrets = {"password": PASSWORD, "Basic": BASIC, "token": canaries.tokens[0], "almondmail": ACCOUNT}
    for name, secret in secrets.items():
        for form in FORMS.values():
            text = f"before {form(secret)} after".encode()
            (tmp_path / "plain").write_bytes(text)
            (tmp_path / "a.gz").write_bytes(gzip.compress(b"one") + gzip.compress(text)[:-6])
            (tmp_path / "a.zst").write_bytes(zstandard.compress(b"one") + zstandard.compress(text))
            for path in tmp_path.iterdir():
                assert any(name in what for _, data in unpacked(path) for what in canaries.found_in(data)), path
    folder = tmp_path / "database"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "ledger")) as ledger:
        ledger.executescript("PRAGMA journal_mode = WAL; CREATE TABLE a (b)")
        ledger.execute("INSERT INTO a VALUES (?)", ("x" * 5_000 + PASSWORD,))
        ledger.commit()
        hidden = [name for path in folder.iterdir() for name, data in unpacked(path) if canaries.found_in(data)]
    assert {"ledger-wal", "ledger dumped"} <= set(hidden)


# The sandbox's faults


@pytest.mark.parametrize(
    ("name", "form"), list(zip(faults_of("operas"), itertools.cycle(["text", "json"]), strict=False))
)
def test_no_fault_of_operas_makes_a_secret_show(harvester: Watched, sandbox: Sandbox, name: str, form: str) -> None:
    """Each fault where a batch is sent, and where a token is asked for."""
    harvester.tool.extra["HARVESTER_LOG__FORMAT"] = form
    sandbox.set_faults(Faults({f"operas.{name}": STICKY_RATE}, sticky=True, retry_after_seconds=0, slow_seconds=0.05))
    given = sandbox.operas.tokens_issued
    run = harvester("register", harvester.tool.write("dois.txt", dois(3)), "--batch-size", "1")
    assert run.returncode in (0, 12, 69), run.stderr
    assert sandbox.operas.tokens_issued > given
    sandbox.set_faults(Faults({f"operas.{name}": 1.0}, retry_after_seconds=0, slow_seconds=0.05))
    harvester("check", "--register", email_is_asked_for=True)
    assert sandbox.log.faults[f"operas {name}"] > 1
    assert harvester.leaks() == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_fault_of_paperbuzz_makes_a_secret_show(harvester: Watched, sandbox: Sandbox, form: str) -> None:
    harvester.tool.extra |= {
        "HARVESTER_LOG__FORMAT": form,
        "HARVESTER_PAPERBUZZ__TIMEOUT": "0.5",
        "HARVESTER_PAPERBUZZ__MAX_BODY": "2 MiB",
        **({"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"} if form == "json" else {}),
    }
    sandbox.set_faults(Faults(retry_after_seconds=0, slow_seconds=0.2, bomb_bytes=5_000_000))
    names = faults_of("paperbuzz", with_timeouts=True)
    listed = dois(100) + [f"10.5555/fault-{name}" for name in names]
    run = harvester("run", harvester.tool.write("dois.txt", listed), "-o", "out.jsonl", "--concurrency", "64")
    assert run.returncode in (0, 69), run.stderr
    assert {f"paperbuzz {name}" for name in names} <= sandbox.log.faults.keys()
    for command in (("status", "out.jsonl"), ("verify", "out.jsonl", "--deep")):
        harvester(*command)
    assert harvester.leaks() == []


# Wrong and refused


@pytest.mark.parametrize("wrong", ["password", "account", "approval", "base_url"])
def test_refused_credentials_are_not_repeated(harvester: Watched, sandbox: Sandbox, wrong: str) -> None:
    harvester.tool.extra |= {
        "password": {"HARVESTER_OPERAS__PASSWORD": PASSWORD + "x"},
        "account": {"HARVESTER_OPERAS__EMAIL": f"no.{ACCOUNT}"},
        "approval": {"HARVESTER_OPERAS__EMAIL": UNAPPROVED},
        "base_url": {"HARVESTER_OPERAS__BASE_URL": sandbox.operas_url + "/nowhere"},
    }[wrong]
    listed = harvester.tool.write("dois.txt", dois(3))
    runs = [
        harvester("run", listed, "-o", "out.jsonl", "--register"),
        harvester("register", listed),
        harvester("registered"),
        harvester("check", "--register", email_is_asked_for=True),
    ]
    assert {run.returncode for run in runs} == {78 if wrong == "base_url" else 12}
    assert harvester.leaks() == []


def test_a_password_from_a_file_is_kept_as_well(harvester: Watched, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = tmp_path_factory.mktemp("private") / "password"
    kept.write_text(PASSWORD + "\n", encoding="utf-8")
    harvester.tool.without.append("HARVESTER_OPERAS__PASSWORD")
    harvester.tool.extra["HARVESTER_OPERAS__PASSWORD_FILE"] = str(kept)
    assert harvester("register", harvester.tool.write("dois.txt", dois(3))).returncode == 0
    shown = harvester("config", "show", email_is_asked_for=True)
    assert str(kept) in shown.stdout
    assert harvester.leaks() == []


def test_what_only_looks_shows_no_secret_and_the_address_only_where_it_is_asked_for(harvester: Watched) -> None:
    listed = harvester.tool.write("dois.txt", [*dois(20), "10.5555/500-1"])
    for output in OUTPUTS:
        assert harvester("run", listed, "-o", output, "--register").returncode == 0
        assert harvester("status", output).returncode == 0
        assert harvester("verify", output, "--deep").returncode == 0
    assert harvester("status", OUTPUTS[0], "--json").returncode == 0
    assert harvester("verify", OUTPUTS[0], "--json").returncode == 0
    assert harvester("run", listed, "-o", "other.jsonl", "--dry-run").returncode == 0
    assert harvester("run", listed, "-o", "-").returncode == 0
    assert len(harvester("registered").stdout.splitlines()) >= 20
    for look in (("config", "show"), ("check", "--offline", "--register"), ("check", "--register")):
        shown = harvester(*look, email_is_asked_for=True)
        assert shown.returncode == 0
        assert EMAIL in shown.stdout
    assert harvester.leaks() == []


# The command line, kills, bugs


def test_no_secret_stands_in_the_command_line_of_a_run_nor_in_what_a_kill_leaves(
    harvester: Watched, sandbox: Sandbox
) -> None:
    sandbox.latency_seconds = 0.05
    listed = harvester.tool.write("dois.txt", dois(300))
    for output in OUTPUTS:
        partial = harvester.tool.folder / f"{output}.partial"
        command = ("run", listed, "-o", output, "--register", "--batch-size", "10")
        process = harvester.tool.start(*command)
        wait_until(lambda path: path.exists() and path.stat().st_size > 0, partial)
        lines = [path.read_bytes() for path in Path("/proc").glob(f"{process.pid}/task/*/comm")]
        lines += [Path(f"/proc/{process.pid}/cmdline").read_bytes()]
        assert process.poll() is None
        process.kill()
        stdout, stderr = process.communicate()
        harvester.said += [("its command line", line, True) for line in lines]
        harvester.heard(subprocess.CompletedProcess(command, -9, stdout, stderr), *command)
        assert (harvester.tool.folder / f"{output.partition('.')[0]}.ledger-wal").exists()
    assert harvester.leaks() == []


@pytest.mark.parametrize("place", ["mid-write", "after-sync", "in-transaction", "after-post", "settled", "published"])
def test_no_place_where_a_run_is_killed_leaves_a_secret(harvester: Watched, place: str) -> None:
    harvester.tool.extra[VARIABLE] = place
    listed = harvester.tool.write("dois.txt", dois(30))
    run = harvester("run", listed, "-o", "out.jsonl", "--register", "--batch-size", "10")
    assert run.returncode == -9, run.stderr
    assert harvester.leaks() == []


WITH_A_BUG = """
import asyncio, os, sys
from urllib.parse import quote
from harvester.transport import aiohttp as transport
from harvester.cli import main

exchange = transport.AiohttpTransport._exchange
where = sys.argv.pop(1)

async def forgotten(message):
    raise RuntimeError(f"forgotten {message}")

async def broken(self, request, *deadline):
    if where not in request.url:
        return await exchange(self, request, *deadline)
    authorization = request.headers.get("Authorization", "")
    value, password = authorization.partition(" ")[2], os.environ["HARVESTER_OPERAS__PASSWORD"]
    shown = (request, dict(request.headers), request.url, [value], quote(authorization), password, quote(password))
    task = asyncio.create_task(forgotten(shown))
    await asyncio.sleep(0)
    del task
    asyncio.get_running_loop().call_exception_handler({"message": f"odd: {shown}", "request": shown})
    raise RuntimeError(f"{shown}\\n{value}\\n{password}")

transport.AiohttpTransport._exchange = broken
main()
"""
"""The tool with a bug in the middle of a request, which tells all it knows."""


@pytest.mark.parametrize(("where", "form"), [("/get_token", "text"), ("/uriset", "json"), ("/doi/", "text")])
def test_a_bug_of_ours_shows_a_traceback_without_secrets(harvester: Watched, where: str, form: str) -> None:
    harvester.tool.extra |= {"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1", "HARVESTER_LOG__FORMAT": form}
    listed = harvester.tool.write("dois.txt", dois(3))
    for command in (("run", listed, "-o", "out.jsonl", "--register"), ("check", "--register"), ("registered",)):
        run = subprocess.run(
            [sys.executable, "-c", WITH_A_BUG, where, *command],
            cwd=harvester.tool.folder,
            env=harvester.tool.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        harvester.heard(run, *command, email_is_asked_for=command[0] == "check")
        if command[0] == "run":
            assert "Traceback" in run.stderr
            assert "forgotten" in run.stderr
            assert "odd:" in run.stderr
            assert run.returncode == 1
    assert harvester.leaks() == []


def wait_until(condition: Callable[[Path], bool], path: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition(path):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


# A server that repeats what it was sent


@dataclass(frozen=True)
class Heard:
    """A request as it came.

    Args:
        method: GET or POST.
        target: as on the wire.
        head: everything before the body.
        body: of a POST.
    """

    method: str
    target: str
    head: str
    body: bytes

    @property
    def credentials(self) -> list[str]:
        """The Authorization header as it came, its value, and what a server reads from a Basic value."""
        given = re.search(r"(?im)^authorization: (\S+) (\S+)", self.head)
        if given is None:
            return [""] * 3
        is_basic = given[1].lower() == "basic"
        return [given[0], given[2], base64.b64decode(given[2]).decode() if is_basic else ""]


class Parrot(socketserver.ThreadingTCPServer):
    """Answers with whatever bytes it is told to make of a request."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer: Callable[[Heard], bytes]) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", 0), _Hearing)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Hearing(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Parrot)
        lines = list(iter(self.rfile.readline, b"\r\n"))
        if not lines or b"" in lines:
            return
        head = b"".join(lines).decode()
        length = re.search(r"(?im)^content-length: (\d+)", head)
        method, target, _ = head.split(" ", 2)
        heard = Heard(method, target, head, self.rfile.read(int(length[1])) if length else b"")
        self.wfile.write(self.server.answer(heard))


@contextmanager
def parrot(answer: Callable[[Heard], bytes]) -> Iterator[str]:
    with Parrot(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def answer(status: int | str, body: str = "", **headers: str) -> bytes:
    data = body.encode("utf-8", "replace")
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(data)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + data


def header_safe(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


PARROTS: dict[str, Callable[[str], bytes]] = {
    "a body": lambda said: answer(500, f"<p>Headers: {said}</p>"),
    "a refusal": lambda said: answer(401, f"<p>Headers: {said}</p>"),
    "a ban": lambda said: answer(403, f"<p>Headers: {said}</p>"),
    "good JSON": lambda said: answer(200, json.dumps({"said": said, "doi": said}), Content_Type="application/json"),
    "a token": lambda said: answer(200, f"eyJhbGciOiJIUzI1NiJ9.{said}.x", Content_Type="text/html"),
    "a redirect": lambda said: answer(302, Location=f"http://sso.example/?next={header_safe(said)}"),
    "a content type": lambda said: answer(200, "x", Content_Type=header_safe(said)),
    "a pause": lambda said: answer(503, "x", Retry_After=header_safe(said)),
    "no HTTP": lambda said: answer(f"4x1 {header_safe(said)}"),
    "a broken header": lambda said: answer(200, **{f"X y\x01{header_safe(said)}": "x"}),
}
"""Where a server may repeat what it was sent, in answers that a server can give."""


def told(target: str) -> tuple[str, Form, int]:
    """Place, form and number of the secret that the client's base URL asks for."""
    _, place, form, number, *_ = target.split("/")
    return unquote(place), FORMS[unquote(form)], int(number)


def repeating(secrets: Callable[[Heard], Sequence[str]], *, after_the_token: bool) -> Callable[[Heard], bytes]:
    """A server whose base URLs say where it repeats which secret, and written how.

    One secret at a time: what is shown of an answer is cut after some words.
    """

    def repeated(heard: Heard) -> bytes:
        if after_the_token and "/get_token" in heard.target:
            return answer(200, TOKEN)
        place, form, number = told(heard.target)
        return PARROTS[place](form(secrets(heard)[number]))

    return repeated


def parrot_token() -> str:
    now = int(time.time())
    claims = json.dumps({"sub": f"acct:{ACCOUNT}", "email": ACCOUNT, "iat": now, "exp": now + 86_400})
    parts = (json.dumps({"alg": "HS256"}), claims, "a signature that is long enough")
    return ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)


TOKEN = parrot_token()

MANY_TIMES = """
import os, sys
from harvester.cli import main

variable, command, *urls = sys.argv[1:]
for number, url in enumerate(urls):
    print("==>", url, file=sys.stderr, flush=True)
    os.environ[variable] = url
    sys.argv = [each.replace("NUMBER", str(number)) for each in ["harvester", *command.split()]]
    try:
        main()
    except SystemExit as end:
        print("<==", end.code, file=sys.stderr, flush=True)
"""
"""The tool, started many times in one process, each time with another base URL."""


def many_times(
    harvester: Watched,
    variable: str,
    command: str,
    url: str,
    place: str,
    *,
    secrets: int,
    email_is_asked_for: bool = False,
) -> int:
    """Run a command against each form of each secret in a place; returns how often it ended badly, as it should."""
    urls = [f"{url}{quote(place)}/{quote(form)}/{number}/" for form in FORMS for number in range(secrets)]
    run = subprocess.run(
        [sys.executable, "-c", MANY_TIMES, variable, command, *urls],
        cwd=harvester.tool.folder,
        env=harvester.tool.environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    for part in run.stderr.split("==> ")[1:]:
        harvester.said.append((f"stderr for {part.split()[0].removeprefix(url)}", part.encode(), True))
    harvester.said.append((f"stdout of {command}", run.stdout.encode(), not email_is_asked_for))
    assert run.stderr.count("<== ") == len(urls), run.stderr[-2000:]
    assert "bug in harvester" not in run.stderr
    return run.stderr.count("<== ") - run.stderr.count("<== 0")


@pytest.mark.parametrize("place", PARROTS)
def test_an_operas_that_repeats_what_it_is_sent_in_place_of_a_token_gives_nothing_away(
    harvester: Watched, place: str
) -> None:
    """The header, the Basic value, and address and password as they are read from it."""
    with parrot(repeating(lambda heard: heard.credentials, after_the_token=False)) as url:
        many_times(harvester, "HARVESTER_OPERAS__BASE_URL", "registered --log-level debug", url, place, secrets=3)
    assert harvester.leaks() == []


@pytest.mark.parametrize("place", PARROTS)
def test_an_operas_that_repeats_what_it_is_sent_in_place_of_an_acknowledgement_gives_nothing_away(
    harvester: Watched, place: str
) -> None:
    harvester.canaries.tokens.append(TOKEN)
    harvester.tool.extra |= {"HARVESTER_PAPERBUZZ__PATIENCE": "0.01", "HARVESTER_OPERAS__RATE": "100000"}
    listed = harvester.tool.write("dois.txt", dois(1))
    with parrot(repeating(lambda heard: heard.credentials, after_the_token=True)) as url:
        command = f"register {listed} --ledger NUMBER.ledger"
        bad = many_times(harvester, "HARVESTER_OPERAS__BASE_URL", command, url, place, secrets=2)
    assert bad == len(FORMS) * 2
    assert harvester.leaks() == []


@pytest.mark.parametrize("place", PARROTS)
def test_a_paperbuzz_that_repeats_the_address_gives_it_masked(harvester: Watched, place: str) -> None:
    harvester.tool.extra["HARVESTER_PAPERBUZZ__PATIENCE"] = "0.01"
    listed = harvester.tool.write("dois.txt", dois(1))
    with parrot(repeating(lambda heard: [heard.target], after_the_token=False)) as url:
        command = f"run {listed} -o NUMBER.jsonl"
        many_times(harvester, "HARVESTER_PAPERBUZZ__BASE_URL", command, url, place, secrets=1)
        many_times(
            harvester,
            "HARVESTER_PAPERBUZZ__BASE_URL",
            "check",
            url,
            place,
            secrets=1,
            email_is_asked_for=True,
        )
    assert harvester.leaks() == []
