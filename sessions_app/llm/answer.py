"""What has been received of one answer so far. It outlives the connection, so that a cut call is metered too."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from sessions_app.llm.faults import error_frame_fault, runaway_fault
from sessions_app.llm.frames import Frame
from sessions_app.llm.redaction import excerpt
from sessions_app.llm.text import TextStream, label
from sessions_app.llm.tool_wire import GatheredCalls
from sessions_app.llm.usage_chunks import GatheredUsage, UsageChunks

# Far above any real answer (a token has 4 characters on average), so only who ignores `max_tokens` meets it.
TEXT_CHARS_PER_TOKEN = 64
TEXT_MIN_CHARS = 4_096
MODEL_MAX_CHARS = 200
FINISH_REASON_MAX_CHARS = 64


class Answer:
    """Takes frames, passes clean text on, keeps the facts for the result."""

    def __init__(
        self,
        *,
        max_output_tokens: int,
        key: str,
        on_delta: Callable[[str], None],
        usage_chunks: UsageChunks = "cumulative",
    ) -> None:
        self.usage = GatheredUsage(usage_chunks)
        self.tool_calls = GatheredCalls(key)
        self.finish_reason: str | None = None
        self._said_model = ""
        self.first_text_at: float | None = None
        self._key = key
        self._on_delta = on_delta
        self._stream = TextStream(key)
        self._parts: list[str] = []
        self._said_chars = 0
        self._counted_chars = 0
        self._room_chars = TEXT_MIN_CHARS + TEXT_CHARS_PER_TOKEN * max_output_tokens

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def uncounted_text(self) -> str:
        """What came after the last usage object, and so cannot be in its counts."""
        return self.text[self._counted_chars :]

    @property
    def has_output(self) -> bool:
        """Whether the model has begun to answer, be it with text or with a call of a tool."""
        return bool(self._parts) or bool(self.tool_calls)

    @property
    def written(self) -> str:
        """All that the model wrote, its calls of tools included."""
        return self.text + self.tool_calls.text

    @property
    def model(self) -> str:
        """As the provider named it, or empty. Cleaned here and not in `take`: it comes with every chunk."""
        return label(self._said_model, MODEL_MAX_CHARS, self._key)

    @property
    def has_ended(self) -> bool:
        return self.finish_reason is not None

    def take(self, frame: Frame) -> None:
        if frame.model is not None:
            self._said_model = frame.model
        if frame.usage is not None:
            self.usage.take(frame.usage)
        if frame.text:
            self._say(self._stream.feed(frame.text))
        for piece in frame.tool_calls:
            self._room_chars -= self.tool_calls.take(piece)
        if self._room_chars < 0:
            raise runaway_fault()
        if frame.usage is not None:
            self._counted_chars = self._said_chars + self._stream.held_chars
        if frame.error is not None:
            raise error_frame_fault(excerpt(frame.error, self._key))
        if frame.finish_reason is not None:
            self.finish_reason = label(frame.finish_reason, FINISH_REASON_MAX_CHARS, self._key)

    def flush(self) -> None:
        """Say what was held back. Once, when nothing more will come; harmless when repeated."""
        self._say(self._stream.flush(), is_last=True)

    def _say(self, text: str, *, is_last: bool = False) -> None:
        is_runaway = len(text) > self._room_chars
        text = text[: self._room_chars]
        if text:
            if self.first_text_at is None:
                self.first_text_at = perf_counter()
            self._room_chars -= len(text)
            self._said_chars += len(text)
            # Kept before it is passed on: text that a failing callback saw is billed like any other.
            self._parts.append(text)
            self._on_delta(text)
        if is_runaway and not is_last:
            raise runaway_fault()
