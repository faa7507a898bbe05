"""Connections leave room for the files of a run."""

import resource

import pytest

from harvester.transport import descriptors
from harvester.transport.descriptors import RESERVED, connections_possible


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "possible"),
    [
        (1024, 1024, 65, 65),
        (100, 100, 65, 65),
        (40, 40, 65, 40 - RESERVED - 20),
        (20, 20, 65, 1),
        (40, 4096, 65, 65),
        (40, 60, 65, 60 - RESERVED - 20),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 65, 65),
    ],
)
def test_as_many_as_are_wanted_or_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: int, possible: int
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(descriptors, "_in_use", lambda: 20)
    monkeypatch.setattr(resource, "getrlimit", lambda _: raised[-1] if raised else (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert connections_possible(wanted) == possible
    assert all(limit <= hard or hard == resource.RLIM_INFINITY for limit, _ in raised)


def test_a_system_that_does_not_let_the_limit_be_raised_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int, __: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(descriptors, "_in_use", lambda: 20)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 4096))
    monkeypatch.setattr(resource, "setrlimit", refused)
    assert connections_possible(65) == 40 - RESERVED - 20
