"""From bytes to text, each file in a child process."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from files.parsing import process
from files.parsing.outcome import Limits, ParseFailed, ParserDied
from files.parsing.process import parse_apart
from files.tests import samples
from files.tests.samples import BOMB, paragraph

LIMITS = Limits(seconds=20, memory_bytes=1 << 30, text_max_chars=2_000_000)


def parse(data, kind, **limits):
    with tempfile.TemporaryFile() as source:
        source.write(data)
        source.flush()
        return parse_apart(source, kind=kind, limits=Limits(**{**limits_of(LIMITS), **limits}))


def limits_of(limits):
    return {name: getattr(limits, name) for name in limits.__slots__}


def refusal(data, kind, **limits):
    with pytest.raises(ParseFailed) as caught:
        parse(data, kind, **limits)
    return caught.value.code, caught.value.detail


TABLE = (
    f"<w:tbl><w:tr><w:tc>{paragraph('a')}</w:tc><w:tc>{paragraph('b')}</w:tc></w:tr>"
    f"<w:tr><w:tc>{paragraph('c')}</w:tc><w:tc>{paragraph('d')}</w:tc></w:tr></w:tbl>"
)


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("txt", b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        ("txt", "Grüße aus Köln\n".encode("utf-16"), "Grüße aus Köln\n"),
        ("txt", "Grüße aus Köln\n".encode("latin-1"), "Grüße aus Köln\n"),
        ("md", b"# Title\n\n*text*\n", "# Title\n\n*text*\n"),
        ("csv", b'name,note\nAnn,"a, ""b""\nc"\n', 'name,note\nAnn,"a, ""b""\nc"\n'),
        ("json", b'{"a": [1, 2.50, "\xc3\xa9"]}', '{"a": [1, 2.50, "é"]}'),
        ("html", b"<title>T &amp; U</title><script>no()</script><p>One<br>two<table><tr><td>1<td>2</table>",
         "T & U\nOne\ntwo\n1\t2\n"),
        ("html", '<meta charset="iso-8859-1"><p>Größe'.encode("latin-1"), "Größe\n"),
        ("pdf", samples.pdf("Hello", "World"), "Hello\n\nWorld\n\n"),
        ("docx", samples.docx(paragraph("One") + TABLE + paragraph("Two &amp; a half")),
         "One\na \tb \t\nc \td \t\nTwo & a half\n"),
        ("xlsx", samples.xlsx(("name", "n"), ("Ann", 3), ("Ben", 2.5), (True, None, datetime.date(2026, 1, 2))),
         "# Sheet\nname\tn\nAnn\t3\nBen\t2.5\nTRUE\t\t2026-01-02\n\n"),
    ],
)  # fmt: skip
def test_each_kind_gives_its_text(kind, data, text):
    parsed = parse(data, kind)
    assert (parsed.text, parsed.is_truncated) == (text, False)


def test_json_of_one_long_line_is_broken_into_lines_and_nothing_else_of_it_changes():
    hard = 'é, [{ " \\ '
    line = json.dumps({"words": [hard] * 1000, "n": 0}, separators=(",", ":"))
    line = line.replace('"n":0', '"n":0.10,"n":12345678901234567.123,"n":1e400')
    text = parse(line.encode(), "json").text
    assert text.replace("\n", "") == line
    assert max(map(len, text.splitlines())) < 50
    assert text.splitlines()[-3:] == ['"n":0.10,', '"n":12345678901234567.123,', '"n":1e400}']


def test_text_that_a_word_document_has_twice_or_has_deleted_is_told_once_or_not():
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    twice = f"<mc:AlternateContent {mc}><mc:Choice>{paragraph('new')}</mc:Choice><mc:Fallback>{paragraph('old')}"
    moved = paragraph("moved")
    twice = f"<w:moveFrom>{moved}</w:moveFrom>{twice}"
    deleted = "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:t>kept</w:t></w:r></w:p>"
    body = f"{twice}</mc:Fallback></mc:AlternateContent>{deleted}<w:moveTo>{moved}</w:moveTo>"
    assert parse(samples.docx(body), "docx").text == "new\nkept\nmoved\n"


def test_what_is_longer_than_is_kept_is_cut():
    parsed = parse("añb".encode() * 10, "txt", text_max_chars=10)
    assert (parsed.text, parsed.is_truncated) == ("añbañbañba", True)
    assert parse(b"x" * 10, "txt", text_max_chars=10).is_truncated is False


def test_a_nul_is_left_out():
    assert parse("a\x00b\n".encode("utf-16") + "plain text\n".encode("utf-16-le") * 100, "txt").text.startswith("ab\n")


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        ("docx", samples.archive(word__document=b"<a>" + b" " * 250_000_000), "expands_too_far"),
        ("xlsx", samples.archive(xl__workbook=b"<a>" + b" " * 250_000_000), "expands_too_far"),
        ("docx", samples.archive(**{f"part{n}": b"" for n in range(10_001)}), "expands_too_far"),
        ("docx", samples.docx(paragraph("&lol9;"), doctype=BOMB), "dangerous_xml"),
        (
            "docx",
            samples.docx(paragraph("x"), doctype='<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">'),
            "dangerous_xml",
        ),
        ("xlsx", samples.xlsx_with("xl/worksheets/sheet1.xml", lambda xml: BOMB.encode() + xml), "dangerous_xml"),
        ("xlsx", samples.xlsx_with("xl/workbook.xml", lambda xml: BOMB.encode() + xml), "dangerous_xml"),
        ("docx", samples.docx("<w:p><w:t>never closed"), "malformed"),
        ("docx", b"PK\x03\x04" + b"x" * 100, "malformed"),
        ("docx", samples.archive(readme="no document"), "malformed"),
        ("docx", samples.lying_archive(), "malformed"),
        ("docx", samples.locked(samples.docx(paragraph("secret"))), "encrypted"),
        ("xlsx", samples.locked(samples.xlsx(("secret",))), "encrypted"),
        ("xlsx", samples.xlsx_with("xl/sharedStrings.xml", lambda xml: BOMB.encode() + xml), "dangerous_xml"),
        ("xlsx", samples.xlsx_with("xl/worksheets/sheet1.xml", samples.last_cell("XFD1048576")), "too_many_columns"),
        ("xlsx", samples.xlsx_with("xl/worksheets/sheet1.xml", samples.last_cell("A2100000")), "too_many_cells"),
        ("xlsx", samples.archive(xl__workbook=b"<workbook/>"), "malformed"),
        ("xlsx", samples.xlsx(*[("x",) * 2049]), "too_many_columns"),
        ("pdf", samples.pdf("Hello", count=1_000_000), "too_many_pages"),
        ("pdf", samples.endless_pdf(), "expands_too_far"),
        ("pdf", samples.circular_pdf(), "malformed"),
        ("pdf", samples.encrypted_pdf("Hello", password="secret"), "encrypted"),
        ("pdf", b"%PDF-1.4\n" + b"garbage " * 1000, "malformed"),
        ("pdf", samples.pdf(""), "no_text"),
        ("csv", b",".join(b"%d" % n for n in range(100_000)) + b"\n", "too_many_columns"),
        ("csv", b"x,y,z\n" * 700_000, "too_many_cells"),
        ("json", b"[" * 100_000, "malformed"),
        ("json", b'{"a": 1', "malformed"),
        ("json", b"1" * 5_000, "malformed"),
        ("txt", b"text " * 20_000 + bytes(range(256)) * 400, "not_text"),
        ("txt", b" \n\t ", "no_text"),
        ("html", b"<html><script>only()</script>", "no_text"),
        ("html", b'<html><meta charset="cp437">' + bytes(range(1, 32)) * 400, "not_text"),
        ("html", b'<html><meta charset="bz2">' + bytes(range(256)) * 400, "not_text"),
    ],
)
def test_a_file_that_means_harm_or_is_broken_says_so(kind, data, code):
    said, detail = refusal(data, kind)
    assert said == code
    assert detail.endswith(".")
    assert len(detail) < 200


def test_a_pdf_with_a_broken_table_of_objects_is_read_where_that_can_be_found_by_looking():
    broken = samples.pdf("Hello").replace(b"startxref\n", b"startxref\n9")
    assert parse(broken, "pdf").text == "Hello\n\n"
    assert refusal(samples.pdf("Hello", xref="xref\n0 5\ngarbage"), "pdf")[0] == "malformed"


def test_what_only_looks_dangerous_is_read():
    assert parse(samples.encrypted_pdf("Hello", password=""), "pdf").text == "Hello\n\n"
    assert parse(b"a,b\n" + b"x" * 200_000 + b",y\n", "csv").text.endswith("x,y\n")
    assert parse(b"<html>" + b"<div>" * 100_000 + b"deep", "html").text == "deep\n"
    indirect = samples.pdf("Hello").replace(b"/Count 1", b"/Count 3 0 R")
    assert parse(indirect, "pdf").text == "Hello\n\n"


def test_messages_name_the_number_that_was_too_much():
    assert refusal(samples.pdf("x", count=1_000_000), "pdf")[1] == (
        "A PDF may have 5,000 pages; this one has 1,000,000."
    )  # fmt: skip
    csv = b",".join([b"x"] * 100_000)
    assert refusal(csv, "csv")[1] == "A table may have 2,048 columns; this one has 100,000."
    assert refusal(b'{"a": 1,\n "b" 2}', "json")[1] == (
        "This is not valid JSON: Expecting ':' delimiter (line 2, column 6)."
    )


def test_a_file_that_takes_too_long_is_killed():
    started = time.monotonic()
    assert refusal(b"<html>" + b"<b></b>" * 2_000_000, "html", seconds=1)[0] == "too_slow"
    assert time.monotonic() - started < 4


def test_a_file_that_takes_too_much_memory_is_refused_and_nothing_else_is_harmed():
    assert refusal(b"[" + b"[]," * 6_000_000 + b"[]]", "json", memory_bytes=300_000_000)[0] == "too_much_memory"


def test_a_child_that_is_killed_is_no_verdict_on_the_file(monkeypatch):
    start = process._start

    def started(*args):
        child = start(*args)
        child.send_signal(signal.SIGKILL)
        return child

    monkeypatch.setattr(process, "_start", started)
    with pytest.raises(ParserDied, match="exit code -9"):
        parse(b"<html>" + b"<b></b>" * 2_000_000, "html")


def test_a_child_that_starts_another_is_ended_with_it(monkeypatch):
    """What holds the pipe open would hold the worker's slot for ever."""
    popen = subprocess.Popen

    def started(command, **kwargs):
        shell = "sleep 60 & exec " + " ".join(map(shlex.quote, command))
        return popen(["/bin/sh", "-c", shell], **{**kwargs, "env": {**kwargs["env"], "PATH": os.defpath}})

    monkeypatch.setattr(process.subprocess, "Popen", started)
    began = time.monotonic()
    assert refusal(b"hello", "txt", seconds=3)[0] == "too_slow"
    assert time.monotonic() - began < 8


def test_a_child_may_write_nothing_open_little_and_compute_only_so_long(tmp_path):
    limits = {**limits_of(LIMITS), "seconds": 1}
    code = f"""
import resource
from files.parsing import child
from files.parsing.outcome import Limits
child._restrict(Limits(**{limits!r}))
names = ("AS", "CPU", "NOFILE", "FSIZE", "CORE")
print([resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0] for name in names])
while True:
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=process._ROOT, capture_output=True, check=False)
    assert eval(done.stdout) == [LIMITS.memory_bytes, 2, 64, 0, 0]  # noqa: S307 - our own list
    assert done.returncode == -signal.SIGXCPU


def test_a_child_ends_with_its_parent():
    request = json.dumps({"fd": 0, "kind": "html", "limits": {**limits_of(LIMITS), "seconds": 60}})
    read, write = os.pipe()
    with tempfile.TemporaryFile() as source:
        source.write(b"<html>" + b"<b></b>" * 2_500_000)
        source.flush()
        source.seek(0)
        request = request.replace('"fd": 0', f'"fd": {source.fileno()}')
        child = subprocess.Popen(
            [sys.executable, "-m", "files.parsing.child", request], stdin=read, pass_fds=[source.fileno()],
            stdout=subprocess.DEVNULL, cwd=process._ROOT,
        )  # fmt: skip
    time.sleep(1)
    assert child.poll() is None
    os.close(write)
    os.close(read)
    assert child.wait(timeout=5) == 1


def test_a_child_has_nothing_of_ours_in_its_environment(monkeypatch):
    monkeypatch.setenv("S3_SECRET_KEY", "canary")
    seen = {}
    popen = subprocess.Popen
    monkeypatch.setattr(
        process.subprocess, "Popen", lambda *args, **kwargs: seen.update(kwargs) or popen(*args, **kwargs)
    )
    parse(b"hello", "txt")
    assert sorted(seen["env"]) == ["LC_ALL", "PYTHONPATH"]
