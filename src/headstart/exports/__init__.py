"""A run leaves for other runtimes, and is checked there against the original."""
