"""Spending limits: set by people for their rooms, agents and keys, by staff for anything of a user's.

They are kept by `billing.ledger.limits` and counted by `billing.ledger.counting`; here they are made and read.
"""
