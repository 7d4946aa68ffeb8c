"""The verbs: what each needs, in order."""
