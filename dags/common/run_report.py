"""What a run did, in numbers that must add up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.errors import ReportError

SWEEP = "people"
"""Stands for the source where the batch is the table itself."""


@dataclass(frozen=True)
class RunReport:
    """The numbers of a loaded batch: received = quarantined + duplicates + review + inserted + erased.

    `run_id` is the run that loaded the batch: an earlier one if the same input came again. `erased` are records whose
    rows were removed later, when a person was erased.
    """

    batch_id: str
    run_id: str
    source: str
    model_version: str
    received: int
    quarantined: int
    duplicates: int
    review: int
    inserted: int
    erased: int = 0

    def __post_init__(self) -> None:
        """Hold the invariant.

        Raises:
            ReportError: a record was lost or counted twice.
        """
        if self.received != self.quarantined + self.duplicates + self.review + self.inserted + self.erased:
            raise ReportError(f"the numbers do not add up: {self}")

    def __str__(self) -> str:
        """The numbers on one line."""
        return (
            f"received={self.received} quarantined={self.quarantined} duplicates={self.duplicates} "
            f"review={self.review} inserted={self.inserted}" + (f" erased={self.erased}" if self.erased else "")
        )


@dataclass(frozen=True)
class LoadedBatch:
    """When a batch was loaded, and how many people the table held before it and holds with it."""

    loaded_at: datetime
    people_before: int
    people_after: int


@dataclass(frozen=True)
class ReviewedBatch:
    """How review stands with a batch, in records.

    Attributes:
        batch_id: the batch.
        received: all its records.
        open: those that wait for an answer.
        answered: those that were put to review and have been answered.
        agreed: those of them about which the model would have said the same: the same person as the best candidate
            from a score of one half on, unless that is a relative by the household rule; else somebody else.
    """

    batch_id: str
    received: int
    open: int
    answered: int
    agreed: int

    @property
    def asked(self) -> int:
        """The records that were put to review."""
        return self.open + self.answered


@dataclass(frozen=True)
class Disputed:
    """A pair about which people disagree: the raw fields of the record, who says yes (the same person) and who no."""

    first_name: str | None
    last_name: str | None
    address: str | None
    yes: str
    no: str


@dataclass(frozen=True)
class ReviewWork:
    """How review stands.

    Attributes:
        open: open questions; several records may wait in one.
        median_age: of these, when the batch that is reported was loaded; None if none is open.
        batches: the last batches, the latest last; sweeps are left out.
        disputed: pairs about which people disagree, the latest first.
    """

    open: int
    median_age: timedelta | None
    batches: Sequence[ReviewedBatch]
    disputed: Sequence[Disputed] = ()

    @property
    def answered(self) -> int:
        """Records of these batches that have been answered."""
        return sum(batch.answered for batch in self.batches)

    @property
    def agreed(self) -> int:
        """Those of them about which the model would have said the same."""
        return sum(batch.agreed for batch in self.batches)


NO_REVIEW = ReviewWork(0, None, ())
"""Nobody was ever asked."""
