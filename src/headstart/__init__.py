"""Headstart: a folder of labelled images becomes an accurate, honestly measured classifier."""
