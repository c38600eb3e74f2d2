"""The terminal client, `manage.py chat`: it knows the HTTP API and nothing else of this project."""
