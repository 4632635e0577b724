"""Upstream repositories in their own environments: the boundary is files, and files are what they are judged by."""
