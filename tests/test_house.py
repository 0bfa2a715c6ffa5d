"""What CONTRIBUTING says of the layout, beside the contracts of import-linter."""

from functools import cache
from pathlib import Path

import grimp

PACKAGE = Path(__file__).parents[1] / "lofit_cli"
LONGEST_CHAIN = 10
LONGEST_FILE = 250


def test_no_import_stands_on_more_than_nine_others():
    graph = grimp.build_graph("lofit_cli", cache_dir=None)

    @cache
    def chain(module):
        below = graph.find_modules_directly_imported_by(module)
        return (module, *max((chain(other) for other in below), key=len, default=()))

    # The commands import their stages when they are called, and the packages' front doors when they are asked.
    longest = max((chain(module) for module in graph.modules if module != "lofit_cli"), key=len)
    assert len(longest) <= LONGEST_CHAIN, longest


def test_no_file_is_longer_than_a_reader_keeps_in_mind():
    files = [path for folder in ("lofit_cli", "scripts", "tests") for path in (PACKAGE.parent / folder).rglob("*.py")]
    lengths = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_only_tasks_ask_what_kind_of_task_one_is():
    others = [path for path in PACKAGE.rglob("*.py") if PACKAGE / "tasks" not in path.parents]
    assert [path.name for path in others if "Task)" in path.read_text() and "isinstance(task" in path.read_text()] == []
