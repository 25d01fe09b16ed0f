"""A row without its proof is found, whatever became of the proof."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import ran

PAGE = """
| # | Feature | State | Note | Shown by |
|---|---|---|---|---|
| A1 | one | done | `not this` | `FirstTests.Holds`, `bench/Load` |
| A2 | two | different | | `bench/Load` |
| A3 | three | not yet | | |

| vLLM | What happens | Shown by |
|---|---|---|
| 0.31 | served | `BaseTests.Counts`, `SecondTests` |

Beyond the table

| Reference | Here |
|---|---|
| x | `ThirdTests.Nobody_looks` |
"""

TRX = """<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results>
<UnitTestResult testName="A.B.FirstTests.Holds" outcome="{first}" />
<UnitTestResult testName="A.B.GrownBaseTests.Counts(words: [&quot;a.b&quot;])" outcome="Passed" />
<UnitTestResult testName="A.B.GrownBaseTests.Counts(words: [&quot;c&quot;])" outcome="{counts}" />
<UnitTestResult testName="A.B.SecondTests.Any" outcome="Passed" />
</Results></TestRun>"""


class RanTests(unittest.TestCase):
    def check(self, *steps: str, page: str = PAGE, first: str = "Passed", counts: str = "Passed") -> tuple[int, str]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "page.txt").write_text(page, encoding="utf-8")
            (folder / "deeper").mkdir()
            (folder / "deeper" / "a.trx").write_text(TRX.format(first=first, counts=counts), encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()) as said:
                code = ran.main([str(folder / "page.txt"), name, *steps])
            return code, said.getvalue()

    def test_all_that_is_named_ran(self) -> None:
        self.assertEqual((0, "5 proofs of 4 rows ran and passed\n"), self.check("bench/Load"))

    def test_a_test_that_was_skipped_is_no_proof(self) -> None:
        self.assertEqual((1, "A1: FirstTests.Holds did not run\n"), self.check("bench/Load", first="NotExecuted"))

    def test_one_set_of_arguments_that_failed_is_enough(self) -> None:
        self.assertEqual((1, "0.31: BaseTests.Counts failed\n"), self.check("bench/Load", counts="Failed"))

    def test_a_program_is_needed_where_it_is_the_only_proof(self) -> None:
        self.assertEqual((1, "A2: nothing of what shows it ran (bench/Load)\n"), self.check())

    def test_a_feature_that_names_nothing_is_not_shown(self) -> None:
        page = PAGE.replace("three | not yet |", "three | done |")
        self.assertEqual((1, "A3: nothing of what shows it ran (nothing is named)\n"), self.check("bench/Load", page=page))

    def test_a_page_without_tables_shows_nothing(self) -> None:
        self.assertEqual(1, self.check(page="| a | b |\n")[0])


if __name__ == "__main__":
    unittest.main()
