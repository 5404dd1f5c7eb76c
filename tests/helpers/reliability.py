"""The faults that tests inject, and docs/reliability.md, which tells how often each was injected and what was lost.

A test of a fault is marked `@pytest.mark.fault(its name in FAULTS)`; the table's figures are those tests' outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PATH = Path(__file__).parents[2] / "docs" / "reliability.md"
COMMAND = "./run_tests.sh --slow --reliability -m fault"
INTRODUCTION = f"""# What a run survives

Each fault is injected by tests, and what must hold is asserted: no finished cell is lost, none is measured twice, the
folder is valid, nothing is left at work. Made by `{COMMAND}`; the bounded version of it is part of `./run_tests.sh`.
"""

# What is done -> what happens. In this order they stand in the table.
FAULTS = {
    "the parent is killed (SIGKILL) at a random moment": "every finished cell is there; `--resume` runs exactly what "
    "is missing",
    "the parent is killed while a child is at work": "the child ends too",
    "the last line of the journal is torn": "it is found and dropped, its cell measured again",
    "a child is killed (as Linux does where memory is out)": "a row `killed` with signal and stage; the others go on",
    "a child is out of memory (RESOURCE_EXHAUSTED)": "a row `oom` with what was wanted; longer cells of its series are "
    "`skipped` with the reason, other series go on",
    "a program is larger than the memory": "a row `skipped` with the plan, before anything is allocated",
    "a child's memory fault (SIGSEGV)": "a row `killed` with signal and stage; the next cell runs",
    "a child cannot import what it needs": "a row `error` with stage and what is missing; the next cell runs",
    "a child raises": "a row `error` with stage and message",
    "a child exits without a word": "a row `error` with its exit code and its last output",
    "a child hangs: in silence, talking, printing, deaf to TERM": "a row `timeout` with its stage, at the deadline; "
    "what it prints fills no disk",
    "a child leaves a grandchild": "the grandchild is ended",
    "every child fails, each in another way": "each its own row, the next cell runs, nothing is left at work",
    "a loss is not finite": "times are kept; a row `nan` with the step and no loss; in quality plots a mark, no curve",
    "no place for results: disk full, read-only, a file in the way": "refused before the first cell, exit code 2",
    "the disk fills in the middle of a run": "old files stay whole, exit code 3; `--resume` goes on",
    "the folder vanishes in the middle of a run": "the run ends with exit code 3",
    "the journal or suite.json is corrupt": "its place is named, nothing is overwritten; `--rerun` keeps it aside",
    "the journal is of an older schema": "it is read; adding to it is refused and its line named",
    "a CSV is edited or corrupt": "`validate` names line and column; `--resume` keeps it aside and makes it again",
    "two runs on one folder": "the second ends at once and names the first; a dead run's lock is free",
    "Ctrl-C, once or twice": "the child ends, the tables are written, exit code 130; `--resume` goes on",
    "configuration or code changed, then `--resume`": "refused with the difference, or all anew on request (`--rerun`)",
    "a compilation explodes": "a row `timeout` in the stage `compile`, by its own deadline",
    "10,000 cells in one journal": "read and tabled in under 2 s; a cell costs under 0.3 s beside its own work",
    "data: a file of 10 GB": "streamed, or refused; never in memory",
    "data: binary, compressed, in a wrong encoding": "refused with line and column, or taken as bytes and said so",
    "data: pipes, devices, link loops, what must not be read": "refused and named",
    "data: corrupt or huge images and tables": "refused and named",
    "archives: paths that lead outside, links, devices, damage": "refused whole, nothing is left; no permissions "
    "are taken over",
    "archives: pickles that run code": "refused, never executed",
    "checkpoints: pickles, paths that lead outside, cut off, huge": "refused and named, never executed",
}


def table(reports: Iterable) -> str:
    """Of pytest's reports, as they come: a test that failed in any of its phases is one that failed."""
    injected: dict[str, set[str]] = {fault: set() for fault in FAULTS}
    wrong: dict[str, set[str]] = {fault: set() for fault in FAULTS}
    for report in reports:
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
