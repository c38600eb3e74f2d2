"""HTML: what a reader of the page would see, a line for each block. Nothing is fetched and nothing is run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import BinaryIO

from files.parsing.decoding import SAMPLE_BYTES, encoding_of, is_text
from files.parsing.outcome import TextOut
from files.parsing.plain import NOT_TEXT, text_of

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "iframe"})
_BLOCKS = frozenset({
    "address",
    "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
    "section", "table", "title", "tr", "ul",
})  # fmt: skip
_CELLS = frozenset({"td", "th"})
_SPACES = re.compile(r"\s+")
_DECLARED = re.compile(rb"<meta[^>]{1,500}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{1,40})", re.I)
# A page that says nothing, or something that its bytes are not, is judged by them alone.
_UNDECLARED = frozenset({"utf-8", "utf-16", "utf-32", "utf-8-sig", "utf-16-le", "utf-16-be"})


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    page = _Page(out)
    page.feed(_text(source))
    page.close()
    page.end_line()


def _text(source: BinaryIO) -> str:
    head = source.read(SAMPLE_BYTES)
    source.seek(0)
    declared = _DECLARED.search(head)
    if declared is None or encoding_of(head) in _UNDECLARED:
        return text_of(source)
    try:
        text = source.read().decode(declared[1].decode("ascii"), "replace")
    except LookupError:
        # Also what Python has codecs for that are none of text.
        source.seek(0)
        return text_of(source)
    if not is_text(text):
        raise NOT_TEXT
    return text


class _Page(HTMLParser):
    def __init__(self, out: TextOut) -> None:
        super().__init__(convert_charrefs=True)
        self.out = out
        self.line: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self.hidden += 1
        elif tag in _BLOCKS:
            self.end_line()
        elif tag in _CELLS and self.line:
            self.line.append("\t")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.end_line()

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self.hidden = max(0, self.hidden - 1)
        elif tag in _BLOCKS:
            self.end_line()

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.line.append(_SPACES.sub(" ", data))

    def end_line(self) -> None:
        line = "\t".join(_SPACES.sub(" ", cell).strip() for cell in "".join(self.line).split("\t")).strip()
        self.line.clear()
        if line:
            self.out.add(f"{line}\n")
