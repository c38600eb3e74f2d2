"""What a browser would send back of a page's form as it stands."""

from __future__ import annotations

from html.parser import HTMLParser

_NOT_SENT = {"submit", "button", "file", "image", "reset"}


def form_fields(page: str) -> dict[str, str]:
    """The values of all inputs, selects and text areas, without the empty rows that a formset offers as a template."""
    form = _Form()
    form.feed(page)
    return {name: value for name, value in form.fields.items() if "__prefix__" not in name}


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name = attributes.get("name") or ""
        if tag == "input" and name:
            self._input(name, attributes)
        elif tag == "option" and self.inside and "selected" in attributes:
            self.fields[self.inside] = attributes.get("value") or ""
        elif tag in {"select", "textarea"}:
            self.inside = name
            self.fields.setdefault(name, "")

    def handle_data(self, data: str) -> None:
        if self.inside and (self.get_starttag_text() or "").startswith("<textarea"):
            self.fields[self.inside] = data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"select", "textarea"}:
            self.inside = ""

    def _input(self, name: str, attributes: dict[str, str | None]) -> None:
        kind = attributes.get("type")
        if kind in _NOT_SENT or (kind in {"checkbox", "radio"} and "checked" not in attributes):
            return
        self.fields[name] = attributes.get("value") or ("on" if kind == "checkbox" else "")
