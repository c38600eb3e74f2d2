"""Which characters do these bytes stand for? By byte order mark, then UTF-8, then what is likeliest."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

SAMPLE_BYTES = 65_536
# But for those that plain text may have: tab, line ends, form feed, escape, NEL.
# Among them what takes the place of bytes that are no character.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffd]")
# Of all characters: a stray one is no reason to refuse a log.
_CONTROLS_MAX_SHARE = 0.002
# Below that a guess among the many encodings of one byte is worth nothing.
_SURE_BYTES = 64
# Those of the Latin script cannot be told from each other: detection says cp1250 of German in Latin-1.
_OTHER_SCRIPTS = (
    *("cp1251", "koi8", "iso8859_5", "cp866", "mac_cyrillic", "cp1253", "iso8859_7", "cp1255", "iso8859_8"),
    *("cp1256", "iso8859_6", "cp874", "tis_620", "iso8859_11", "shift_jis", "cp932", "euc_", "iso2022"),
    *("gb", "big5", "cp936", "cp950", "cp949", "johab", "hz"),
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(data: bytes, *, is_whole: bool = True) -> str | None:
    """The text, without its byte order mark; None where this is no text. `is_whole`: the last character is complete."""
    encoding = encoding_of(data[:SAMPLE_BYTES])
    text = None if encoding is None else _decode(data, encoding, is_whole=is_whole)
    return text if text is not None and is_text(text) else None


def encoding_of(sample: bytes) -> str | None:
    """The name of a codec, for the beginning of a file."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    if sample.count(0) > len(sample) * _CONTROLS_MAX_SHARE:
        return _wide_encoding(sample)
    if _decode(sample, "utf-8", is_whole=False) is not None:
        return "utf-8"
    return _narrow_encoding(sample)


def is_text(text: str) -> bool:
    """Few enough control characters. Binary data that happens to decode is full of them."""
    return sum(1 for _ in _CONTROLS.finditer(text)) <= len(text) * _CONTROLS_MAX_SHARE


def _decode(data: bytes, encoding: str, *, is_whole: bool) -> str | None:
    if encoding == "utf-8" and is_whole:
        # The sample was UTF-8; a few bad bytes further on are no reason to take it for something else.
        return data.decode(encoding, "replace")
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, is_whole)
    except UnicodeDecodeError:
        return data.decode(encoding, "replace") if is_whole else None


def _wide_encoding(sample: bytes) -> str | None:
    """UTF-16 without its mark: Western text has a NUL in every other place, and in no other."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) / 2
    if odd > 0.4 * half and even < 0.02 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.02 * half:
        return "utf-16-be"
    return None


def _narrow_encoding(sample: bytes) -> str:
    """Another script, where that is what it looks like; else Windows' Western set, which has all that Latin-1 has."""
    best = from_bytes(sample, threshold=0.2).best() if len(sample) >= _SURE_BYTES else None
    if best is not None and best.encoding.startswith(_OTHER_SCRIPTS):
        return best.encoding
    return "cp1252" if _decode(sample, "cp1252", is_whole=False) is not None else "latin-1"
