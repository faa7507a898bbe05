"""Logs: one event a line, safe for a terminal, without secrets, in two forms."""

import io
import logging
from collections.abc import Iterator

import orjson
import pytest

from harvester.core.text import sanitize as text
from harvester.monitoring import logs

log = logging.getLogger("harvester")


class Lines(io.StringIO):
    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    @property
    def events(self) -> list[dict[str, object]]:
        return [orjson.loads(text) for text in self.lines]


def ours() -> logging.Handler:
    """The handler that `configure` made; pytest's own would raise where it must not."""
    return next(
        handler for handler in logging.getLogger().handlers if type(handler).__module__ == "harvester.monitoring.logs"
    )


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setattr(text, "_hidden", {})
    yield Lines()
    logs.release()


def test_a_text_line_is_time_level_and_message(out: Lines) -> None:
    logs.configure(form="text", level="info", stream=out)
    log.warning("%d works wait", 3)
    log.info("going on")
    assert [text[8:] for text in out.lines] == [" warning: 3 works wait", " going on"]
    assert out.lines[0][2] == out.lines[0][5] == ":"


def test_a_json_line_has_stable_keys_first_and_extra_fields_in_their_own_types(out: Lines) -> None:
    logs.configure(form="json", level="info", stream=out)
    extra = {"doi": "10.5334/bbc", "attempts": 3, "rate": 0.5, "ok": True, "none": None, "big": 2**70, "list": [1]}
    log.warning("slow", extra=extra)
    event = out.events[0]
    assert list(event)[:4] == ["time", "level", "logger", "message"]
    assert str(event.pop("time")).endswith("Z")
    assert event == {"level": "warning", "logger": "harvester", "message": "slow"} | extra | {
        "big": str(2**70),
        "list": "[1]",
    }


def test_extra_fields_cannot_take_the_names_of_ours(out: Lines) -> None:
    logs.configure(form="json", level="info", stream=out)
    log.warning("true", extra={"time": "never", "level": "fake", "logger": "fake", "traceback": "mine"})
    assert (out.events[0]["level"], out.events[0]["logger"]) == ("warning", "harvester")
    assert out.events[0]["time"] != "never"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_servers_text_can_neither_begin_a_line_nor_move_the_cursor(out: Lines, form: str) -> None:
    logs.configure(form=form, level="info", stream=out)
    told = ("a\r\n12:00:00 fake\x1b[2J\u2028\udc80",)
    doi = {"doi": "\x1b[2J"}
    record = log.makeRecord("harvester", logging.WARNING, __file__, 1, "title: %s", told, None, extra=doi)
    ours().handle(record)
    assert len(out.lines) == 1
    assert "\x1b" not in out.getvalue()
    assert "\\x1b[2J" in out.getvalue().replace("\\\\", "\\")


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_addresses_and_tokens_are_masked_in_messages_fields_and_tracebacks(out: Lines, form: str) -> None:
    logs.configure(form=form, level="info", stream=out)
    text.hide('hun"ter/2ü')
    try:
        raise RuntimeError('password hun"ter/2ü')
    except RuntimeError:
        log.exception("%r of jane@press.example", 'hun"ter/2ü', extra={"url": "https://h/?p=hun%22ter%2F2%C3%BC"})
    log.warning("Bearer abc.def and eyJhbGciOi.eyJzdWIi.x", extra={"body": '{"p": "hun\\"ter/2\\u00fc"}'})
    for secret in ("hun", "ter/2", "er%2F", "jane@", "abc.def", "eyJ"):
        assert secret not in out.getvalue()
    assert "RuntimeError: password ***" in out.getvalue()


def test_a_secret_within_a_longer_one_leaves_nothing_of_it(out: Lines) -> None:
    logs.configure(form="text", level="info", stream=out)
    for secret in ("kiwi", "kiwi-banana", ""):
        text.hide(secret)
    log.warning("kiwi-banana kiwi")
    assert out.lines[0].endswith("warning: *** ***")


def test_a_traceback_is_lines_of_text_or_one_field_of_json(out: Lines) -> None:
    for form in ("text", "json"):
        logs.configure(form=form, level="info", stream=out)
        try:
            raise ValueError("a\nb")
        except ValueError as error:
            log.error("bug", exc_info=error)
    assert out.lines[1] == "Traceback (most recent call last):"
    traceback = orjson.loads(out.lines[-1])["traceback"]
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-2:] == ["ValueError: a", "b"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_broken_log_call_is_one_line_and_no_error(out: Lines, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form=form, level="info", stream=out)
    record = logging.LogRecord("harvester", logging.WARNING, __file__, 1, "%d works", ("kiwi-secret",), None)
    record.doi = "10.5334/bbc"
    ours().handle(record)
    assert "unreadable log record: '%d works'" in out.lines[0]
    assert len(out.lines) == 1
    assert "kiwi-secret" not in out.getvalue() + capsys.readouterr().err


def test_a_stream_that_is_gone_ends_nothing(out: Lines) -> None:
    gone = io.StringIO()
    logs.configure(form="text", level="info", stream=gone)
    gone.close()
    log.warning("nobody hears")
    assert out.lines == []


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["our debug", "our info", "our warning", "their info", "their warning"]),
        ("info", ["our info", "our warning", "their warning"]),
        ("warning", ["our warning", "their warning"]),
        ("error", []),
    ],
)
def test_libraries_speak_from_warning_on_and_never_below_our_own_level(
    out: Lines, level: str, heard: list[str]
) -> None:
    logs.configure(form="json", level=level, stream=out)
    for whose, logger in (("our", log), ("their", logging.getLogger("aiohttp.client"))):
        for each in ("debug", "info", "warning"):
            getattr(logger, each)(f"{whose} {each}")
    assert [event["message"] for event in out.events] == heard


def test_a_second_call_replaces_the_first(out: Lines) -> None:
    first = Lines()
    logs.configure(form="text", level="info", stream=first)
    logs.configure(form="json", level="info", stream=out)
    log.warning("once")
    assert first.lines == []
    assert [event["message"] for event in out.events] == ["once"]


def test_a_second_call_forgets_no_secret(out: Lines) -> None:
    text.hide("kiwi")
    logs.configure(form="text", level="info", stream=Lines())
    logs.configure(form="text", level="info", stream=out)
    log.warning("kiwi")
    assert out.lines[0].endswith("warning: ***")


def test_lines_can_be_led_elsewhere_and_back(out: Lines) -> None:
    logs.configure(form="text", level="info", stream=out)
    above: list[str] = []
    restore = logs.write_through(above.append)
    log.warning("above")
    restore()
    log.warning("below")
    assert above[0].endswith("above")
    assert len(out.lines) == 1
