"""The server: a run behind HTTP, and its own small page."""
