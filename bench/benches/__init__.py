"""One file for each kind of measurement. Each gives rows: ours, a yardstick, and every single run."""
