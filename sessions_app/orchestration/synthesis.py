"""The orchestrator's last word: one answer out of those that the agents gave."""

from __future__ import annotations

from sessions_app.llm.types import Message

INSTRUCTIONS = (
    "You lead a conversation in which several agents have answered the user's last message. Write the final answer to"
    " the user from what they said: keep what is right and useful, settle what they disagree on, and say what stays"
    " open. Do not speak about the agents or about yourself."
)
REQUEST = Message("user", "Write the final answer to my message now.")
