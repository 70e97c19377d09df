"""A real headless Chromium over a report of the toy run; skipped where playwright or Chromium is not installed."""

import os
import shutil

import pytest
from toy_run import write_toy_run

from vertloc.report.page import write_report

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

# Beside what a container needs: none of the browser's own traffic, so that any request is the page's.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    if "REQUIRE_BROWSER" not in os.environ:  # `make browser` sets it, so that nothing is skipped unseen
        pytest.importorskip("playwright.sync_api")
        if CHROMIUM is None:
            pytest.skip("Chromium is not installed")
    from playwright import sync_api as playwright

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The scans of the toy run and the page of its report."""
    folder = tmp_path_factory.mktemp("browser")
    scans = write_toy_run(folder)
    return scans, write_report(folder / "results", folder / "data", n_jobs=2)


class Page:
    """A tab that notes whatever goes wrong in it."""

    def __init__(self, tab, path):
        self.tab = tab
        self.path = path
        self.complaints = []
        self.requests = []
        tab.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.requests.append(request.url))

    def open(self, scan=None):
        self.tab.goto(f"{self.path.as_uri()}{'#scan=' + scan if scan else ''}")
        if scan:
            self.wait_for(scan)
        return self

    def wait_for(self, scan):
        """Wait until the viewer of a scan has drawn."""
        index = self.tab.evaluate("(name) => vertloc.settings.scans.findIndex((s) => s.scan === name)", scan)
        self.tab.wait_for_selector(f"#scan[data-ready='{index}']", state="visible", timeout=60_000)
        self.until("document.querySelector('#scan tr.chosen') !== null")

    def until(self, expression):
        """Wait until an expression is true; Playwright's own waiting evaluates strings, which the page forbids."""
        for _ in range(600):
            if self.tab.evaluate(expression):
                return
            self.tab.wait_for_timeout(100)
        pytest.fail(f"never came true: {expression}")

    def title(self):
        return self.tab.locator("h1:visible").inner_text()

    def strangers(self):
        """Requests that are not for files of the report itself."""
        folder = self.path.parent.as_uri()
        return [url for url in self.requests if not url.startswith((folder, "data:", "blob:"))]


@pytest.fixture
def page(browser, report):
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = Page(context.new_page(), report[1])
    yield page
    context.close()
    assert page.complaints == []
    assert page.strangers() == []
