"""What would a price version have charged for what really happened? Reads events, writes nothing."""
