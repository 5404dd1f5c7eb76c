"""The report in headless Chromium: drawn, quiet, offline; by mouse, by keyboard, on a phone, printed, in the dark.

Skipped where playwright or a browser is missing; nothing is downloaded.
"""

import csv
import io
import struct
from itertools import pairwise

import pytest

from tests.helpers.browsing import BROWSER, QUIET, TABLE, column, curves, opened, redrawn
from tests.helpers.reports import LENGTHS, PLANTED, first_run, report_of, second_run

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: LENGTHSCALE_EXTRAS=browser installs it")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, such as Debian's package chromium")
OWN = ("blob:", "data:")  # made by the page itself


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """One run's page, and that of two."""
    home = tmp_path_factory.mktemp("some-cpu-2cpu")
    a, b = first_run(home / "a"), second_run(home / "b")
    return report_of(a), report_of(a, b)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=[f"--{each}" for each in QUIET.split()])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    pages, said = [], []

    def open_one(path, **options):
        pages.append(opened(browser, path, said, **options))
        return pages[-1]

    yield open_one
    for page in pages:
        page.context.close()
    assert [each for each in said if not each.startswith(OWN)] == []


@pytest.fixture(scope="module")
def shared(browser, reports):
    said = []
    page = opened(browser, reports[0], said)
    yield page, said
    page.context.close()


@pytest.fixture
def page(shared):
    """One for all the tests that leave the plots as they were."""
    page, said = shared
    yield page
    for _ in range(2):  # of its table nothing is left to the next test
        select = page.locator(f"{TABLE} select").first
        page.locator(f"{TABLE} input[type=search]").fill("")
        select.select_option("fits" if select.input_value() == "measurements" else "measurements")
    if page.locator(f"{TABLE} select").first.input_value() != "measurements":
        page.locator(f"{TABLE} select").first.select_option("measurements")
    assert [each for each in said if not each.startswith(OWN)] == []


def test_every_plot_is_drawn_and_nothing_is_complained_of_or_loaded(reports, open_page, tmp_path):
    for path in reports:
        page = open_page(path)
        counts = page.evaluate(
            "[...document.querySelectorAll('.canvas')].map(c => c.querySelectorAll('path.point').length)"
        )
        assert len(counts) == page.evaluate("data.figures.length") >= 15
        assert min(counts) >= 2
    page.screenshot(path=tmp_path / "report.png")
    width, height = struct.unpack(">II", (tmp_path / "report.png").read_bytes()[16:24])
    assert (width, height) == (1280, 800)
    colours = page.evaluate(
        "[...new Set([...document.querySelectorAll('#plot-train-time path.point')].map(p => p.style.fill))]"
    )
    assert len(colours) >= 3  # one a model


def test_what_is_drawn_is_where_the_figures_are(page):
    assert curves(page) == ["gru", "transformer", "mamba"]
    traces = page.evaluate(
        "document.querySelector('#plot-train-time .canvas').data.map(t => [t.meta, t.name, t.x, t.y])"
    )
    [[_, _, x, y]] = [trace for trace in traces if trace[:2] == ["curve", "gru"]]
    assert x == LENGTHS
    assert y == pytest.approx([0.1 * length for length in LENGTHS], rel=1e-4)
    [[_, _, x, _]] = [trace for trace in traces if trace[0] == "failed"]
    assert x == [LENGTHS[-1]]
    assert {trace[0] for trace in traces} == {"curve", "band", "beyond", "guide", "failed"}
    names = page.locator("#plot-train-time .annotation-text").all_text_contents()
    assert {"gru", "transformer", "mamba"} <= set(names)
    assert any(name.startswith("mamba passes transformer at 2,") for name in names)


def test_a_hover_shows_the_row(page):
    point = page.locator("#plot-train-time path.point").first
    point.scroll_into_view_if_needed()  # an earlier test may have left the page at its table
    box = point.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] - 40)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=10)
    for text in ("Training step, 256 tokens", "status: ok", "15 samples"):
        api.expect(page.locator("#plot-train-time .hoverlayer")).to_contain_text(text)


def test_the_legend_toggles_a_model_in_every_plot(page):
    button = page.locator("button.model[data-model=transformer]")
    assert button.get_attribute("aria-pressed") == "true"
    redrawn(page, button.click)
    assert button.get_attribute("aria-pressed") == "false"
    assert curves(page) == ["gru", "mamba"]
    assert curves(page, "decode-time") == ["mamba"]
    assert page.locator("#plot-train-time .annotation-text", has_text="transformer").count() == 0
    redrawn(page, page.get_by_role("button", name="none", exact=True).click)
    assert curves(page) == []
    redrawn(page, page.get_by_role("button", name="all", exact=True).click)
    assert curves(page) == ["gru", "transformer", "mamba"]


def test_log_and_linear(page):
    axes = "document.querySelector('#plot-train-time .canvas')._fullLayout"
    kinds = f"[{axes}.xaxis.type, {axes}.yaxis.type]"
    assert page.evaluate(kinds) == ["log", "log"]
    redrawn(page, page.get_by_role("button", name="linear").click)
    assert page.evaluate(kinds) == ["linear", "linear"]
    assert page.evaluate(f"{axes}.yaxis.range[0]") == 0
    redrawn(page, page.get_by_role("button", name="log", exact=True).click)
    assert page.evaluate(kinds) == ["log", "log"]
    loss = "document.querySelector('#plot-quality-loss-context-0 .canvas')._fullLayout"
    assert page.evaluate(f"[{loss}.xaxis.type, {loss}.yaxis.type]") == ["log", "linear"]


def test_the_table_filters(page):
    count = page.locator(f"{TABLE} .count")
    assert count.inner_text() == "35 of 35 rows"
    page.locator(f"{TABLE} select[name=measure]").select_option("train")
    assert count.inner_text() == "18 of 35 rows"
    page.locator(f"{TABLE} select[name=model]").select_option("transformer")
    assert count.inner_text() == "6 of 35 rows"
    page.locator(f"{TABLE} select[name=status]").select_option("oom")
    assert count.inner_text() == "1 of 35 rows"
    assert PLANTED.split("\u2028")[0].strip() in page.locator(f"{TABLE} tbody").inner_text()
    for name in ("measure", "model", "status"):
        page.locator(f"{TABLE} select[name={name}]").select_option("")
    page.locator(f"{TABLE} input[type=search]").fill("DECODE mamba")
    assert count.inner_text() == "4 of 35 rows"
    page.locator(f"{TABLE} select").first.select_option("crossovers")
    assert count.inner_text() == "4 of 13 rows"  # time, memory, state and FLOPs of its only pair
    page.locator(f"{TABLE} input[type=search]").fill("no such words")
    assert count.inner_text() == "0 of 13 rows"


def test_the_table_sorts_by_value_with_blanks_last(page):
    head = page.locator(f"{TABLE} thead button").all_inner_texts()
    at = head.index("state_bytes") + 1
    header = page.locator(f"{TABLE} thead th:nth-child({at})")
    assert header.get_attribute("aria-sort") == "none"
    page.locator(f"{TABLE} button[data-column=state_bytes]").click()
    api.expect(header).to_have_attribute("aria-sort", "ascending")
    states = [5000] * 4 + [1000 * length for length in LENGTHS[:4]]
    assert column(page, at) == [str(state) for state in states] + [""] * 27
    page.locator(f"{TABLE} button[data-column=state_bytes]").click()
    api.expect(header).to_have_attribute("aria-sort", "descending")
    assert column(page, at) == [str(state) for state in reversed(states)] + [""] * 27


def test_the_download_is_what_is_shown(page):
    page.locator(f"{TABLE} select[name=measure]").select_option("train")
    page.locator(f"{TABLE} select[name=status]").select_option("oom")
    with page.expect_download() as waiting:
        page.locator(f"{TABLE} button.download").click()
    assert waiting.value.suggested_filename == "lengthscale-measurements.csv"
    columns, *rows = csv.reader(io.StringIO(waiting.value.path().read_text(), newline=""))
    assert columns == page.locator(f"{TABLE} thead button").all_inner_texts()
    [row] = [dict(zip(columns, row, strict=True)) for row in rows]
    assert (row["model"], row["length"], row["status"], row["message"]) == ("transformer", "8192", "oom", PLANTED)
    page.locator(f"{TABLE} select[name=status]").select_option("")
    page.locator(f"{TABLE} .check input").check()
    page.locator(f"{TABLE} button[data-column=length]").click()
    with page.expect_download() as waiting:
        page.locator(f"{TABLE} button.download").click()
    columns, *rows = csv.reader(io.StringIO(waiting.value.path().read_text(), newline=""))
    assert columns == page.evaluate("data.tables[0].columns")
    assert [row[columns.index("length")] for row in rows] == [str(n) for n in LENGTHS for _ in range(3)]
    page.locator(f"{TABLE} .check input").uncheck()


def test_everything_by_keyboard(reports, open_page):
    page = open_page(reports[0])
    focused = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.className") == "skip"
    assert page.evaluate(f"{focused}.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#answer'")

    def tab_to(test):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"(e => {test})({focused})"):
                assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"  # one sees where one is
                return
        raise AssertionError(f"60 times Tab, and never {test}")

    tab_to("e.dataset.model === 'gru'")
    redrawn(page, page.keyboard.press, "Space")
    assert curves(page) == ["transformer", "mamba"]
    assert page.evaluate(f"{focused}.dataset.model") == "gru"  # still there, to go on from
    redrawn(page, page.keyboard.press, "Enter")
    assert curves(page) == ["gru", "transformer", "mamba"]
    tab_to("e.textContent === 'linear'")
    redrawn(page, page.keyboard.press, "Enter")
    assert page.evaluate("document.querySelector('#plot-train-time .canvas')._fullLayout.yaxis.type") == "linear"
    tab_to("e.type === 'search'")
    page.keyboard.type("gru train")
    api.expect(page.locator(f"{TABLE} .count")).to_have_text("6 of 35 rows")
    tab_to("e.dataset.column === 'length'")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the header keeps the focus while the table is drawn again
    api.expect(page.locator(f"{TABLE} th[aria-sort=descending]")).to_have_text("length")
    tab_to("e.tagName === 'SUMMARY'")
    page.keyboard.press("Enter")
    page.wait_for_function(f"{focused}.parentElement.open")


def test_landmarks_and_names(page):
    for role in ("banner", "navigation", "main", "contentinfo", "complementary"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("toolbar", name="What the plots show").count() == 1  # each plot has one of plotly's
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, select, input, [role=img], [role=region]')].filter(e => "
        "!(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("which", [0, 1])
def test_a_phone_has_no_sideways_scroll(reports, open_page, which):
    page = open_page(reports[which], width=390, height=844, is_mobile=True, has_touch=True)
    assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    wide = page.evaluate(
        "[...document.querySelectorAll('svg.main-svg')].filter(s => s.getBoundingClientRect().right > 390).length"
    )
    assert wide == 0
    cut = page.evaluate(
        "[...document.querySelectorAll('.canvas .annotation-text')].filter(text => (({ left, right }, box) => "
        "left < box.left || right > box.right)(text.getBoundingClientRect(), "
        "text.closest('.canvas').getBoundingClientRect())).map(text => text.textContent)"
    )
    assert cut == []  # no name and no crossing is cut off at the edge
    assert (
        page.evaluate(f"document.querySelector('{TABLE} .box').scrollWidth") > 390
    )  # the table scrolls within its box


def test_in_the_dark_it_is_dark(reports, open_page):
    page = open_page(reports[0], color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    plot = "document.querySelector('#plot-train-time .canvas')._fullLayout.paper_bgcolor"
    assert page.evaluate(f"[{ground}, {plot}]") == ["rgb(13, 17, 23)", "#0d1117"]
    redrawn(page, page.emulate_media, color_scheme="light")
    assert page.evaluate(f"[{ground}, {plot}]") == ["rgb(255, 255, 255)", "#ffffff"]


def test_printed_it_is_light_open_and_without_controls(reports, open_page):
    page = open_page(reports[0], color_scheme="dark")
    details = "[...document.querySelectorAll('details')].map(d => d.open)"
    assert not any(page.evaluate(details))
    redrawn(page, page.emulate_media, media="print")
    assert all(page.evaluate(details))
    assert page.evaluate("document.querySelector('#plot-train-time .canvas')._fullLayout.paper_bgcolor") == "#ffffff"
    for hidden in (".skip", "nav", f"{TABLE} .tools"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.locator("button.model").first.is_visible()  # the legend stays
    assert (
        page.evaluate("Math.max(...[...document.querySelectorAll('.canvas svg.main-svg')].map(s => s.clientWidth))")
        <= 680
    )
    assert page.pdf(format="A4").startswith(b"%PDF")
    redrawn(page, page.emulate_media, media="screen")
    assert not all(page.evaluate(details))


def test_two_runs(reports, open_page):
    page = open_page(reports[1])
    assert curves(page) == [f"{model} {run}" for run in "AB" for model in ("gru", "transformer", "mamba")]
    redrawn(page, page.locator("button.model[data-model=gru]").click)
    assert curves(page) == [f"{model} {run}" for run in "AB" for model in ("transformer", "mamba")]
    assert curves(page, "ratio-train") == ["transformer", "mamba"]
    assert page.locator("#comparison .count").inner_text() == "29 of 29 rows"
    page.locator("#comparison select[name=verdict]").select_option("slower")
    shown = page.locator("#comparison .count").inner_text()
    assert int(shown.split()[0]) >= 25
    page.locator(f"{TABLE} select[name=run]").select_option("B")
    assert page.locator(f"{TABLE} .count").inner_text() == "35 of 70 rows"
    assert "Another <b>CPU</b>, 4 cores" in page.locator("h1").inner_text()
