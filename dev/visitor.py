"""Somebody with a real browser, for tests of what people see."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from live import Live
from login import password_of
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

CHROMIUM = shutil.which("chromium")

PICTURES = Path(os.environ.get("PICTURES", "/nonexistent"))
"""Folder for a picture of every page, to look at."""


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser inside the block."""
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Visitor:
    """Somebody who is logged in and notes whatever goes wrong on a page."""

    def __init__(self, browser: Browser, live: Live, user: str, width: int = 1300, height: int = 900) -> None:
        context = browser.new_context(viewport={"width": width, "height": height}, base_url=live.address)
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        self.page.on("response", self._note)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.goto("/")
        self.page.get_by_label("Username").fill(user)
        self.page.get_by_label("Password").fill(password_of(user, live.home))
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("link", name="Dags").first).to_be_visible(timeout=20_000)
        self.wrong.clear()  # before the login everything is refused

    def _note(self, response: Response) -> None:
        # Airflow itself asks for a file that its package does not hold.
        if response.status >= 400 and not response.url.endswith("/static/wasm/sqlparser_rs_wasm.js"):
            self.wrong.append(f"{response.status} {response.url}")

    def open(self, path: str) -> Page:
        """Open a page, wait until it has all it wants, and take its picture if pictures are wanted."""
        self.page.goto(path)
        self.page.wait_for_load_state("networkidle")
        self.picture(quote(path.strip("/"), safe="") or "home")
        return self.page

    def picture(self, name: str) -> None:
        """Take a picture if pictures are wanted."""
        if PICTURES.is_dir():
            self.page.screenshot(path=PICTURES / f"{name}.png")
