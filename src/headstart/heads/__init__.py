"""Classifiers solved on stored features in seconds."""
