"""What happens with a record, and why. Apart from `decision`, since many need these words only."""

from enum import StrEnum


class Decision(StrEnum):
    """What happens with a record."""

    NEW = "NEW"
    """Nobody comes near: inserted."""
    DUPLICATE = "DUPLICATE"
    """Score at `accept_at` or above: kept, not inserted."""
    REVIEW = "REVIEW"
    """Too near to insert, too far to drop: kept for a person to judge."""


class Reason(StrEnum):
    """Why a record was decided the way it was."""

    NO_CANDIDATE = "NO_CANDIDATE"
    """Nobody in the table or in the batch reaches `review_at`."""
    SURVIVOR = "SURVIVOR"
    """The one record of its within-batch duplicates that is inserted."""
    MATCH = "MATCH"
    """An existing person reaches `accept_at`."""
    WITHIN_BATCH = "WITHIN_BATCH"
    """A duplicate of another record of the batch, and shares its fate."""
    KNOWN_RECORD = "KNOWN_RECORD"
    """A record that says the same came before."""
    SAME_KEY = "SAME_KEY"
    """The system that it comes from sent another record under the same key before."""
    BORDERLINE = "BORDERLINE"
    """The best candidate lies between `review_at` and `accept_at`."""
    HOUSEHOLD = "HOUSEHOLD"
    """The best candidate lives there too, but has another first name or is of another generation."""
    THIN_MARGIN = "THIN_MARGIN"
    """Two existing people fit about equally well."""
    LATER_SPELLING = "LATER_SPELLING"
    """Only a later spelling of the person reaches `accept_at`, and the first one not even `review_at`."""
    OPEN_QUESTION = "OPEN_QUESTION"
    """A record that waits in review reaches `review_at`, and nobody else does."""
