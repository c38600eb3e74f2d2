"""How much the bundled model may read, shared by its server and its price row."""

CONTEXT_TOKENS = 8192
SLOTS = 2
# The slots share the context.
CONTEXT_TOKENS_PER_SLOT = CONTEXT_TOKENS // SLOTS
