"""What the server's rooms say when something is not there, or may not be done."""

from pipelines.errors import DiscernError


class BusyError(DiscernError):
    """Others are asking for something costly; this one may ask again in a moment."""


class UnknownError(DiscernError):
    """There is no study, part of a study, or user of this name."""


class RefusalError(DiscernError):
    """What a subject is told who may not do something; who words it knows that not every subject reads English.

    The catalogues know it by its English text, which `app.subjects.words` finds where this class is named.

    Args:
        text: one sentence, which begins small and ends without a stop, with the names of values in braces.
        status: of HTTP.
        values: by name.
    """

    def __init__(self, text: str, /, status: int = 409, **values: object) -> None:
        super().__init__(text.format(**values))
        self.text = text
        self.status = status
        self.values = values
