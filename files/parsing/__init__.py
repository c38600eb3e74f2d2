"""Bytes to text, in a process of its own. Knows no Django, so that the child starts fast and holds no secret."""
