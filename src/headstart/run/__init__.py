"""The run folder: its files, their formats, and how they are written whole or not at all."""
