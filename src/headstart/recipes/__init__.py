"""Strategies of transfer learning, as data."""
