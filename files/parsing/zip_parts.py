"""The parts of an Office file: a ZIP archive of XML, opened only once its declared sizes have been looked at."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from files.parsing.outcome import EXPANDED_MAX_BYTES, ZIP_MEMBERS_MAX, ParseFailed

HAS_ENTITIES = ParseFailed("dangerous_xml", "This file declares XML entities, which no Office program writes.")


def open_archive(source: BinaryIO) -> zipfile.ZipFile:
    """Raises: ParseFailed for what is no archive, is encrypted, or would expand too far.

    Reading a member stops at its declared size, so an archive that lies about it cannot expand further than that.
    """
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise ParseFailed("malformed", "This Office file is damaged: its archive cannot be opened.") from None
    members = archive.infolist()
    expanded = sum(member.file_size for member in members)
    if expanded > EXPANDED_MAX_BYTES or len(members) > ZIP_MEMBERS_MAX:
        raise ParseFailed(
            "expands_too_far",
            f"Unpacked, this file has {expanded:,} bytes in {len(members):,} parts; "
            f"{EXPANDED_MAX_BYTES:,} bytes in {ZIP_MEMBERS_MAX:,} parts are read at most.",
        )
    if any(member.flag_bits & 0x1 for member in members):
        raise ParseFailed("encrypted", "This file is protected by a password.")
    return archive


def elements(archive: zipfile.ZipFile, part: str) -> Iterator[tuple[str, Any]]:
    """Start and end of each element of a part, which may be cleared once it has ended. Raises: ParseFailed."""
    try:
        with archive.open(part) as stream:
            # No Office program writes a document type; entities, the bombs among them, live in one.
            yield from iterparse(stream, events=("start", "end"), forbid_dtd=True)
    except DefusedXmlException:
        raise HAS_ENTITIES from None
    except (ParseError, zipfile.BadZipFile, EOFError):
        raise ParseFailed("malformed", f"This Office file is damaged: {part} cannot be read.") from None
