"""Usage rolled up: sums that stand for the events of closed time, kept so that a report made of both is exact."""
