"""What a shell offers while a command is typed."""

import pytest
from click.shell_completion import BashComplete

from harvester.cli import harvester
from tests.tool import Tool


def offered(arguments: list[str], begun: str) -> list[tuple[str, str]]:
    completion = BashComplete(harvester, {}, "harvester", "_HARVESTER_COMPLETE")
    return [(item.type, str(item.value)) for item in completion.get_completions(arguments, begun)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["register"],
        ["lists", "a.csv"],
        ["status"],
        ["verify"],
        ["failures"],
        ["run", "a.csv", "-o"],
        ["run", "a.csv", "--ledger"],
        ["check", "--config"],
    ],
    ids=" ".join,
)
def test_where_a_file_is_due_the_shell_completes_files(arguments: list[str]) -> None:
    assert offered(arguments, "dois.t") == [("file", "dois.t")]


def test_kinds_of_failures_are_offered() -> None:
    assert offered(["failures", "out.jsonl", "--kind"], "ti") == [("plain", "timeout")]


def test_a_kind_that_does_not_exist_is_a_mistake_and_not_an_empty_answer(harvester: Tool) -> None:
    told = harvester("failures", "out.jsonl", "--kind", "tiemout")
    assert told.returncode == 2
    assert "there is no kind tiemout; did you mean timeout?" in told.stderr
