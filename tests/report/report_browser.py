"""A page in headless Chromium: what goes wrong in it, and whether people can read it on a screen, a phone and by ear."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path")


@contextlib.contextmanager
def opened(page: str, path: Path) -> Iterator:
    """The page, drawn, in a tab without a network; afterwards nothing may have been complained of or fetched."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    path.write_text(page, encoding="utf-8")
    problems = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
            tab = context.new_page()
            tab.on(
                "console",
                lambda said: problems.append(said.text) if said.type in ("error", "warning") else None,
            )
            tab.on("pageerror", lambda error: problems.append(str(error)))
            tab.on(
                "request", lambda asked: problems.append(asked.url) if asked.url.startswith("http") else None
            )
            tab.goto(path.as_uri())
            tab.evaluate("window.drawn")
            yield tab
        finally:
            browser.close()
    assert problems == []


def told_under_the_pointer(tab, chart: int, rows: tuple[float, ...] = (0.5,)) -> list[str]:
    """What the page says while the pointer goes across a chart at some heights."""
    found = []
    one = tab.locator(".chart").nth(chart)
    one.scroll_into_view_if_needed()
    box = one.bounding_box()
    for row in rows:
        for i in range(60):
            across = 0.1 + 0.88 * i / 59
            tab.mouse.move(box["x"] + across * box["width"], box["y"] + row * box["height"])
            tip = tab.locator("#vg-tooltip-element.visible")
            if tip.count():
                found.append(tip.inner_text())
    return found


def check_readable(tab) -> None:
    """Nothing to move sideways on a screen or a phone; nothing that axe's rules complain of."""
    for width in (1200, 390):
        tab.set_viewport_size({"width": width, "height": 800})
        # Charts follow the width a moment later.
        tab.wait_for_function("document.documentElement.scrollWidth <= innerWidth", timeout=20_000)
    tab.set_viewport_size({"width": 1200, "height": 800})
    tab.emulate_media(
        media="print"
    )  # charts that were drawn for the screen shrink to the columns of the paper
    tab.set_viewport_size({"width": 700, "height": 800})
    cut = "[...document.querySelectorAll('.chart')].some((one) => one.scrollWidth > one.clientWidth + 1)"
    assert not tab.evaluate(cut)
    tab.emulate_media(media="screen")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(tab).response["violations"]
    assert [(rule["id"], [node["html"][:80] for node in rule["nodes"]]) for rule in found] == []
