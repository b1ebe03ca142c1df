"""What a run did, in numbers that must add up."""

from dataclasses import dataclass
from datetime import datetime

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
