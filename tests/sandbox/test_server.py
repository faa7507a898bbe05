"""The sandbox as a server: what it keeps, drops, logs and lets itself be told."""

import asyncio
import gzip
import json
import socket
import time
from pathlib import Path
from typing import Any, cast

import pytest

from harvester.sandbox.faults.rates import FAULTS, parse_faults
from harvester.sandbox.gate import Gate
from harvester.sandbox.messages import Answer, Request, json_answer
from harvester.sandbox.options import PlannedOutage, SandboxOptions
from harvester.sandbox.page import greeting
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.sandbox.service import SERVICES, ServiceName, StandIn
from tests.folders import ROOT
from tests.sandbox_replay import Got, get, post_json, send_raw

OK = "/paperbuzz/v0/doi/10.5555/ok-1"


def control(sandbox: Sandbox, name: str, value: object) -> Got:
    body = json.dumps(value).encode()
    head = f"POST /_sandbox/{name} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return send_raw(sandbox.port, head.encode() + body, "POST")


def state(sandbox: Sandbox, name: str) -> Any:
    return json.loads(get(sandbox.port, f"/_sandbox/{name}").body)


def test_a_record_is_compressed_only_on_request_and_from_500_bytes_on(sandbox: Sandbox) -> None:
    plain = get(sandbox.port, OK)
    assert "content-encoding" not in plain.headers
    packed = get(sandbox.port, OK, Accept_Encoding="gzip, deflate")
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed.body) == plain.body
    small = get(sandbox.port, "/paperbuzz/v0/", Accept_Encoding="gzip")
    assert "content-encoding" not in small.headers


def test_answers_carry_a_length_and_no_caching_headers(sandbox: Sandbox) -> None:
    headers = get(sandbox.port, OK).headers
    assert headers["server"] == "gunicorn"
    assert int(headers["content-length"]) > 0
    assert not headers.keys() & {"etag", "last-modified", "cache-control", "set-cookie", "transfer-encoding"}


def test_an_idle_connection_is_dropped_without_a_word() -> None:
    with (
        run_in_thread(SandboxOptions(idle_seconds=0.2)) as sandbox,
        socket.create_connection(("127.0.0.1", sandbox.port), timeout=5) as connection,
    ):
        connection.sendall(b"GET /paperbuzz/v0/ HTTP/1.1\r\nHost: t\r\n\r\n")
        assert b"200 OK" in connection.recv(65_536)
        assert connection.recv(65_536) == b""


@pytest.mark.parametrize("mount", ["/paperbuzz/v0/doi/", "/operas/api/uriset/"])
def test_a_request_line_of_4094_bytes_is_the_longest(sandbox: Sandbox, mount: str) -> None:
    service = mount.split("/")[1]
    spare = 4_094 - len(f"GET {mount[len(service) + 1 :]}10.1234/ HTTP/1.1")
    assert get(sandbox.port, f"{mount}10.1234/{'a' * spare}").status != 400
    long = get(sandbox.port, f"{mount}10.1234/{'a' * (spare + 1)}")
    assert (long.status, long.headers["connection"]) == (400, "close")
    assert b"Request Line is too large (4095 &gt; 4094)" in long.body


def test_the_target_is_taken_as_it_comes(sandbox: Sandbox) -> None:
    for suffix in ("a//b", "dots/../up", "a/./b", "<x>;|{}^`[]", "@!*$,~'+&"):
        got = get(sandbox.port, f"/paperbuzz/v0/doi/10.1234/{suffix}")
        assert json.loads(got.body)["doi"] == f"10.1234/{suffix}"


def test_each_request_is_logged_with_what_became_of_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with run_in_thread(SandboxOptions(log_path=path)) as sandbox:
        get(sandbox.port, f"{OK}?email=a")
        get(sandbox.port, "/paperbuzz/v0/doi/10.5555/fault-503")
        token = sandbox.operas.token("demo@example.org")
        post_json(sandbox.port, "/operas/api/uriset", [{"doi": "10.5334/a"}], token)
        first, second, third = sandbox.log
    assert (first.doi, first.path, first.status, first.attempt) == (
        "10.5555/ok-1",
        "/v0/doi/10.5555/ok-1?email=a",
        200,
        1,
    )
    assert (second.status, second.fault) == (503, "503")
    assert (third.service, third.account, third.request_bytes) == ("operas", "demo@example.org", 22)
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_the_log_in_memory_can_be_kept_short() -> None:
    with run_in_thread(SandboxOptions(log_entries=2)) as sandbox:
        for _ in range(3):
            get(sandbox.port, OK)
        assert [entry.attempt for entry in sandbox.log] == [2, 3]
        assert sandbox.log.total == 3
        assert sandbox.quota_violations(2)


def test_a_rate_that_is_not_kept_is_seen() -> None:
    with run_in_thread(SandboxOptions(watch_rate=1.0, watch_burst=2, watch_slack_seconds=0)) as sandbox:
        get(sandbox.port, OK)
        get(sandbox.port, OK)
        assert not sandbox.rate_violations()
        get(sandbox.port, OK)
        (violation,) = sandbox.rate_violations()
        assert violation.count == 3
        assert len(sandbox.quota_violations(2)) == 2


async def test_requests_for_one_doi_at_once_are_noticed_and_may_collide() -> None:
    async with Sandbox(SandboxOptions(latency_seconds=0.05, collide=True)) as sandbox:
        answers = await asyncio.gather(*(asyncio.to_thread(get, sandbox.port, OK) for _ in range(3)))
        assert sorted(answer.status for answer in answers) in ([200, 500, 500], [200, 200, 500])
        assert sandbox.same_doi.most > 1
        assert "10.5555/ok-1" in sandbox.same_doi.offenders
        assert (await asyncio.to_thread(get, sandbox.port, OK)).status == 200


async def test_no_more_are_served_at_a_time_than_there_is_room_for() -> None:
    async with Sandbox(SandboxOptions(latency_seconds=0.03, capacity=2)) as sandbox:
        started = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(get, sandbox.port, f"{OK}{n}") for n in range(6)))
        assert sandbox.gate.most == 2
        assert time.monotonic() - started >= 0.085


async def test_a_gate_that_opens_lets_in_those_who_wait() -> None:
    gate = Gate(1)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set_limit(2)
    await waiting
    assert gate.busy == 2


def test_an_outage_takes_one_service_down_until_it_is_over(sandbox: Sandbox) -> None:
    sandbox.set_outage("paperbuzz")
    down = get(sandbox.port, OK)
    assert (down.status, down.headers["content-type"]) == (503, "text/html")
    assert get(sandbox.port, "/operas/login").status == 200
    sandbox.set_outage("paperbuzz", "refuse")
    with pytest.raises(ConnectionResetError):
        get(sandbox.port, OK)
    sandbox.set_outage("paperbuzz", None)
    assert get(sandbox.port, OK).status == 200


def test_an_outage_can_be_planned() -> None:
    with run_in_thread(SandboxOptions(outages=(PlannedOutage("paperbuzz", 0, 0.3),))) as sandbox:
        assert get(sandbox.port, OK).status == 503
        time.sleep(0.35)
        assert get(sandbox.port, OK).status == 200


def test_days_pass_when_told_and_dois_gain_events(sandbox: Sandbox) -> None:
    path = "/paperbuzz/v0/doi/10.5555/giant-2"
    before = get(sandbox.port, path).body
    assert json.loads(control(sandbox, "advance", {"days": 60}).body) == {"day": 60}
    assert get(sandbox.port, path).body != before


def test_faults_capacity_latency_and_outages_can_be_set_over_http(sandbox: Sandbox) -> None:
    assert control(sandbox, "faults", {"faults": "paperbuzz.502=1"}).status == 200
    assert get(sandbox.port, OK).status == 502
    control(sandbox, "faults", {"faults": ""})
    control(sandbox, "capacity", {"capacity": 3})
    control(sandbox, "latency", {"seconds": 0.01})
    control(sandbox, "outage", {"service": "operas"})
    found = state(sandbox, "state")
    assert (found["capacity"], found["latency_seconds"]) == (3, 0.01)
    assert found["outages"] == {"operas": "503", "paperbuzz": None}
    assert control(sandbox, "faults", {"faults": "nonsense=1"}).status == 400
    assert control(sandbox, "outage", {"service": "nobody"}).status == 400
    assert control(sandbox, "nothing", {}).status == 404


def test_log_and_counts_can_be_read_over_http(sandbox: Sandbox) -> None:
    get(sandbox.port, OK)
    get(sandbox.port, "/operas/login")
    assert [entry["path"] for entry in state(sandbox, "log?service=operas")] == ["/login"]
    assert [entry["number"] for entry in state(sandbox, "log?since=1")] == [2]
    assert state(sandbox, "stats")["by_service"] == {"operas": 1, "paperbuzz": 1}
    assert len(state(sandbox, "violations?rate=0.001&burst=0.5&quota=0")["quota"]) == 2


def test_every_service_has_a_stand_in_under_its_name() -> None:
    services = Sandbox().services
    assert tuple(services) == SERVICES
    assert [stand_in.name for stand_in in services.values()] == list(SERVICES)


class Echo(StandIn):
    """The least that a stand-in has to say."""

    name = cast("ServiceName", "echo")
    title = "Echo"
    api_path = "v1/"
    server_header = "echo"

    async def answer(self, request: Request, attempt: int = 1) -> Answer:
        return json_answer([request.path, attempt])


def test_a_new_stand_in_needs_a_name_and_an_answer_and_the_rest_comes_with_it(sandbox: Sandbox) -> None:
    sandbox.services[Echo.name] = Echo()
    got = [get(sandbox.port, "/echo/v1/x?y=z") for _ in range(2)]
    assert [json.loads(each.body) for each in got] == [["/v1/x", 1], ["/v1/x", 2]]
    assert got[0].headers["server"] == "echo"
    assert [(entry.service, entry.status) for entry in sandbox.log] == [("echo", 200), ("echo", 200)]
    assert state(sandbox, "state")["echo_url"] == f"{sandbox.url}echo/v1/"
    sandbox.set_outage(Echo.name)
    assert get(sandbox.port, "/echo/v1/x").status == 503


def test_two_sandboxes_of_one_seed_say_the_same(sandbox: Sandbox) -> None:
    with run_in_thread() as other:
        assert get(sandbox.port, OK).body == get(other.port, OK).body


def test_json_may_be_indented_and_sources_reordered() -> None:
    with run_in_thread(SandboxOptions(indented=True, reorder=True)) as sandbox:
        path = "/paperbuzz/v0/doi/10.5555/giant-1"
        bodies = [get(sandbox.port, path).body for _ in range(4)]
    assert b'\n  "doi"' in bodies[0]
    orders = {tuple(s["source_id"] for s in json.loads(body)["altmetrics_sources"]) for body in bodies}
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1


def test_its_page_and_its_greeting_say_how_to_use_it(sandbox: Sandbox) -> None:
    page = get(sandbox.port, "/").body.decode()
    for text in (sandbox.paperbuzz_url, sandbox.operas_url, "demo@example.org"):
        assert text in page
        assert text in greeting(sandbox)
    assert all(name in page for name in FAULTS)


def test_a_port_that_is_taken_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"), run_in_thread(SandboxOptions(port=sandbox.port)):
        pass


def test_the_guide_names_every_fault_option_and_control() -> None:
    guide = (ROOT / "docs" / "sandbox.md").read_text()
    names = [*FAULTS, *SandboxOptions.__dataclass_fields__]
    names += [f"/_sandbox/{name}" for name in ("state", "stats", "log", "violations")]
    names += [f"/_sandbox/{name}" for name in ("faults", "advance", "outage", "capacity", "latency")]
    assert [name for name in names if f"`{name}" not in guide] == []


def test_a_sandbox_ends_at_once_even_while_something_hangs() -> None:
    started = time.monotonic()
    with run_in_thread(SandboxOptions(faults=parse_faults("paperbuzz.hang=1"))) as sandbox:
        connection = socket.create_connection(("127.0.0.1", sandbox.port))
        connection.sendall(b"GET /paperbuzz/v0/ HTTP/1.1\r\nHost: t\r\n\r\n")
        time.sleep(0.1)
    connection.close()
    assert time.monotonic() - started < 3
