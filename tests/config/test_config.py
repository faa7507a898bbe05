"""Settings: defaults, file, environment, flags; what is wrong is said with the place and the way out."""

import logging
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from harvester.cli.options import SETTINGS
from harvester.config.credentials import Secret, operas_account, operas_password, require_email
from harvester.config.load import flag_of, load, variable_of
from harvester.config.settings import KEYS, PARSERS, Settings
from harvester.config.show import show
from harvester.core.errors import Misconfigured
from tests.folders import ROOT

EXAMPLE = ROOT / "config.example.toml"
REFERENCE = ROOT / "docs" / "reference" / "configuration.md"

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_it(content: str | bytes) -> Path:
        path = tmp_path / "press.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_it


def _default(key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(Settings(), section), name)


def from_environment(name: str, value: str) -> Settings:
    return load(None, {name: value}, {}).settings


def complaint(path: Path | None, **environ: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        load(path, environ, {})
    assert caught.value.exit_code == 78
    return str(caught.value)


# Merging


def test_without_anything_given_the_defaults_are_in_force_and_say_so() -> None:
    loaded = load(None, {"PATH": "/bin"}, {})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(KEYS)


def test_flags_count_more_than_the_environment_and_that_more_than_the_file(write: Write) -> None:
    path = write("[paperbuzz]\nrate = 1\nconcurrency = 1\nburst = 3")
    environ = {"HARVESTER_PAPERBUZZ__RATE": "2", "HARVESTER_PAPERBUZZ__CONCURRENCY": "2"}
    loaded = load(path, environ, {"paperbuzz.rate": 3.0})
    asked = loaded.settings.paperbuzz
    assert (asked.rate, asked.concurrency, asked.burst) == (3.0, 2, 3.0)
    assert loaded.origins["paperbuzz.rate"] == "--rate"
    assert loaded.origins["paperbuzz.concurrency"] == "HARVESTER_PAPERBUZZ__CONCURRENCY"
    assert loaded.origins["paperbuzz.burst"] == str(path)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert from_environment("HARVESTER_PAPERBUZZ__RATE", "") == Settings()


def test_a_file_with_a_byte_order_mark_is_read(write: Write) -> None:
    assert load(write(b"\xef\xbb\xbf[paperbuzz]\nrate = 3\n"), {}, {}).settings.paperbuzz.rate == 3.0


def test_variables_without_two_underscores_belong_to_others() -> None:
    assert load(None, {"HARVESTER_CONFIG": "x", "HARVESTER_PORT": "tcp://1.2.3.4"}, {}).settings == Settings()


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("35 s", 35.0), ("1.5 min", 90.0), ("2 h", 7200.0), ("7d", 604_800.0), ("12", 12.0), (" 12 s ", 12.0)],
)
def test_durations_are_numbers_with_a_unit_or_seconds(text: str, seconds: float) -> None:
    assert from_environment("HARVESTER_PAPERBUZZ__TIMEOUT", text).paperbuzz.timeout == seconds


@pytest.mark.parametrize(("text", "size"), [("32 MiB", 2**25), ("1 KiB", 1024), ("1.5 GiB", 3 * 2**29), ("7", 7)])
def test_sizes_are_numbers_with_a_unit_or_bytes(text: str, size: int) -> None:
    found = from_environment("HARVESTER_PAPERBUZZ__MAX_BODY", text).paperbuzz.max_body
    assert found == size
    assert isinstance(found, int)


def test_a_single_input_needs_no_list_and_the_home_folder_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    assert from_environment("HARVESTER_INPUT__FILES", "-").input.files == ("-",)
    assert from_environment("HARVESTER_INPUT__FILES", "~/lists/*.csv").input.files == ("/home/jane/lists/*.csv",)
    assert from_environment("HARVESTER_OUTPUT__PATH", "~/out.jsonl").output.path == "/home/jane/out.jsonl"


def test_words_from_a_list_may_be_spelt_in_any_case() -> None:
    assert from_environment("HARVESTER_LOG__LEVEL", "DEBUG").log.level == "debug"


def test_a_daily_budget_of_zero_means_none() -> None:
    assert from_environment("HARVESTER_PAPERBUZZ__DAILY_BUDGET", "0").paperbuzz.daily_budget == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("paperbuzz.rate", 0),
        ("paperbuzz.rate", "fast"),
        ("paperbuzz.rate", "nan"),
        ("paperbuzz.rate", "inf"),
        ("paperbuzz.rate", 10**400),
        ("paperbuzz.rate", True),
        ("paperbuzz.rate", [1]),
        ("paperbuzz.burst", 0.5),
        ("paperbuzz.concurrency", 0),
        ("paperbuzz.concurrency", 1.5),
        ("paperbuzz.daily_budget", -1),
        ("paperbuzz.timeout", "0 s"),
        ("paperbuzz.timeout", "-3 s"),
        ("paperbuzz.timeout", "5 parsecs"),
        ("paperbuzz.timeout", False),
        ("paperbuzz.max_attempts", 0),
        ("paperbuzz.max_body", "0.5 B"),
        ("paperbuzz.max_body", "9" * 400 + " GiB"),
        ("paperbuzz.email", "jane"),
        ("paperbuzz.email", "jane@press.example\n"),
        ("operas.enabled", "maybe"),
        ("operas.enabled", 1),
        ("operas.password_file", ""),
        ("operas.password_file", "~nobody-of-this-name/x"),
        ("input.files", [1]),
        ("input.files", [""]),
        ("input.doi_column", ""),
        ("input.format", "docx"),
        ("input.encoding", "klingon"),
        ("input.encoding", "idna"),
        ("input.encoding", "base64"),
        ("output.path", "out.csv"),
        ("output.path", "lists/.jsonl"),
        ("log.level", "loud"),
        ("paperbuzz.rate", 1e-320),
        ("paperbuzz.rate", 1e300),
        ("paperbuzz.burst", 1e300),
        ("paperbuzz.concurrency", 10**6),
        ("paperbuzz.daily_budget", 1e23),
        ("paperbuzz.daily_budget", "1e300"),
        ("paperbuzz.timeout", "1e300"),
        ("paperbuzz.timeout", 5e-324),
        ("paperbuzz.max_attempts", 10**30),
        ("paperbuzz.max_body", "999 GiB"),
        ("operas.batch_size", 10**20),
        ("operas.rate", 1e-9),
        ("nightly.time_limit", "99999999 d"),
        ("nightly.min_interval", 1e300),
        ("nightly.keep_nights", 2**70),
        ("input.files", ["a\0b"]),
        ("output.path", "a\0b.jsonl"),
        ("output.failures", "a\0b"),
        ("ledger.path", "a\0b"),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_refused_with_its_key_and_what_it_takes(
    key: str, value: object
) -> None:
    with pytest.raises(Misconfigured, match=rf"{re.escape(key)} = .*, but it takes .*\.$"):
        load(None, {}, {key: value})


@pytest.mark.parametrize(
    "key", [key for key in PARSERS if isinstance(_default(key), int | float) or key == "paperbuzz.burst"]
)
def test_every_number_has_bounds(key: str) -> None:
    if not isinstance(_default(key), bool):
        for number in (2**70, 1e300, -1):
            with pytest.raises(ValueError, match=r"from|up to"):
                PARSERS[key](number)


def test_a_longest_interval_below_the_shortest_is_refused(write: Write) -> None:
    said = complaint(write('[nightly]\nmin_interval = "3 d"\nmax_interval = "2 d"'))
    assert "max_interval" in said


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "https://paperbuzz.press.example/v0/",
        "http://localhost:8080/",
        "http://127.0.0.1/v0/",
        "http://127.9.9.9:1/",
        "http://[::1]:8080/api/",
    ],
)
def test_services_are_reached_by_https_or_on_this_machine(url: str) -> None:
    assert from_environment("HARVESTER_PAPERBUZZ__BASE_URL", url).paperbuzz.base_url == url


def test_a_base_url_ends_with_a_slash() -> None:
    settings = from_environment("HARVESTER_OPERAS__BASE_URL", "https://metrics.example/api")
    assert settings.operas.base_url == "https://metrics.example/api/"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.paperbuzz.org/v0/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://localhost\\.evil.example/",
        "http://192.168.0.1/",
        "http://0.0.0.0/",
        "https://jane:hunter2@press.example/",
        "https://@press.example/",
        "https://press.example/?key=1",
        "https://press.example/?",
        "https://press.example/#",
        "https://press.example:99999/",
        "https:///v0/",
        "https://[::1/",
        "https://präss.example/",
        "https://press.example/a b/",
        "ftp://press.example/",
        "press.example",
    ],
)
def test_any_other_base_url_is_refused(url: str) -> None:
    said = complaint(None, HARVESTER_OPERAS__BASE_URL=url)
    assert "operas.base_url" in said


def test_a_password_in_an_address_is_not_repeated_by_the_message() -> None:
    said = complaint(None, HARVESTER_OPERAS__BASE_URL="https://jane:hunt/er2@press.example/")
    assert "hunt" not in said
    assert "er2" not in said


def test_the_address_that_is_told_of_a_night_is_under_the_same_rule() -> None:
    assert "https" in complaint(None, HARVESTER_METRICS__PING_URL="http://ping.example/1")
    assert from_environment("HARVESTER_METRICS__PING_URL", "https://ping.example/1?a=b").metrics.ping_url


# What is unknown


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("[paperbuzz]\nraet = 5", "did you mean rate in [paperbuzz]?"),
        ("[paperbuz]\nrate = 5", "did you mean rate in [paperbuzz]?"),
        ("[operas]\nconcurrency = 5", "did you mean concurrency in [paperbuzz]?"),
        ('email = "jane@press.example"', "did you mean email in [paperbuzz]?"),
        ("[paperbuzz]\nzzz = 5", "known in [paperbuzz] are base_url, email"),
        ("[zzz]\nzzz = 5", "known are paperbuzz, operas"),
        ("[zzz]", "known are paperbuzz, operas"),
        ("paperbuzz = 5", "write [paperbuzz]"),
        ("[[paperbuzz]]\nrate = 5", "write [paperbuzz]"),
    ],
)
def test_an_unknown_key_in_the_file_is_an_error_with_the_nearest_one(write: Write, content: str, hint: str) -> None:
    path = write(content)
    said = complaint(path)
    assert hint in said
    assert str(path) in said


def test_an_unknown_variable_is_an_error_with_the_nearest_one() -> None:
    said = complaint(None, HARVESTER_PAPERBUZZ__RAET="5")
    assert said == "unknown environment variable HARVESTER_PAPERBUZZ__RAET; did you mean HARVESTER_PAPERBUZZ__RATE?"


@pytest.mark.parametrize("name", ["HARVESTER_PAPERBUZZ_RATE", "HARVESTER_OPERAS_PASSWORD"])
def test_one_underscore_where_two_belong_is_not_passed_over_in_silence(name: str) -> None:
    said = complaint(None, **{name: "hunter2"})
    assert "two underscores" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "content",
    ["[paperbuzz", b"\xff", "[paperbuzz]\nrate = " + "9" * 5000, "[paperbuzz]\nrate = " + "[" * 5000],
    ids=["syntax", "encoding", "digits", "nesting"],
)
def test_a_file_that_is_no_toml_is_one_message(write: Write, content: str | bytes) -> None:
    assert "is no valid TOML" in complaint(write(content))


def test_a_syntax_error_is_told_with_its_line(write: Write) -> None:
    assert "at line 2" in complaint(write("[paperbuzz]\nrate is 5\n"))


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in complaint(tmp_path / "none.toml")


def test_a_value_with_terminal_escapes_is_shown_escaped() -> None:
    assert "\x1b" not in complaint(None, HARVESTER_PAPERBUZZ__RATE="\x1b[2J")


# Secrets


@pytest.mark.parametrize(
    "content", ["[operas]\npassword = 'hunter2'", "[x]\npassword = 'hunter2'", "passwd = 'hunter2'"]
)
def test_a_password_in_the_file_is_refused_with_where_it_belongs(write: Write, content: str) -> None:
    said = complaint(write(content))
    assert "HARVESTER_OPERAS__PASSWORD" in said
    assert "password_file" in said
    assert "hunter2" not in said


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {secret!s} {[secret]}"


def test_the_password_comes_from_the_environment_first(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file")
    settings = from_environment("HARVESTER_OPERAS__PASSWORD_FILE", str(tmp_path / "password"))
    assert operas_password(settings, {"HARVESTER_OPERAS__PASSWORD": "hunter2"}).reveal() == "hunter2"
    assert operas_password(settings, {"HARVESTER_OPERAS__PASSWORD": ""}).reveal() == "from the file"


@pytest.mark.parametrize(
    ("content", "password"),
    [("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" two words \n\n", " two words \n"), ("\ufeffä", "ä")],
)
def test_of_a_password_file_only_the_last_line_end_is_dropped(tmp_path: Path, content: str, password: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content.encode())
    settings = from_environment("HARVESTER_OPERAS__PASSWORD_FILE", str(path))
    assert operas_password(settings, {}).reveal() == password


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", None], ids=["empty", "blank", "not text", "missing"])
def test_a_password_file_without_a_password_names_the_setting(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    settings = from_environment("HARVESTER_OPERAS__PASSWORD_FILE", str(path))
    with pytest.raises(Misconfigured, match="password_file"):
        operas_password(settings, {})


@pytest.mark.parametrize(("mode", "warned"), [(0o604, True), (0o600, False)])
def test_a_password_that_anyone_can_read_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2")
    path.chmod(mode)
    settings = from_environment("HARVESTER_OPERAS__PASSWORD_FILE", str(path))
    with caplog.at_level(logging.WARNING, logger="harvester"):
        operas_password(settings, {})
    assert ("chmod 600" in caplog.text) is warned
    assert "hunter2" not in caplog.text


def test_systemd_may_hand_the_password_over(tmp_path: Path) -> None:
    (tmp_path / "operas-password").write_text("hunter2\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert operas_password(Settings(), environ).reveal() == "hunter2"
    assert load(None, environ, {}).password_from == str(tmp_path / "operas-password")


def test_a_missing_password_is_told_with_every_place_it_may_be_in(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        operas_password(Settings(), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    for place in ("HARVESTER_OPERAS__PASSWORD", "password_file", "HARVESTER_OPERAS__PASSWORD_FILE", "operas-password"):
        assert place in str(caught.value)


# The e-mail address


def test_a_missing_email_is_told_with_flag_variable_and_key() -> None:
    with pytest.raises(Misconfigured) as caught:
        require_email(None)
    for way in ("--email", "HARVESTER_PAPERBUZZ__EMAIL", "[paperbuzz]"):
        assert way in str(caught.value)


def test_the_operas_account_is_the_paperbuzz_address_unless_it_has_its_own() -> None:
    flags: dict[str, object] = {"paperbuzz.email": "jane@press.example"}
    assert require_email(load(None, {}, flags).settings.paperbuzz.email) == "jane@press.example"
    assert operas_account(load(None, {}, flags).settings) == "jane@press.example"
    flags["operas.email"] = "Metrics@press.example"
    assert operas_account(load(None, {}, flags).settings) == "Metrics@press.example"
    with pytest.raises(Misconfigured, match="--operas-email"):
        operas_account(Settings())


# config show


def test_what_is_shown_loads_again_to_the_same_settings(write: Write) -> None:
    flags: dict[str, object] = {
        "paperbuzz.email": "jane@press.example",
        "paperbuzz.rate": 0.5,
        "paperbuzz.timeout": 0.00001,
        "input.files": ['a "b".csv', "ü\x1b\x7f\x85\u202e𝄞.csv"],
        "operas.enabled": True,
        "operas.password_file": "/etc/harvester/password",
    }
    loaded = load(None, {}, flags)
    assert load(write(show(loaded)), {}, {}).settings == loaded.settings


def test_each_value_is_shown_with_its_origin(write: Write) -> None:
    path = write("[paperbuzz]\nburst = 2")
    shown = show(load(path, {"HARVESTER_OPERAS__RATE": "3"}, {"paperbuzz.rate": 1.0}))
    for expected in (
        "rate = 1.0  # --rate",
        f"burst = 2.0  # {path}",
        "rate = 3.0  # HARVESTER_OPERAS__RATE",
        "concurrency = 8  # default",
        "# email =  # default",
    ):
        assert expected in shown.splitlines()


def test_of_the_password_only_its_origin_is_shown() -> None:
    shown = show(load(None, {"HARVESTER_OPERAS__PASSWORD": "hunter2"}, {}))
    assert "# password: set, from HARVESTER_OPERAS__PASSWORD" in shown.splitlines()
    assert "hunter2" not in shown
    assert "# password: not set" in show(load(None, {}, {})).splitlines()


def test_a_path_that_is_no_text_and_one_that_a_terminal_would_obey_can_be_shown() -> None:
    shown = show(load(None, {"HARVESTER_OUTPUT__PATH": "a\udc80\x1b[2J\x9b.jsonl"}, {}))
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    tomllib.loads(shown)


# The documents


def test_the_example_holds_every_key_with_its_default() -> None:
    assert load(EXAMPLE, {}, {}).settings == Settings()
    text = EXAMPLE.read_text(encoding="utf-8")
    uncommented = re.sub(r"^# ([a-z_]+ = )", r"\1", text, flags=re.MULTILINE)
    tree = tomllib.loads(uncommented)
    assert [f"{section}.{key}" for section, keys in tree.items() for key in keys] == list(KEYS)
    unset = load(None, {}, {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()})
    assert unset.settings.operas.email, "what is commented out is a valid example"


def test_the_reference_names_every_key_flag_and_variable() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    rows = {
        key: row for key in KEYS for row in text.splitlines() if row.startswith("|") and f"`{variable_of(key)}`" in row
    }
    assert set(rows) == set(KEYS)
    for key, row in rows.items():
        assert f"`{key.partition('.')[2]}`" in row
    for key in (*SETTINGS.values(), "output.path"):
        assert f"`{flag_of(key)}`" in rows[key]
    for other in (
        "--config",
        "HARVESTER_CONFIG",
        "HARVESTER_OPERAS__PASSWORD",
        "operas-password",
        "NO_COLOR",
        "--quiet",
    ):
        assert f"`{other}`" in text
