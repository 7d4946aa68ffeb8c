"""What would spoil a result, one file a family of findings."""
