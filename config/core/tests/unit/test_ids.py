from __future__ import annotations

import time
import uuid
from itertools import pairwise

from config.core.ids import uuid7


def test_ids_are_version_7_and_hold_the_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = uuid7()
    assert type(made) is uuid.UUID
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before_ms <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_of_one_process_rise_and_differ() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert all(first < second for first, second in pairwise(made))
