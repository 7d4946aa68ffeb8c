"""Files to images to splits: what the user has, read once and checked before anything is trained."""
