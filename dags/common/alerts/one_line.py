"""What a log says of an error."""

from common.errors import DedupePeopleError


def one_line(error: BaseException) -> str:
    """The kind of an error and, of our own errors, what it says: others may show a password."""
    if isinstance(error, DedupePeopleError):
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return type(error).__name__
