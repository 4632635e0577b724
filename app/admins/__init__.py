"""Deciding: importing studies, inviting, fitting rankings, launching calibrations."""
