"""The cost desk: reports for staff in the admin, as charts and tables. What they add up is `billing.reports`."""
