"""Metrics against people: how often a metric agrees with a vote, and what that figure has to be compared with."""
