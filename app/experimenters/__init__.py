"""Watching: the live vote matrix, the subjects' progress, the current ranking."""
