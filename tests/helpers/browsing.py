"""A report's page in headless Chromium: opened, waited for, and what is drawn on it."""

import shutil

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
         "disable-sync")  # fmt: skip
TABLE = "#table .table-tool"


def opened(browser, path, said, width=1280, height=800, **options):
    """A page of a report, once its plots are drawn. said: gets what it complains of, and what it asks for."""
    options = {"viewport": {"width": width, "height": height}, "reduced_motion": "reduce", **options}  # nothing glides
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    drawn(page)
    return page


def drawn(page):
    page.wait_for_selector("html[data-state=ready]", state="attached", timeout=60_000)


def redrawn(page, act, *args, **options):
    """act(*args, **options), and wait until the plots that it changes are drawn again."""
    before = page.evaluate("document.documentElement.dataset.drawn")
    act(*args, **options)
    page.wait_for_function(
        "before => (({ drawn, state }) => drawn !== before && state === 'ready')(document.documentElement.dataset)",
        arg=before,
        timeout=60_000,
    )


def curves(page, figure="train-time"):
    """Names of what is drawn in a plot, as plotly has it."""
    return page.evaluate(
        "name => document.querySelector(`#plot-${name} .canvas`).data.filter(t => t.meta === 'curve').map(t => t.name)",
        figure,
    )


def column(page, number):
    return page.locator(f"{TABLE} tbody tr td:nth-child({number})").all_inner_texts()
