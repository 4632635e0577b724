"""What a user can mend: every message names the file or field, the value that came, and the remedy."""


class DiscernError(Exception):
    """A mistake in what the user gave; the command prints its message alone, without a traceback."""


class WeightsError(DiscernError):
    """Pretrained weights are missing, damaged, or not of the kind that was asked for."""
