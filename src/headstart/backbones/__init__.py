"""Pretrained networks: where they come from, and the fastest way to run them here."""
