from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from django.conf import settings
from rest_framework import parsers
from rest_framework.exceptions import ParseError


class WrittenFloat(float):
    """A JSON number with a point or an exponent, which remembers how it was written.

    As a float alone, 0.8 followed by forty zeros and a 1 would be 0.8, and 1e-400 would be 0.
    """

    written: str

    def __new__(cls, written: str) -> WrittenFloat:
        number = super().__new__(cls, written)
        number.written = written
        return number


class JSONParser(parsers.JSONParser):
    """DRF's parser, but that numbers keep their text, and that a body of a hundred thousand `[` is malformed, too, and
    not a bug of ours.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        encoding = (parser_context or {}).get("encoding", settings.DEFAULT_CHARSET)
        try:
            text = codecs.getreader(encoding)(stream)
            return json.load(text, parse_float=WrittenFloat, parse_constant=_refuse)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except ValueError as error:
            raise ParseError(f"JSON parse error - {error}") from None


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity are JavaScript's and Python's, not JSON's."""
    raise ValueError(f"Out of range float values are not JSON compliant: {constant!r}")
