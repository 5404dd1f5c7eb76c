"""`claims`: the article's claims put to the test, each by ordinary runs of its own.

    <out>/<claim>/<part>/         a run as `run` makes it: journal, CSVs, suite.json with its arguments
    <out>/claims.csv              a row for each finding, the first of a claim being its verdict
    <out>/claims.md               the verdicts as a table
    <out>/claims/<claim>.png|svg  a picture of each claim, and <claim>-dark

Each claim has its share of the budget, and a claim that the budget cannot decide has none. No replicate begins after
its claim's time is over. The same command with the same --out goes on with what is left; so --minutes 30 measures a
large budget in parts of half an hour.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from lengthscale.bench.claims import CLAIMS, table
from lengthscale.bench.claims.claim import Claim, Finding, Results, joined, shared
from lengthscale.bench.host import machine
from lengthscale.bench.host.request import make_request
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.host.sweep import Known, new_folder, run_sweep
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import from_arguments
from lengthscale.bench.plan.request import Request
from lengthscale.bench.plan.run_options import OPTIONS
from lengthscale.bench.plan.schedule import schedule
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import FAILED, Status
from lengthscale.bench.results import resume
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.environment import device_slug
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result, results_of
from lengthscale.models import unknown

BUDGET_MINUTES = 20.0
BUSY = 1.5  # processes for each core; a run alone has about one


@dataclass(frozen=True)
class Wanted:
    """What `claims` is asked for."""

    claims: Sequence[Claim]
    budget: float = BUDGET_MINUTES  # for all of them together
    minutes: float = math.inf  # of this part
    out: Path | None = None  # None: a new folder below results/
    rerun: bool = False


@dataclass(frozen=True)
class Work:
    """A claim with its minutes and its runs."""

    claim: Claim
    minutes: float  # 0: the budget cannot decide it
    requests: dict[str, Request]  # by the parts' names


def run_claims(wanted: Wanted, console: Console) -> tuple[bool, bool]:
    """(whether some cells failed, whether it was interrupted).

    Raises as make_request and run_sweep do; a mistake in the request is an error before anything is measured.
    """
    from lengthscale.bench.claims import picture  # and matplotlib with it

    started = time.monotonic()
    described = machine.describe(Runner(Settings()).probe())
    out = wanted.out or new_folder("claims", described)
    works = _plan(wanted, out)
    out.mkdir(parents=True, exist_ok=True)
    failed, left, end = False, 0, started
    latest = started + 60 * wanted.minutes
    known = Known()
    for work in works:
        end += 60 * work.minutes
        results = Results()
        for name, request in work.requests.items():
            results[name], interrupted = _run_part(work, name, request, min(end, latest), known, console)
            results.peaks[name] = resume.peaks_of(request.out) or {} if request.out else {}
            if interrupted:
                console.print(f"interrupted; the same command with --out {out} continues from here", soft_wrap=True)
                return failed, True
        findings = work.claim.judge(results)
        overall = (
            _with_note(findings[0], _note(work, results, described["n_cpus"]))
            if work.minutes
            else replace(
                findings[0], note=f"the budget cannot decide it: it takes {work.claim.minutes.least:g} minutes or more"
            )
        )
        findings = [overall, *findings[1:]]
        measured = _environments(work, described)
        rows = table.update(out, table.rows_of_claim(work.claim, findings, **_about(work, measured)))
        mine = next(row for row in rows if row["claim"] == str(work.claim.number))
        if any(result.status == Status.OK for part in results.values() for result in part):
            picture.draw(out, work.claim, mine, results, measured)
        failed |= any(result.status in FAILED for part in results.values() for result in part)
        left += _left(work, results)
    table.print_verdicts(table.read(out), console)
    if left:
        console.print(f"{left} replicates are left: the same command with --out {out} continues", soft_wrap=True)
    console.print(f"results: {out}", highlight=False, soft_wrap=True)
    return failed, False


def chosen(text: str | None) -> list[Claim]:
    """The claims that a list of numbers or names chooses; all of them for None. Raises ValueError."""
    known = {str(claim.number): claim for claim in CLAIMS.values()} | {claim.name: claim for claim in CLAIMS.values()}
    names = [name.strip() for name in text.split(",")] if text is not None else list(known)
    if mistakes := [unknown("claim", name, known) for name in names if name not in known]:
        raise ValueError("\n".join(mistakes))
    numbers = {known[name].number for name in names}
    return [claim for number, claim in sorted(CLAIMS.items()) if number in numbers]


def _plan(wanted: Wanted, out: Path) -> list[Work]:
    """Raises RequestError with the mistakes of all parts."""
    given = shared(wanted.claims, wanted.budget)
    works, mistakes = [], []
    for claim in wanted.claims:
        minutes = given.get(claim.number, 0.0)
        requests = {}
        for part in claim.parts(minutes) if minutes else ():
            folder = out / claim.name / part.name
            options = [*part.arguments, "--out", str(folder), *(["--rerun"] if wanted.rerun else [])]
            try:
                requests[part.name] = make_request(from_arguments(OPTIONS, options))
            except RequestError as error:
                mistakes += [f"claim {claim.number}, part {part.name}: {each}" for each in error.mistakes]
        works.append(Work(claim, minutes, requests))
    if mistakes:
        raise RequestError(mistakes)
    return works


def _run_part(
    work: Work, name: str, request: Request, end: float, known: Known, console: Console
) -> tuple[list[Result], bool]:
    """(the part's results, whether it was interrupted). A part that is complete, or whose time is over, is as it is."""
    assert request.out is not None
    results, left = results_of(read_journal(RunFolder(request.out).journal)), end - time.monotonic()
    complete = not resume.turns_left(request.cells, request.settings.replicates, results)
    if left <= 0 or (complete and not request.rerun):
        return results, False
    title = f"claim {work.claim.number} ({work.claim.name}), {name}: {len(request.cells)} cells"
    console.print(f"{title}, {left / 60:.1f} minutes left for the claim", highlight=False, soft_wrap=True)
    _, results, interrupted = run_sweep(request, console, end, known)
    return results, interrupted


def _note(work: Work, results: Results, n_cpus: int) -> str:
    """What did not run, what failed, and what disturbed it, in words; nothing where all went well."""
    said = []
    if left := _left(work, results):
        turns = sum(len(schedule(each.cells, each.settings.replicates)) for each in work.requests.values())
        said.append(f"out of time ({work.minutes:g} min): {left} of {turns} replicates were not measured")
    for name, mine in results.items():
        statuses = Counter(result.status for result in mine if result.status in FAILED)
        said += [f"{name}: {count} {status}" for status, count in statuses.items()]
    replicates = [each for part in results.values() for result in part for each in result.replicates]
    loads = [each.load_before or 0.0 for each in replicates]
    if max(loads, default=0.0) > BUSY * n_cpus:
        said.append(f"the machine was busy (load {max(loads):.1f} on {n_cpus} cores): times may be off")
    return "; ".join(said)


def _environments(work: Work, described: dict) -> list[dict]:
    """Those of a claim's measurements, or of now if there are none."""
    folders = [RunFolder(request.out) for request in work.requests.values() if request.out]
    return [found for folder in folders if (found := folder.read_environment())] or [described]


def _about(work: Work, measured: list[dict]) -> dict[str, str]:
    """The command of a claim alone, and the machine and the commit of its measurements, by their environments."""
    minutes = work.minutes or work.claim.minutes.least
    known = {"device": map(device_slug, measured), "git_sha": (found.get("git_sha", "") for found in measured)}
    about = {name: ", ".join(dict.fromkeys(map(str, values))) for name, values in known.items()}
    return about | {"command": f"./run_bench.sh claims --only {work.claim.number} --budget {minutes:g}"}


def _left(work: Work, results: Results) -> int:
    """Replicates that were not measured, of cells that have not failed."""
    return sum(
        resume.turns_left(request.cells, request.settings.replicates, results[name])
        for name, request in work.requests.items()
    )


def _with_note(finding: Finding, note: str) -> Finding:
    return replace(finding, note=joined(finding.note, note))
