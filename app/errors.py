"""What the server's rooms say when something is not there."""

from pipelines.errors import DiscernError


class UnknownError(DiscernError):
    """There is no study, part of a study, or user of this name."""
