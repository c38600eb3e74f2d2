"""What asks the servers: one HTTP connection, and many of them at once."""
