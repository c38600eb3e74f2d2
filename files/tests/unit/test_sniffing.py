"""What a file is, by its bytes."""

from __future__ import annotations

import codecs
import random
import time

import pytest

from files.parsing.decoding import decoded
from files.parsing.sniffing import HEAD_BYTES, TAIL_BYTES, kind_of
from files.tests import samples

GERMAN = "Die Größe der Straße ist für Müller über alles schön, wie Äpfel.\n"


def kind(data, name=""):
    return kind_of(head=data[:HEAD_BYTES], tail=data[-TAIL_BYTES:], name=name)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Hello", "txt"),
        (b"# Title\n\nSome *text*.\n", "md"),
        (b"name,age\nAnn,3\nBen,4\n", "csv"),
        (b"name;age\nAnn;3\nBen;4\n", "csv"),
        (b'{"a": [1, 2]}', "json"),
        (b'["' + b"x" * 100_000 + b'"]', "json"),
        (b"[" * 100_000, "json"),
        (b"[" + b"1" * 5_000 + b"]", "json"),
        (b"A PDF begins with %PDF-1.7 and ends with startxref.\n", "txt"),
        (b"%PDF-1.7 is what it begins with.\n", "txt"),
        (b"log line\n" * 1_000 + b"\x00" + b"log line\n" * 1_000, "txt"),
        (b"[1] A reference.\n", "txt"),
        (b"{broken", "txt"),
        (b"<!DOCTYPE html><p>Hi", "html"),
        (b'<?xml version="1.0"?>\n<!-- a --><!-- b -->\n<html><body>', "html"),
        (samples.pdf("Hi"), "pdf"),
        (b"rubbish\n" + samples.pdf("Hi"), "pdf"),
        (samples.docx(samples.paragraph("Hi")), "docx"),
        (samples.xlsx(("a",)), "xlsx"),
        (GERMAN.encode("utf-16"), "txt"),
        (GERMAN.encode("utf-16-le"), "txt"),
        (GERMAN.encode("latin-1"), "txt"),
    ],
)
def test_its_bytes_say_what_it_is_whatever_its_name(data, expected):
    assert kind(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        samples.ELF,
        b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff" + b"This program cannot be run in DOS mode. " * 20,
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)),
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 4,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        b"{\\rtf1 Hello}",
        samples.ELF.replace(b"Hello", b"\n%PDF-1.4 1 0 obj startxref", 1),
        codecs.BOM_UTF16_LE + random.Random(7).randbytes(20_000),
        samples.archive(readme="word/document.xml and xl/workbook.xml"),
        samples.archive(readme="not an office file"),
        b"PK\x03\x04",
        bytes(range(256)) * 10,
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.pdf", "a.docx", "a.json"])
def test_a_name_makes_no_text_of_what_is_none(data, name):
    assert kind(data, name) is None


@pytest.mark.parametrize(
    ("name", "expected"), [("a.csv", "csv"), ("a.md", "md"), ("a.txt", "txt"), ("a.pdf", "txt"), ("a.html", "txt")]
)
def test_a_name_chooses_among_forms_of_plain_text_only(name, expected):
    assert kind(b"one line", name) == expected


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", GERMAN), ("utf-8-sig", GERMAN), ("utf-16", GERMAN), ("utf-16-le", GERMAN), ("utf-16-be", GERMAN),
        ("utf-32", GERMAN), ("latin-1", GERMAN), ("latin-1", "Café, où êtes-vous ? ¿Mañana?\n"), ("cp1252", "“5 €”\n"),
        ("utf-16", "日本語\n"), ("cp1251", "Съешь ещё этих мягких французских булок, да выпей чаю. " * 5),
        ("shift_jis", "これは日本語の文章です。今日は天気がいいですね。" * 5),
    ],
)  # fmt: skip
def test_text_is_read_in_the_encoding_that_it_is_in(encoding, text):
    assert decoded(text.encode(encoding)) == text


def test_a_character_that_is_cut_at_the_end_of_the_head_is_no_reason_to_guess():
    assert decoded("é".encode()[:1], is_whole=False) == ""
    assert kind("é".encode() * 70_000) == "txt"


@pytest.mark.parametrize("data", [b"<!--" * 16_000, b"<!---->" * 9_000 + b"x", b"<?xml " * 9_000, b" " * 65_536])
def test_no_head_takes_long_to_judge(data):
    started = time.monotonic()
    assert kind(data) == "txt"
    assert time.monotonic() - started < 1
