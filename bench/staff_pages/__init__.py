"""Staff's pages and reports on a large database: how long each takes, and how PostgreSQL finds what it shows.

make seed-big
manage.py embedded --name big -- python -m bench.staff_pages --plans docs/query-plans.md
"""
