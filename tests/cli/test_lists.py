"""What `harvester lists` and dry runs show before anything is registered."""

import json

from tests.tool import Tool

LIST = [
    "doi,url,URL des Buchs",
    "10.5555/ok-1,www.press.example/1,https://press.example/1",
    "10.5555/ok-2,https://press.example/2,https://press.example/2",
    "10.5555/ok-2,https://user:secret@press.example/2,https://press.example/2",
    "nothing,,",
]


def test_lists_says_how_a_list_is_read_and_what_is_left_out(harvester: Tool) -> None:
    harvester.write("list.csv", LIST)
    told = harvester("lists", "list.csv", "--quiet")
    assert told.returncode == 0
    for said in (
        "DOIs from doi; URLs from url",
        "press.example 1",
        "list.csv:2: www.press.example/1",
        "10.5555/ok-2 → https://press.example/2",
        "list.csv:5",
        "--url-column 'URL des Buchs' uses it",
        "total: 4 = 2 works + 1 duplicate + 1 invalid + 0 blank",
    ):
        assert said in told.stdout
    assert "secret" not in told.stdout + told.stderr


def test_lists_in_json_holds_the_same_figures(harvester: Tool) -> None:
    harvester.write("list.csv", LIST)
    found = json.loads(harvester("lists", "list.csv", "--json", "--quiet").stdout)
    assert [found[name] for name in ("works", "duplicates", "invalid", "blank")] == [2, 1, 1, 0]
    (file,) = found["files"]
    assert file["urls_left_out"] == {"no-scheme": 1, "credentials": 1}
    assert file["urls_by_host"] == {"press.example": 1}


def test_lists_ends_with_the_code_of_a_run_if_there_is_no_doi(harvester: Tool) -> None:
    harvester.write("list.csv", ["title,page", "a,b"])
    assert harvester("lists", "list.csv").returncode == harvester("run", "list.csv", "-o", "out.jsonl").returncode != 0


def test_a_dry_run_of_a_registration_prints_each_doi_with_its_urls_and_sends_nothing(harvester: Tool) -> None:
    harvester.write("list.csv", LIST)
    told = harvester("register", "list.csv", "--dry-run", "--quiet")
    assert told.returncode == 0
    assert told.stdout.splitlines() == ["10.5555/ok-1", "10.5555/ok-2  https://press.example/2"]
    assert "2 works with 1 URL. Nothing was sent." in told.stderr
    told = harvester("run", "list.csv", "-o", "out.jsonl", "--register", "--dry-run")
    assert "10.5555/ok-2  https://press.example/2" in told.stderr
