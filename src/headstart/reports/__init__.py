"""A run folder becomes a page: HTML and Markdown, from its files alone."""
