"""How good a classifier is, how sure that number is, and how to say it in plain words."""
