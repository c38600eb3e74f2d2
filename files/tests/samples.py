"""Files of every kind, made here byte by byte, and those that mean harm."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable

import openpyxl
from pypdf import PdfWriter

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_TYPES = b'<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
_SHARED_STRINGS_TYPE = (
    b'<Override PartName="/xl/sharedStrings.xml" '
    b'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/>'
)
_LEVELS = ['<!ENTITY lol "lol">', *(f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(2, 10))]
_LEVELS.insert(1, f'<!ENTITY lol1 "{"&lol;" * 10}">')
BOMB = f"<!DOCTYPE lolz [{''.join(_LEVELS)}]>"
ELF = b"\x7fELF\x02\x01\x01" + b"\x00" * 9 + b"\x03\x00\x3e\x00\x01\x00\x00\x00" + b"Hello, I am a text file. " * 40


def archive(**parts: bytes | str) -> bytes:
    """A ZIP with these members; `__` in a name stands for `/`, a name without a suffix is XML."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("[Content_Types].xml", _TYPES)
        for name, content in parts.items():
            out.writestr(name.replace("__", "/") + ".xml", content)
    return made.getvalue()


def docx(body: str, *, doctype: str = "") -> bytes:
    return archive(
        word__document=f'<?xml version="1.0"?>{doctype}<w:document {_W}><w:body>{body}</w:body></w:document>'
    )


def lying_archive() -> bytes:
    """Declares a hundred bytes of a document and holds fifty megabytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("word/document.xml", b"<a>" + b" " * 50_000_000)
    real, said = struct.pack("<L", 50_000_003), struct.pack("<L", 100)
    return made.getvalue().replace(real, said)


def locked(data: bytes) -> bytes:
    """An archive whose members say that they are encrypted."""
    for mark, flags_at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = 0
        while (found := data.find(mark, start)) >= 0:
            at, start = found + flags_at, found + 4
            data = data[:at] + bytes([data[at] | 1]) + data[at + 1 :]
    return data


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def xlsx(*rows: tuple, title: str = "Sheet") -> bytes:
    made, book = io.BytesIO(), openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(title)
    for row in rows:
        sheet.append(row)
    book.save(made)
    return made.getvalue()


def xlsx_with(part: str, change: Callable[[bytes], bytes]) -> bytes:
    """A workbook of one row, with one of its parts changed. Shared strings, which it has not, are added."""
    made, whole, book = io.BytesIO(), io.BytesIO(), openpyxl.Workbook()
    book.active.append(("a", "b"))
    book.save(whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for member in source.infolist():
            content = source.read(member)
            if member.filename == "[Content_Types].xml":
                content = content.replace(b"</Types>", _SHARED_STRINGS_TYPE + b"</Types>")
            out.writestr(member.filename, change(content) if member.filename == part else content)
        strings = b"<sst/>"
        out.writestr("xl/sharedStrings.xml", change(strings) if part == "xl/sharedStrings.xml" else strings)
    return made.getvalue()


def last_cell(reference: str) -> Callable[[bytes], bytes]:
    """One cell, as far out as a sheet goes."""
    row = "".join(char for char in reference if char.isdigit())
    return _sheet_data(f'<row r="{row}"><c r="{reference}" t="inlineStr"><is><t>x</t></is></c></row>')


def _sheet_data(data: str) -> Callable[[bytes], bytes]:
    return lambda xml: re.sub(rb"<sheetData>.*</sheetData>", f"<sheetData>{data}</sheetData>".encode(), xml)


def pdf(*pages: str, count: int | None = None, xref: str | None = None) -> bytes:
    """A PDF with a line of text on each page. `count`: what it says of itself; `xref`: instead of the right one."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for text in pages:
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        resources = "<< /Font << /F1 3 0 R >> >>"
        box = f"/MediaBox [0 0 612 792] /Resources {resources} /Contents {len(objects)} 0 R"
        objects.append(f"<< /Type /Page /Parent 2 0 R {box} >>")
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids) if count is None else count} >>"
    return _numbered(objects, xref)


def encrypted_pdf(text: str, *, password: str) -> bytes:
    made = io.BytesIO()
    writer = PdfWriter(clone_from=io.BytesIO(pdf(text)))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    writer.write(made)
    return made.getvalue()


def circular_pdf() -> bytes:
    """A branch of pages that leads back to its own root."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    objects.append("<< /Type /Pages /Parent 2 0 R /Kids [2 0 R] /Count 1 >>")
    return _numbered(objects, None)


def _numbered(objects: list[str], xref: str | None) -> bytes:
    made, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(made))
        made += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(made)
    if xref is None:
        xref = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n" + "".join(f"{at:010d} 00000 n \n" for at in offsets)
    made += f"{xref}trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(made)


def endless_pdf() -> bytes:
    """A tree of pages in which each branch leads ten times to the next: a billion pages in a kilobyte."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    objects += [f"<< /Type /Pages /Kids [{f'{level + 1} 0 R ' * 10}] /Count 1 >>" for level in range(2, 11)]
    objects.append("<< /Type /Page /Parent 10 0 R /MediaBox [0 0 612 792] >>")
    return _numbered(objects, None)
