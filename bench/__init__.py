"""How fast it is, beside what others take for the same (`make bench`), and how far tests can be trusted."""
