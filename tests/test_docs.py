"""The README says what is there: the systems, and numbers that are in results/."""

import csv
import json
import re
from itertools import takewhile

import pytest

from lengthscale.bench.analysis import answer, bought, fit, learned, rerun
from lengthscale.bench.claims import CLAIMS, table
from lengthscale.bench.figures.run import read_rows
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.verdicts import ARTICLE
from lengthscale.models import MODELS
from tests.helpers.accelerator_tables import TABLES
from tests.helpers.adapters import ADAPTERS
from tests.helpers.paths import ROOT
from tests.helpers.replay import RESULTS, known_runs

LINES = (ROOT / "README.md").read_text().splitlines()
ROWS = [re.split(r"\s*\|\s*", line)[1:-1] for line in LINES if re.match(r"\| `[a-z].*\.py` \|", line)]


def test_every_model_is_in_the_table_of_systems():
    named = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row[0])}
    options = {name: spec.options for name, spec in MODELS.items() if spec.options}
    texts = {name: "; ".join(f"{o.name}: {', '.join(o.values)}" for o in known) for name, known in options.items()}
    written = [re.fullmatch(r"`([^`]+)` \((.+)\)", row[0]) for row in ROWS if "(" in row[0]]
    assert {match[1]: match[2] for match in written if match} == texts
    assert len(written) == len(texts)
    assert named == set(MODELS)
    for row in ROWS:
        names, file = re.findall(r"`([^`]+)`", row[0]), row[2].strip("`")
        assert {MODELS[name].module for name in names} == {f"lengthscale.models.{file.removesuffix('.py')}"}


def test_the_fixtures_of_the_table_are_tested():
    """tests/models/test_golden.py runs every fixture that has an adapter."""
    named = {name.strip() for row in ROWS for name in row[5].split(",")}
    assert named <= set(ADAPTERS)
    assert set(ADAPTERS) <= named
    for name in named:
        assert list((ROOT / "tests/golden").glob(f"{name}*.npz")), name


PEERS = ROOT / "results/amd-epyc-2cpu/peers.csv"
TEXT = "\n".join(LINES)
RUN = ROOT / re.findall(r"\]\((results/\S+)/plots/overview\.png\)", TEXT)[0]


def test_the_answer_is_made_of_the_run_behind_the_picture():
    fits, crossovers = fit.fit_results(RunFolder(RUN).results())
    environment = json.loads((RUN / "environment.json").read_text())
    flowing = " ".join(TEXT.split())
    learning = learned.sentences_of(RunFolder(RUN).results())
    assert len(learning) == 2
    for sentence in [*answer.sentences(fits, crossovers, environment), *learning]:
        assert sentence in flowing


def test_the_tables_are_those_of_the_run_behind_the_picture():
    lines = (RUN / "summary.md").read_text().splitlines()
    summary = list(takewhile(lambda line: line.startswith("|"), lines))
    assert len(summary) > 20
    first = LINES.index(summary[0])
    assert LINES[first : first + len(summary)] == summary
    assert f"commit {json.loads((RUN / 'environment.json').read_text())['git_sha']}" in TEXT


def cells_of(lines):
    """The cells of a Markdown table's lines, by the first one of each."""
    return {words: values for _, words, *values, _ in (re.split(r" *\| *", line) for line in lines)}


def test_what_length_buys_is_the_table_of_the_run_that_is_named():
    """Each line of it, and the figures of the sentences below."""
    folder = ROOT / re.findall(r"\]\((results/\S+/learn-\S+)/summary\.md\)", TEXT)[0]
    whole = bought.table(read_rows(folder).rows).splitlines()
    first = LINES.index(whole[0])
    shown = list(takewhile(lambda line: line.startswith("|"), LINES[first:]))
    assert len(shown) > 20
    assert [line for line in whole if line in shown] == shown
    assert (folder / "summary.md").read_text().count("\n".join(whole)) == 1
    assert f"commit {json.loads((folder / 'environment.json').read_text())['git_sha']})" in " ".join(TEXT.split())
    cells = cells_of(whole)
    losses = [float(each) for each in cells["text (mini): loss at 64 tokens"]]
    assert max(losses) == losses[3] == 1.72 < 1.88
    further = [each.split()[0] for words in cells if "gain from 64 to 1k" in words for each in cells[words]]
    assert max(map(float, further)) == 0.02


def test_a_larger_budget_buys_what_its_runs_say():
    def rows(name):
        [folder] = re.findall(rf"\]\((results/\S+/{name}-\d+)/summary\.md\)", TEXT)
        return cells_of(bought.table(read_rows(ROOT / folder).rows).splitlines())

    flowing = " ".join(TEXT.split())
    right = rows("learn-induction")["induction heads (tiny): right at 64 tokens"]
    assert [each.split()[0] for each in right] == ["100%"] * 3
    found = rows("learn-positions")
    short, long = (found[f"text (tiny): loss at {length} tokens"][0].split()[0] for length in (288, 1152))
    assert f"`transformer` reaches {short} nats at 288 tokens, and {long} at 1,152" in flowing


def test_the_verdicts_are_those_of_a_run_of_the_claims():
    """docs/claims.md has the whole table, README three of its lines."""
    text = (ROOT / "docs/claims.md").read_text()
    folder = ROOT / re.findall(r"\]\(\.\./(results/\S+)/claims\.csv\)", text)[0]
    rows = table.read(folder)
    verdicts = table.markdown(rows).splitlines()
    lines = text.splitlines()
    first = lines.index(verdicts[0])
    assert lines[first : first + len(verdicts)] == verdicts == (folder / table.VERDICTS).read_text().splitlines()
    assert [(int(row["claim"]), row["statement"]) for row in table.overall(rows)] == [
        (number, claim.statement) for number, claim in sorted(CLAIMS.items())
    ]
    start = LINES.index(verdicts[0])
    shown = LINES[start + 2 : start + 5]
    assert len(set(shown) & set(verdicts)) == 3
    assert all(re.match(r"\| \d\. ", line) for line in shown)


def test_the_article_is_named_where_it_is_meant():
    for name in ("README.md", "docs/claims.md"):
        assert ARTICLE in " ".join((ROOT / name).read_text().split()), name


def test_the_rerun_test_is_that_of_the_committed_runs():
    text = (ROOT / "docs/rerun.md").read_text()
    flowing, inside, comparisons = " ".join(TEXT.split()), {}, 0
    for suite, count in (("default", 5), ("quick", 8)):
        # The runs of one commit in one night; not all folders that are there, such as a user's own run.
        runs = sorted(RESULTS / run for run in known_runs() if run.startswith(f"amd-epyc-2cpu/{suite}-20261129-0"))
        assert len(runs) == count
        lines = rerun.lines(runs)
        for line in lines:
            assert f"| {' | '.join(line)} |" in text
        alarms = rerun.alarms(runs).partition(": ")[2]
        assert alarms.startswith("0 of ")
        assert f"- {suite}: {alarms}." in text
        comparisons += count * (count - 1) // 2
        inside[suite] = {kind: share for kind, _, share, *_ in lines}
    assert f"in {comparisons} real ones there was none" in flowing
    shares = inside["default"]
    times = "intervals held {forward: time} in prefill, {train: time} in training and {decode: time} in decoding"
    assert re.sub(r"{(.+?)}", lambda kind: shares[kind[1]], times) in flowing
    exponents = [int(share.rstrip("%")) for kind, share in shares.items() if kind.endswith("exponent")]
    assert f"and of its exponents {min(exponents)}% to {max(exponents)}%" in flowing


def test_what_is_said_of_peers_is_in_their_table():
    """Each "1.2x" is a ratio and each "34%" a share of that table, rounded as it is written."""
    [paragraph] = [part for part in TEXT.split("\n\n") if part.startswith("The [table](results/")]
    with open(PEERS) as file:
        rows = list(csv.DictReader(file))
    shares = [float(row["share"]) for row in rows if row["share"]]
    ratios = [float(row["ratio"]) for row in rows if row["ratio"]] + shares + [1 / share for share in shares]
    for number in re.findall(r"([\d.]+)x", paragraph):
        digits = len(number.partition(".")[2])
        assert any(round(ratio, digits) == float(number) for ratio in ratios), number
    for number in re.findall(r"(\d+)%", paragraph):
        assert any(round(100 * share) == int(number) for share in shares), number


@pytest.mark.parametrize("title", TABLES)
def test_the_tables_of_accelerators_are_those_of_the_plans(title):
    """Each table of docs/accelerators.md is what its files in docs/plans give, to the last digit."""
    made = TABLES[title]()
    assert len(made) > 6
    assert "\n".join(made) in (ROOT / "docs/accelerators.md").read_text()
