"""`harvester check` refuses what `harvester nightly` would refuse, where the settings are meant for nights."""

import pytest

from tests.tool import Tool, dois

INPUT = '[input]\nfiles = ["dois.txt"]'
DATED, PLAIN = '[output]\npath = "{date}.jsonl"', '[output]\npath = "out.jsonl"'
LEDGER, NIGHTS = '[ledger]\npath = "n.ledger"', "[nightly]\nkeep_nights = 7"


@pytest.mark.parametrize(
    ("config", "code", "told"),
    [
        ([INPUT, DATED, LEDGER], 0, "ready"),
        ([INPUT, DATED], 78, "[ledger] path"),
        ([INPUT, PLAIN, LEDGER, NIGHTS], 78, "{date}"),
        ([INPUT, PLAIN], 0, "not set up"),
        ([INPUT, PLAIN.replace("jsonl", "xlsx")], 78, "a path that ends in .jsonl"),
    ],
)
def test_check_ends_as_a_night_would(config: list[str], code: int, told: str, harvester: Tool) -> None:
    harvester.write("dois.txt", dois(1))
    harvester.write("c.toml", config)
    checked = harvester("check", "--offline", "-c", "c.toml")
    assert checked.returncode == code, checked.stdout
    assert told in checked.stdout + checked.stderr
    if code:
        assert harvester("nightly", "-c", "c.toml").returncode == code
