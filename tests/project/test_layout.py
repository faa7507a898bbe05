"""The floor plan of the package: no import circles, and rooms and modules that can be seen whole."""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.folders import ROOT

PACKAGE = ROOT / "harvester"

MODULES_IN_A_FOLDER = 15
"""So that a newcomer takes in a folder at a glance; its `__init__.py` is not counted."""

MORE_MODULES = {"cli": "one command a file; a list of commands is no heap"}
"""Folders that may have more modules, and why."""

LINES_IN_A_MODULE = 400

SENTENCES = (2, 3)
"""How many sentences a folder says of itself: what lives there, and what does not."""


def name_of(path: Path) -> str:
    """The dotted name of a module, or of a package for its `__init__.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: dict[str, Path] = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = sorted({path.parent for path in MODULES.values()})


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_by(name: str, tree: ast.Module, known: Mapping[str, object]) -> Iterator[str]:
    """Every module of ours that is imported anywhere in a module: at its top, in a function, under TYPE_CHECKING.

    `from package import module` imports the module. That Python also runs `package/__init__.py` is not counted: it runs
    before every module of the package, and would make a circle of each `__init__.py` that passes names on.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively, which is not looked at here"
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
            wanted = [module if module in known else str(node.module) for module in wanted]
        else:
            continue
        yield from (module for module in wanted if module in known and module != name)


def circle_in(trees: Mapping[str, ast.Module]) -> list[str]:
    """The modules of one import circle in their order, the first one again at the end; empty if there is none."""
    graph = {name: set(imported_by(name, tree, trees)) for name, tree in trees.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_over_others() -> None:
    assert circle_in({name: tree_of(path) for name, path in MODULES.items()}) == []


@pytest.mark.parametrize(
    "back",
    [
        "from house import a",
        "from house.a import thing",
        "import house.a",
        "def late() -> None:\n    from house.a import thing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.a import thing",
    ],
)
def test_a_circle_would_be_found_wherever_the_import_stands(back: str) -> None:
    sources = {"house": "", "house.a": "import house.b", "house.b": back}
    found = circle_in({name: ast.parse(source) for name, source in sources.items()})
    assert set(found) == {"house.a", "house.b"}


def test_no_folder_is_a_heap() -> None:
    counts = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    heaps = {folder.name: count for folder, count in counts.items() if count > MODULES_IN_A_FOLDER}
    assert heaps.keys() == MORE_MODULES.keys(), heaps


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_says_what_lives_in_it_in_a_few_sentences(folder: Path) -> None:
    text = ast.get_docstring(tree_of(folder / "__init__.py")) or ""
    assert len(re.findall(r"[.!?](?=\s|$)", text)) in SENTENCES, text


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_read_in_one_sitting(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LINES_IN_A_MODULE
