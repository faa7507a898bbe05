"""What is told about a run never ends it."""

import asyncio
import logging

import pytest

from harvester.core.errors import DiskFailed
from harvester.monitoring.courtesy import courtesy


def fails_politely(error: Exception, more: str = "") -> None:
    with courtesy("the page", more=more):
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TypeError("unsupported operand"), "TypeError: unsupported operand"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (TimeoutError(), "TimeoutError"),
        (DiskFailed("cannot write the page."), "cannot write the page. The"),
        (RecursionError("too deep"), "too deep"),
    ],
)
def test_whatever_is_raised_is_a_warning(error: Exception, told: str, caplog: pytest.LogCaptureFixture) -> None:
    fails_politely(error, "See the settings.")
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("the page failed: ")
    assert told in record.getMessage()
    assert record.getMessage().endswith("The harvest is not affected. See the settings.")


def test_of_a_disk_that_failed_the_cause_is_told_and_not_what_a_run_would_have_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = DiskFailed("give the same command again")
    error.__cause__ = OSError(28, "No space left on device")
    fails_politely(error)
    assert "No space left" in caplog.text
    assert "same command" not in caplog.text


def test_a_cancellation_passes() -> None:
    with pytest.raises(asyncio.CancelledError), courtesy("the page"):
        raise asyncio.CancelledError
