"""A member of staff at the admin: opens pages, presses buttons, and looks at them in every light."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# What another scheme of colours can break. All else is the same in it.
OF_COLOURS = ("color-contrast", "link-in-text-block")
# Where pictures of pages are put, if they are wanted: SCREENSHOTS=docs/img make test-browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")


class Desk:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._asked)
        page.on("response", self._answered)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    @classmethod
    @contextmanager
    def opened(cls, browser: Browser, url: str, cookies: Any = None) -> Iterator[Desk]:
        context = browser.new_context(viewport=WIDE, timezone_id="UTC", locale="en-GB", storage_state=cookies)
        context.set_default_timeout(30_000)
        desk = cls(context.new_page(), url)
        try:
            yield desk
            assert desk.elsewhere == []
            assert desk.complaints == []
        finally:
            context.close()

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.elsewhere.append(request.url)

    def _answered(self, response: Any) -> None:
        # A form that was refused is no complaint.
        if response.status >= 400 and response.status != 422:
            self.complaints.append(f"{response.status} {response.url}")

    def _said(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def sign_in(self, email: str, password: str) -> None:
        self.go("/admin/login/?next=/admin/")
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.press("Log in")
        assert self.page.url == f"{self.url}/admin/", self.page.locator("body").inner_text()

    def go(self, path: str) -> None:
        answer = self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == 200, (path, answer.status)

    def press(self, name: str) -> None:
        """A button or a link of the page itself, not of the list beside it, by what it says."""
        content = self.page.locator("#content")
        button = content.get_by_role("button", name=name).or_(content.get_by_role("link", name=name)).first
        with self.page.expect_navigation():
            button.click()

    def follow(self, selector: str) -> None:
        """The first link that the selector finds."""
        with self.page.expect_navigation():
            self.page.locator("#content").locator(selector).first.click()

    @property
    def message(self) -> str:
        """What the last action said it did."""
        return self.page.locator(".messagelist").inner_text().strip()

    def violations(self, *rules: str) -> list[str]:
        """What axe-core finds wrong with the whole page as it is now, by all of its rules if none is named."""
        # Preloading would fetch style sheets again, from where they are not.
        options: dict[str, Any] = {"preload": False, "resultTypes": ["violations"]}
        if rules:
            options["runOnly"] = {"type": "rule", "values": rules}
        # Colours that are on their way from one scheme to the other would be judged as they pass.
        self.page.evaluate("document.getAnimations().forEach(one => one.finish())")
        found = Axe().run(self.page, options=options).response["violations"]
        return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]

    def look(self, path: str, name: str | None = None) -> None:
        self.go(path)
        self.inspect(name)

    def inspect(self, name: str | None = None) -> None:
        """The page that is open is sound for everybody: in light and dark, on a screen and on a phone.

        With a name, a picture is taken of each, where pictures are wanted.
        """
        for scheme, size, rules in (("light", WIDE, ()), ("dark", WIDE, OF_COLOURS), ("light", PHONE, ())):
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size(size)
            found = self.violations(*rules)
            assert (self.page.url, scheme, size["width"], found) == (self.page.url, scheme, size["width"], [])
            width = self.page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{self.page.url} is {width} px wide on a screen of {size['width']}"
            if SCREENSHOTS and name:
                suffix = "-phone" if size is PHONE else "-dark" if scheme == "dark" else ""
                Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
                self.page.screenshot(path=f"{SCREENSHOTS}/{name}{suffix}.png", full_page=True)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(WIDE)
