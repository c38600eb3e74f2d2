"""Faults under load: every process is killed at random moments, and an oracle says whether money is right."""
