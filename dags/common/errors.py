"""Every exception of ours, in one tree that says whether another try can help.

    DedupePeopleError
    ├── PermanentError          another try would fail the same way, so the task fails at once
    │   ├── MissingBatch        a task ran before the task that makes its batch
    │   ├── SourceError         the source of a batch cannot be used
    │   ├── PeopleDbError       the people database is not set up as it must be, or refuses what is asked
    │   ├── ModelError          a stored or given model cannot be used
    │   ├── MissedPairsError    the certificate found a pair that the search had missed
    │   ├── CandidateExplosion  the search would need more work than its budget allows
    │   └── ReportError         the numbers of a run do not add up
    └── TransientError          the cause may pass, so the task is tried again
        ├── SourceIsChanging    a file is still being written
        ├── PeopleDbUnreachable no connection to the people database, or it was lost
        └── FilesLeft           files of erased people cannot be deleted now

The message of each is one line for the person who reads it and holds no personal data: mails and logs show it whole.
Of exceptions that are not ours they show the type alone, since a message may quote a row. Those are retried.
"""


class DedupePeopleError(Exception):
    """Base of all our exceptions."""


class PermanentError(DedupePeopleError):
    """The input, the set-up or the numbers are wrong: another try would fail too."""


class MissingBatch(SystemExit, PermanentError):
    """A task ran without the batch of the task before it, as `airflow tasks test` can make happen.

    An exception like the others, and a SystemExit besides: those Airflow logs in one line, of all others it logs the
    traceback too, which would bury the advice.
    """


class SourceError(PermanentError):
    """A source cannot be used as a whole. Single rows that cannot be used are no error: they go to quarantine."""


class PeopleDbError(PermanentError):
    """The people database cannot be used as it is set up, or refuses what is asked of it."""


class ModelError(PermanentError):
    """A model cannot be used: its formula is unknown, or its score would not grow with every similarity."""


class MissedPairsError(PermanentError):
    """The exhaustive comparison of the certificate found pairs that the search had left out."""


class CandidateExplosion(PermanentError):
    """A search would find more pairs, or compare more, than its budget allows.

    Attributes:
        pairs: candidate pairs: expected, or found before giving up.
        comparisons: pairs of addresses to compare, likewise.
        frequent: first name, last name and number of pairs, of the names that are most often the same. Personal data:
            the message shows them masked.
    """

    def __init__(
        self, message: str, *, pairs: int, comparisons: int, frequent: list[tuple[str | None, str | None, int]]
    ) -> None:
        super().__init__(message)
        self.pairs, self.comparisons, self.frequent = pairs, comparisons, frequent


class ReportError(PermanentError):
    """The numbers of a run do not add up."""


class TransientError(DedupePeopleError):
    """The cause lies outside and may pass: another try may succeed."""


class SourceIsChanging(TransientError):
    """Somebody wrote to a file while it was read."""


class PeopleDbUnreachable(TransientError):
    """The people database does not answer now."""


class FilesLeft(TransientError):
    """Rows of somebody are erased, but files in which they stand cannot be deleted now."""
