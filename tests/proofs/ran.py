"""What docs/compatibility.md calls shown was shown in this very run.

    ran.py PAGE FOLDER [STEP...]

PAGE is read for the columns headed "Shown by". FOLDER holds the test runner's results (*.trx). A STEP is a program or a folder of tests that
ran to a good end beside them, by its path in the repository. Every test that is named must have passed, and none of it may have failed; a
program is no more than a further proof beside tests, unless it is the only one of its row. A row whose state says that it was seen on a GPU
is not asked for what ran here. Prints what is missing; the exit code says the same.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as xml
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

NAME = re.compile(r"`([^`]+)`")
TEST = re.compile(r"(\w+Tests)(?:\.(\w+))?")
ON_GPU = "done, seen on a GPU"
NAMESPACE = "{http://microsoft.com/schemas/VisualStudio/TeamTest/2010}"


@dataclass(frozen=True)
class Row:
    """A line of a table: its first cell, and the names in the column that says what shows it."""

    title: str
    state: str
    names: tuple[str, ...]


@dataclass
class Results:
    """Outcomes by class and method; a method with several sets of arguments has one for each."""

    outcomes: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, test: str, outcome: str) -> None:
        parts = test.split("(", 1)[0].split(".")
        self.outcomes.setdefault((parts[-2], parts[-1]), set()).add(outcome)

    def of(self, class_name: str, method: str | None) -> set[str]:
        """What became of a test, or of all tests of a class; those of a base class run under the names of its subclasses."""
        for exact in (True, False):
            found = [
                outcomes
                for (name, test), outcomes in self.outcomes.items()
                if (name == class_name or not exact and name.endswith(class_name)) and method in (None, test)
            ]
            if found:
                return set[str]().union(*found)
        return set()


def rows(page: str) -> Iterator[Row]:
    """Lines of every table that says what shows them."""
    column: int | None = None
    state: int | None = None
    for line in page.splitlines():
        if not line.startswith("|"):
            column = None
            continue
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if "Shown by" in cells:
            column = cells.index("Shown by")
            state = cells.index("State") if "State" in cells else None
        elif column is not None and not set(line) <= set("|-"):
            names = tuple(NAME.findall(cells[column])) if column < len(cells) else ()
            yield Row(cells[0], cells[state] if state is not None else "", names)


def results(folder: Path) -> Results:
    found = Results()
    for path in sorted(folder.rglob("*.trx")):
        for result in xml.parse(path).getroot().iter(NAMESPACE + "UnitTestResult"):
            found.add(result.get("testName", ""), result.get("outcome", ""))
    return found


def missing(row: Row, found: Results, steps: Iterable[str]) -> list[str]:
    """What of a row was not shown, in words."""
    faults = []
    shown = 0
    ran = tuple(steps)
    for name in row.names:
        if (test := TEST.fullmatch(name)) is None:
            shown += any(name == step or name.startswith(step + "/") for step in ran)
            continue
        outcomes = found.of(test[1], test[2])
        if "Failed" in outcomes:
            faults.append(f"{row.title}: {name} failed")
        elif "Passed" not in outcomes:
            faults.append(f"{row.title}: {name} did not run")
        else:
            shown += 1
    if row.state == ON_GPU:
        return faults
    if not faults and shown == 0 and (row.names or row.state in ("done", "different")):
        faults.append(f"{row.title}: nothing of what shows it ran ({', '.join(row.names) or 'nothing is named'})")
    return faults


def main(arguments: list[str]) -> int:
    page, folder, *steps = arguments
    found = results(Path(folder))
    named = list(rows(Path(page).read_text(encoding="utf-8")))
    faults = [fault for row in named for fault in missing(row, found, steps)]
    print("\n".join(faults) if faults else f"{sum(len(row.names) for row in named)} proofs of {len(named)} rows ran and passed")
    return 1 if faults or not named else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
