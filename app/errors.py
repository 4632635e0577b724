"""What the server's rooms say when something is not there."""

from pipelines.errors import DiscernError


class BusyError(DiscernError):
    """Others are asking for something costly; this one may ask again in a moment."""


class UnknownError(DiscernError):
    """There is no study, part of a study, or user of this name."""
