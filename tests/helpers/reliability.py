"""The faults that tests inject, and docs/reliability.md, which says how often each was injected and what was lost.

A test of a fault is marked `@pytest.mark.fault(its name in FAULTS)`; the table's numbers are the outcomes of these
tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

PATH = Path(__file__).parents[2] / "docs" / "reliability.md"
PHASES = {"setup", "call", "teardown"}  # of a test
COMMAND = "./run_tests.sh --slow --reliability -m fault"
INTRODUCTION = f"""# What a run survives

Tests inject each fault and assert what must hold: no finished cell is lost, none is measured twice, the folder is
valid, no process is left. `{COMMAND}` makes this table; `./run_tests.sh` runs a shorter version.
"""

# The fault -> what happens. The table has this order.
FAULTS = {
    "the parent is killed (SIGKILL) at a random moment": "every finished cell is there; `--resume` runs exactly what "
    "is missing",
    "the parent is killed while a child runs": "the child ends, too",
    "the last line of the journal is incomplete": "it is dropped, and its cell is measured again",
    "a child is killed (as Linux does when memory is full)": "a row `killed` with signal and stage; other cells run",
    "a child is out of memory (RESOURCE_EXHAUSTED)": "a row `oom` with jax's message; longer cells of its series are "
    "`skipped` with the reason, other series run",
    "a program is larger than the memory": "a row `skipped` with the plan, before anything is allocated",
    "a child's memory fault (SIGSEGV)": "a row `killed` with signal and stage; the next cell runs",
    "a child cannot import what it needs": "a row `error` with stage and what is missing; the next cell runs",
    "a child raises": "a row `error` with stage and message",
    "a child exits without a message": "a row `error` with its exit code and its last output",
    "a child hangs: silent, sending, printing, ignoring TERM": "a row `timeout` with its stage, at the deadline; "
    "what it prints does not fill the disk",
    "a child leaves a grandchild": "the grandchild is ended",
    "every child fails, each in another way": "each failure is a row, the next cell runs, no process is left",
    "a loss is not finite": "a row `nan` with its times and the step, but no loss; quality plots have a mark, no curve",
    "results cannot be written: disk full, read-only, a file in the way": "refused before the first cell, exit code 2",
    "the disk fills in the middle of a run": "old files stay whole, exit code 3; `--resume` continues",
    "the folder vanishes in the middle of a run": "the run ends with exit code 3",
    "the journal or suite.json is corrupt": "the message names the place, nothing is overwritten; `--rerun` renames it",
    "the journal is of an older schema": "it can be read; adding to it is refused, and its line is named",
    "a CSV is edited or corrupt": "`validate` names line and column; `--resume` sets it aside and writes it again",
    "two runs on one folder": "the second one ends at once and names the first; the lock of a dead run is free",
    "Ctrl-C, once or twice": "the child ends, the tables are written, exit code 130; `--resume` continues",
    "configuration or code changed, then `--resume`": "refused with the difference; `--rerun` measures all cells again",
    "a compilation takes too long": "a row `timeout` in the stage `compile`, at its own deadline",
    "10,000 cells in one journal": "read and written as tables, in at most 2% of the time; a cell's process has "
    "jax imported when it starts",
    "data: a file of 10 GB": "read in parts, or refused; never held in memory",
    "data: binary, compressed, in a wrong encoding": "refused with line and column, or read as bytes with a note",
    "data: pipes, devices, link loops, unreadable files": "refused and named",
    "data: corrupt or huge images and tables": "refused and named",
    "archives: paths that lead outside, links, devices, damage": "refused as a whole, nothing is left; permissions are "
    "not copied",
    "archives: pickles that run code": "refused, never executed",
    "checkpoints: pickles, paths that lead outside, truncated, huge": "refused and named, never executed",
}


def reports_of(stats: Mapping[str, Iterable]) -> list:
    """The reports of tests among all that pytest's terminal reporter has."""
    return [report for reports in stats.values() for report in reports if hasattr(report, "when")]


def all_ended(reports: Iterable, collected: int) -> bool:
    """Whether each of the collected tests has been torn down: none was left out, and the run was not ended before.

    A file that cannot be imported and a worker of xdist that died have failures in no phase of a test.
    """
    reports = list(reports)
    failed_in = {report.when for report in reports if report.failed}
    torn_down = {report.nodeid for report in reports if report.when == "teardown"}
    return failed_in <= PHASES and len(torn_down) == collected > 0


def table(reports: Iterable) -> str:
    """The table from pytest's reports: a test failed if any of its phases failed."""
    injected: dict[str, set[str]] = {fault: set() for fault in FAULTS}
    wrong: dict[str, set[str]] = {fault: set() for fault in FAULTS}
    for report in (report for report in reports if report.when in PHASES):
        for name, fault in report.user_properties:
            if name == "fault" and (report.failed or (report.passed and report.when == "call")):
                injected[fault].add(report.nodeid)
                if report.failed:
                    wrong[fault].add(report.nodeid)
    lines = [INTRODUCTION, "| fault | what happens | injected | lost or wrong |", "|---|---|---|---|"]
    for fault, happens in FAULTS.items():
        lost = f"{len(wrong[fault])} times" if wrong[fault] else "nothing"
        lines.append(f"| {fault} | {happens} | {len(injected[fault])} | {lost if injected[fault] else ''} |")
    return "\n".join(lines) + "\n"
