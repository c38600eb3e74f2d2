from __future__ import annotations

import pytest

from files.names import clean_name


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/etc/passwd", "passwd"),
        ("a\x00b.txt", "ab.txt"),
        ("a\r\nSet-Cookie: x.txt", "a Set-Cookie: x.txt"),
        ("invoice\u202etxt.exe", "invoicetxt.exe"),
        ("zero\u200bwidth.txt", "zerowidth.txt"),
        ("half \ud800 pair.txt", "half pair.txt"),
        ("  many   spaces .txt ", "many spaces .txt"),
        ("Cafe\u0301.md", "Café.md"),
        ("報告書.pdf", "報告書.pdf"),
        ("..", "file"), (".", "file"), ("", "file"), ("/", "file"), ("\x00", "file"), (". . .", "file"),
        (".env", ".env"),
    ],
)  # fmt: skip
def test_a_name_is_what_a_person_may_see(raw, clean):
    assert clean_name(raw) == clean


def test_a_long_name_keeps_its_suffix():
    assert clean_name("x" * 500 + ".docx") == "x" * 195 + ".docx"
    assert clean_name("x" * 300 + "." + "y" * 300) == "x" * 180 + "." + "y" * 19
