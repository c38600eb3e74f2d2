"""Ninety days of a large deployment, made by the database itself: for measuring reports, and for looking at them."""
