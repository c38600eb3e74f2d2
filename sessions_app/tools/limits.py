"""How much an agent may do with tools before it answers. Beside these the wallet is asked before each model call."""

from __future__ import annotations

# Of one answer: model calls in all, the last of them without tools; calls of tools, how many at once, seconds in all.
MODEL_STEPS = 6
CALLS = 8
PARALLEL = 4
SECONDS = 90
# Consecutive calls that failed or were refused; then the answer has to do without.
ERRORS_IN_A_ROW = 3
# Bytes of UTF-8: of one call's arguments, of one result, and of all results of a turn.
ARGUMENT_BYTES = 4_096
RESULT_BYTES = 8_192
TURN_RESULT_BYTES = 24_576
# Fewer than this say nothing: then the model is told that there is no room.
LEAST_RESULT_BYTES = 1_024
QUERY_CHARS = 256
# How many turns back an agent still sees what its own tools told it.
TRACE_TURNS = 2
