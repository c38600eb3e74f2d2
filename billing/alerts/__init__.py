"""Telling people of their credits: what crossed a line, who is told, and getting it there.

crossings, expiring   what happened becomes a row of `alerts`; a crossing in the transaction that moved the money
announcing            a worker hears of it at once, if the broker is there; the beat looks all the same
fan_out               each alert becomes one row of `alert_deliveries` a receiver
delivering            what is due is claimed (`outbox`), sent (`sending`, `mails`) and recorded
"""
