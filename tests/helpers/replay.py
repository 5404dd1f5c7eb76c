"""What today's code makes of the committed journals: every table, fit, verdict and page, as text.

`python -m tests.helpers.replay` writes their digests to tests/replay.json. A commit that only moves or types code
leaves that file alone; one that changes a law, a number's text or a name renews it, and says what changed and why.

The runs are those that the file has already, and those that the command names: `python -m tests.helpers.replay
results/DEVICE/RUN` adds one. Runs that a user has made in this checkout are no part of the test.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lengthscale.bench.analysis import answer, fit, summary
from lengthscale.bench.claims import CLAIMS, table
from lengthscale.bench.claims.claim import Results
from lengthscale.bench.figures.html import read_folders, write_report
from lengthscale.bench.peers import files as peers_files
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.results.codec import csv_of, read_journal, read_lines
from lengthscale.bench.results.environment import facts_of
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import results_of
from tests.helpers.paths import ROOT

RESULTS = ROOT / "results"
EXPECTED = ROOT / "tests" / "replay.json"


def known_runs() -> set[str]:
    """The folders that tests/replay.json has texts of, as DEVICE/RUN, if they are still there."""
    names = {"/".join(name.split("/")[:2]) for texts in json.loads(EXPECTED.read_text()).values() for name in texts}
    return {name for name in names if (RESULTS / name).is_dir()}


def digests(texts: Iterator[tuple[str, str]]) -> dict[str, str]:
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts}


def replayed_runs(runs: set[str]) -> Iterator[tuple[str, str]]:
    """(path below results/, text) of the CSVs, fits, crossings, summary and answer of every run."""
    for folder in _folders_with("suite.json", runs):
        results = results_of(read_journal(folder / "journal.jsonl"))
        name = folder.relative_to(RESULTS).as_posix()
        for measure in MEASURES:
            if mine := [result for result in results if result.cell.measure == measure]:
                yield f"{name}/{measure}.csv", csv_of(mine)
        with tempfile.TemporaryDirectory() as copy:
            shutil.copy(folder / "journal.jsonl", copy)
            fits, crossovers = fit.fit_folder(Path(copy))
            for file in ("fits.csv", "crossovers.csv"):
                yield f"{name}/{file}", (Path(copy) / file).read_text()
            if (folder / "summary.md").exists():
                summary.write_summary(summary.summarise(results, fits), Path(copy))
                yield f"{name}/summary.md", (Path(copy) / "summary.md").read_text()
        yield f"{name}/answer", "\n".join(answer.sentences(fits, crossovers, facts_of(folder)))


def replayed_claims(runs: set[str]) -> Iterator[tuple[str, str]]:
    """(path, text) of each claim's rows of claims.csv, less the notes on time and load that a run adds, and rounded."""
    for home in _folders_with("claims.csv", runs):
        for claim in CLAIMS.values():
            parts = {part.name: part for part in sorted((home / claim.name).glob("*"))}
            records = Results({name: RunFolder(part).results() for name, part in parts.items()})
            for name, part in parts.items():
                records.peaks[name] = json.loads((part / "environment.json").read_text()).get("peaks") or {}
            about = {"device": "", "git_sha": "", "command": ""}
            rows = table.rows_of_claim(claim, claim.judge(records), **about)
            text = io.StringIO()
            csv.DictWriter(text, table.COLUMNS, lineterminator="\n").writerows(rows)
            yield f"{home.relative_to(RESULTS).as_posix()}/{claim.name}", _rounded(text.getvalue())


def _rounded(text: str) -> str:
    """With 9 digits of each number: the last ones depend on Python's version, whose 3.12 changed what sum() rounds."""
    return re.sub(r"-?\d+\.\d{9,}(e-?\d+)?", lambda match: f"{float(match[0]):.9g}", text)


def replayed_peers(runs: set[str]) -> Iterator[tuple[str, str]]:
    """(path, text) of both tables of every run of `peers`."""
    for folder in _folders_with("peers.json", runs):
        with tempfile.TemporaryDirectory() as copy:
            peers_files.write_tables(Path(copy), read_lines(folder / "journal.jsonl", PeerRecord))
            for path in sorted(Path(copy).iterdir()):
                yield f"{folder.relative_to(RESULTS).as_posix()}/{path.name}", path.read_text()


def replayed_pages(runs: set[str]) -> Iterator[tuple[str, str]]:
    """(path, text) of the report of each run with a summary: its words and its data, without style and scripts."""
    for folder in _folders_with("summary.md", runs):
        with tempfile.TemporaryDirectory() as home:
            for verdicts in folder.parent.glob("claims-*/claims.csv"):
                (Path(home) / verdicts.parent.name).mkdir()
                shutil.copy(verdicts, Path(home) / verdicts.parent.name)
            copy = Path(home) / folder.name
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("plots", "report*"))
            [run] = read_folders(copy)
            text = write_report(run).read_text().replace(home, "")
        text = re.sub(r"<style>.*?</style>|<script>.*?</script>|<meta http-equiv.*?>", "", text, flags=re.DOTALL)
        yield f"{folder.relative_to(RESULTS).as_posix()}/report.html", text


def _folders_with(name: str, runs: set[str]) -> list[Path]:
    """The folders that hold this file, among those of the runs and below them."""
    return sorted(path.parent for run in runs for path in (RESULTS / run).glob(f"**/{name}"))


REPLAYS = {"runs": replayed_runs, "claims": replayed_claims, "peers": replayed_peers, "pages": replayed_pages}


if __name__ == "__main__":
    named = {Path(each).resolve().relative_to(RESULTS).as_posix() for each in sys.argv[1:]}
    made = {kind: digests(replay(known_runs() | named)) for kind, replay in REPLAYS.items()}
    EXPECTED.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{EXPECTED}: {sum(map(len, made.values()))} texts")
