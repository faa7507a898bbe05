"""Figures add up, as a fleet's have to."""

from dataclasses import asdict, fields

from hypothesis import given
from hypothesis import strategies as st

from harvester.core.model import Figures

COUNTS = st.integers(0, 10**9)
BY_NAME = st.dictionaries(st.sampled_from(["ok", "empty", "http", "timeout"]), COUNTS)
FIGURES = st.builds(Figures, **{each.name: COUNTS if each.type is int else BY_NAME for each in fields(Figures)})


@given(FIGURES, FIGURES)
def test_each_figure_of_two_lists_is_added_up(one: Figures, other: Figures) -> None:
    total, left, right = asdict(one + other), asdict(one), asdict(other)
    for name, value in total.items():
        if isinstance(value, dict):
            assert value.keys() == left[name].keys() | right[name].keys()
            assert all(count == left[name].get(key, 0) + right[name].get(key, 0) for key, count in value.items())
        else:
            assert value == left[name] + right[name]


@given(FIGURES)
def test_nothing_added_changes_nothing(figures: Figures) -> None:
    assert figures + Figures() == figures == Figures() + figures
