"""docs/reliability.md says what the tests of faults came to, failures too, and is of the present list of faults."""

from types import SimpleNamespace

from tests.helpers.reliability import FAULTS, INTRODUCTION, PATH, all_ended, reports_of, table

FIRST, SECOND, *_ = FAULTS


def report(nodeid, when, outcome, *faults):
    properties = [("fault", fault) for fault in faults] + [("time", 1.0)]
    is_it = {"passed": outcome == "passed", "failed": outcome == "failed"}
    return SimpleNamespace(nodeid=nodeid, when=when, user_properties=properties, **is_it)


def rows_of(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


def test_a_test_that_failed_is_one_that_was_injected_and_lost():
    reports = [
        report("a", "setup", "passed", FIRST),
        report("a", "call", "passed", FIRST),
        report("b", "call", "failed", FIRST),
        report("c", "call", "passed", FIRST),
        report("c", "teardown", "failed", FIRST),  # a child was left
        report("d", "setup", "failed", SECOND),
        report("e", "call", "skipped", SECOND),
        report("f", "call", "failed"),
        SimpleNamespace(nodeid="tests/test_y.py", when="collect"),  # pytest's report of a file has no properties
    ]
    _, first, second, third, *_ = rows_of(table(reports))
    assert first == [FIRST, FAULTS[FIRST], "3", "2 times"]
    assert second == [SECOND, FAULTS[SECOND], "1", "1 times"]
    assert third[2:] == ["0", ""]


def test_a_run_that_was_ended_before_its_last_test_writes_no_table():
    whole = [report(name, when, "passed", FIRST) for name in "ab" for when in ("setup", "call", "teardown")]
    assert all_ended(whole, collected=2)
    assert not all_ended(whole, collected=3)  # a third test never began
    assert not all_ended(whole[:-1], collected=2)  # ended in a test
    assert not all_ended([], collected=0)
    assert all_ended([*whole, report("tests/test_y.py", "collect", "skipped")], collected=2)  # a package is missing
    assert not all_ended([*whole, report("tests/test_x.py", "collect", "failed")], collected=2)
    passed, others = whole[1::3], whole[::3]
    assert reports_of({"": others, "passed": passed, "deselected": [SimpleNamespace(nodeid="c")]}) == others + passed


def test_the_table_is_of_all_faults_and_each_was_injected():
    text = PATH.read_text()
    assert text.startswith(INTRODUCTION)
    rows = rows_of(text)[1:]
    assert {fault: happens for fault, happens, _, _ in rows} == FAULTS
    assert all(int(injected) > 0 for _, _, injected, _ in rows)
