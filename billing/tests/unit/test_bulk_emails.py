"""Lists of addresses as spreadsheets and editors write them."""

from __future__ import annotations

import pytest

from billing.bulk.emails import FILE_MAX_BYTES, ROWS_MAX, Unreadable, read


def texts(content):
    return [(row.line, row.text) for row in read(content)]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a@x.de\nb@x.de\n", [(1, "a@x.de"), (2, "b@x.de")]),
        (b"\xef\xbb\xbfemail\r\na@x.de\r\n\r\nb@x.de", [(2, "a@x.de"), (4, "b@x.de")]),
        (b"\xef\xbb\xbfa@x.de", [(1, "a@x.de")]),
        (b"name,E-Mail,city\nAda,a@x.de,Rome\nBob,b@x.de,\n", [(2, "a@x.de"), (3, "b@x.de")]),
        (b"name;email\n\"Love; Ada\";a@x.de\n", [(2, "a@x.de")]),
        (b"id\temail\n1\ta@x.de\n2\n", [(2, "a@x.de"), (3, "")]),
        (b'  a@x.de  \n"b@x.de"\n', [(1, "a@x.de"), (2, "b@x.de")]),
        ("email\r\na@x.de\r\n".encode("utf-16"), [(2, "a@x.de")]),
        (b"sep=;\r\nname;email\r\nAda;a@x.de\r\n", [(3, "a@x.de")]),
        (b"SEP=,\n\na@x.de,Ada\n", [(3, "a@x.de")]),
        (b'"Love, Ada";a@x.de\n"B, C";b@x.de\n', [(1, "a@x.de"), (2, "b@x.de")]),
        (b"Ada,a@x.de\nBob,b@x.de\n", [(1, "a@x.de"), (2, "b@x.de")]),
        (b"email\ra@x.de\r", [(2, "a@x.de")]),
        ("émile@x.de\n=1+1\n".encode(), [(1, "émile@x.de"), (2, "=1+1")]),
    ],
)  # fmt: skip
def test_a_list_is_read_row_by_row(content, rows):
    assert texts(content) == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "There is no address in the file."),
        (b"\xef\xbb\xbf\n \n", "There is no address in the file."),
        (b"email\n", "There is no address in the file."),
        (b"caf\xe9@x.de\n", "The file is not UTF-8 (byte 4). Save it as CSV UTF-8."),
        (b"\xff\xfea", "The file is not UTF-8 (byte 3). Save it as CSV UTF-8."),
        ("a@x.de\n".encode("utf-16-be"), "The file is no text: it contains NUL. A workbook has to be saved as CSV."),
        (b"PK\x03\x04\x00\x00", "The file is no text: it contains NUL. A workbook has to be saved as CSV."),
        (b"a@x.de\n" * (ROWS_MAX + 1), "The file has 10,001 rows; at most 10,000. Send it in parts."),
        (b"x" * (FILE_MAX_BYTES + 1), "The file has 600,001 bytes; at most 600,000."),
        (b'a@x.de\n"b@x.de\n', "Line 2 is no CSV: unexpected end of data."),
    ],
)
def test_what_cannot_be_read_is_refused_as_a_whole_and_said(content, said):
    with pytest.raises(Unreadable) as refused:
        read(content)
    assert str(refused.value) == said


def test_the_largest_list_is_read():
    assert len(read(b"a@x.de\n" * ROWS_MAX)) == ROWS_MAX
