"""What is to be told of a run: from stored decisions to sentences and rows, masked."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from common.errors import ReportError
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES
from common.linkage.validation import QuarantineReason
from common.linkage.verdict import Decision, Reason
from common.masking import masked
from common.report.words import QUARANTINE, REASONS
from common.run_report import NO_REVIEW, SWEEP, LoadedBatch, ReviewWork, RunReport
from common.settings import CANARY_LIMITS, FEWEST_CANARIES, MAX_REVIEWED

if TYPE_CHECKING:
    import pyarrow as pa

    from common.linkage.canary import Canaries
    from common.linkage.model import LinkageModel

Row = Mapping[str, Any]
"""A stored decision, by the names of `STORED_DECISIONS`."""


@dataclass(frozen=True)
class ReasonCount:
    """How many records were decided for one reason, and the first of them, masked."""

    decision: str
    reason: str
    meaning: str
    count: int
    example: str


@dataclass(frozen=True)
class Question:
    """A record in review, masked, and how to answer it.

    `key` is that of the record; in a sweep, whose records are people, it is the person_id. `commands` are pairs of what
    a verdict means and the command that gives it.
    """

    key: str
    who: str
    candidate: str
    score: str
    reason: str
    meaning: str
    evidence: str
    runner_up: str
    commands: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Findings:
    """Everything that the report of a run is made of.

    Attributes:
        run_id: the run that reports.
        numbers: of the batch.
        batch: when it was loaded, and the size of the table before and after.
        decisions: the batch as stored, schema `people_db.STORED_DECISIONS`.
        quarantine: records by reason code.
        model: for the cut-offs.
        results: the model's train and test results, as `training.results_table` gives them; empty if there are none.
        certificate: what the exhaustive comparison of a few records showed, in one line.
        canaries: how the canaries of this run and of those before it fared, latest first.
        review: how review stands with this batch and those before it.
        undelivered: mails that a server refused or nobody took, in one line each.

    Raises:
        ReportError: the rows that are stored are not as many as the numbers say.
    """

    run_id: str
    numbers: RunReport
    batch: LoadedBatch
    decisions: "pa.Table"
    quarantine: Mapping[str, int]
    model: "LinkageModel"
    results: Mapping[str, Any]
    certificate: str
    canaries: "Sequence[Canaries]"
    undelivered: Sequence[str] = ()
    review: ReviewWork = NO_REVIEW

    def __post_init__(self) -> None:
        """Hold what is stored against what is reported."""
        kinds = Counter(row["decision"] for row in self.rows)
        stored = [*(kinds[kind] for kind in (Decision.DUPLICATE, Decision.REVIEW, Decision.NEW))]
        stored += [sum(self.quarantine.values())]
        if stored != [getattr(self.numbers, name) for name in ("duplicates", "review", "inserted", "quarantined")]:
            raise ReportError(
                f"stored are {stored} duplicates, in review, inserted, quarantined; reported {self.numbers}"
            )

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The decisions as dicts."""
        return self.decisions.to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def shadows(self) -> "list[Canaries]":
        """The canaries of this run and of those before it, latest first; none if this run had none."""
        counted = [run for run in self.canaries if run.returning or run.strangers]
        return counted if self.canaries and counted[:1] == list(self.canaries[:1]) else []

    @property
    def is_sweep(self) -> bool:
        """Whether the table was compared with itself."""
        return self.numbers.source == SWEEP

    @property
    def loaded_before(self) -> bool:
        """Whether an earlier run has loaded this very input, so that nothing was changed."""
        return self.numbers.run_id != self.run_id

    @property
    def date(self) -> str:
        """When the batch was loaded."""
        return f"{self.batch.loaded_at.astimezone(UTC):%A, %-d %B %Y, %H:%M} UTC"

    @property
    def headline(self) -> str:
        """The run in one line."""
        numbers = self.numbers
        if not numbers.received:
            return "No duplicates in the table" if self.is_sweep else "An empty batch: nothing to do"
        counted = {
            "marked as duplicates" if self.is_sweep else "known": numbers.duplicates,
            "needs you" if numbers.review == 1 else "need you": numbers.review,
            "in quarantine": numbers.quarantined,
        }
        parts = [] if self.is_sweep else [_counted(numbers.inserted, "new person", "new people")]
        parts += [f"{count:,} {label}" for label, count in counted.items() if count or label == "known"]
        return ("Loaded before: " if self.loaded_before else "") + ", ".join(parts)

    @property
    def size(self) -> str:
        """How the table has grown, in one sentence."""
        before, after = self.batch.people_before, self.batch.people_after
        if self.is_sweep:
            return f"The table has {after:,} rows. Nobody was deleted: duplicates are marked."
        return f"The table had {before:,} people before and has {after:,} now."

    @property
    def warnings(self) -> list[str]:
        """What must not be overlooked."""
        warnings = []
        if self.shadows and self.shadows[0].exceed(**CANARY_LIMITS, fewest=FEWEST_CANARIES):
            warnings.append(
                f"The canaries are past their limits of {CANARY_LIMITS['max_reinserted']:.0%} re-inserted and "
                f"{CANARY_LIMITS['max_dropped']:.0%} wrongly dropped: this batch has probably been decided as badly. "
                f"{_sentence(str(self.shadows[0]))} Look at the records, and consider retraining."
            )
        if self.undelivered:
            mails = _counted(len(self.undelivered), "mail", "mails")
            warnings.append(f"{mails} could not be delivered; see the end of the report.")
        return warnings

    @property
    def notes(self) -> list[str]:
        """What else is worth knowing."""
        if not self.loaded_before:
            return []
        return [f"This input was loaded before, by run {self.numbers.run_id}: nothing was changed."]

    @property
    def review_limit(self) -> str:
        """Whether the model kept on test to what it may put to review; "" if it was not trained here."""
        if "test_borderline" not in self.results:
            return ""
        share = self.results["test_borderline"]
        kept = "kept" if share <= MAX_REVIEWED else "MISSED"
        return (
            f"On test the model put {share:.1%} of new people to review, relatives left out; at most "
            f"{MAX_REVIEWED:.0%} is allowed (MAX_REVIEWED): {kept}."
        )

    @property
    def review_told(self) -> list[str]:
        """How review stands, in sentences; nothing if nobody was ever asked."""
        work, told = self.review, []
        if work.open:
            age = f", half of them for {age} or longer" if (age := _age(work.median_age)) else ""
            told.append(f"{_counted(work.open, 'question is', 'questions are')} open{age}.")
        elif work.answered:
            told.append("No question is open.")
        if work.answered:
            share = f"{work.agreed / work.answered:.0%}"
            told.append(
                f"{_counted(work.answered, 'record was', 'records were')} answered, of "
                f"{_counted(len(work.batches), 'batch', 'batches')}; {share} as the model would have said."
            )
        if work.disputed:
            pairs = _counted(len(work.disputed), "pair", "pairs")
            told.append(f"People disagree about {pairs}, from which no model learns.")
        return told

    @property
    def disputes(self) -> list[str]:
        """Pairs about which people disagree, masked."""
        return [
            f"{masked(pair.first_name, pair.last_name, pair.address)}: {pair.yes} says the same person, {pair.no} "
            "somebody else"
            for pair in self.review.disputed
        ]

    @property
    def to_do(self) -> list[str]:
        """What somebody should do now, in sentences."""
        steps, numbers = [], self.numbers
        if numbers.review and self.is_sweep:
            people = _counted(numbers.review, "person of the table seems", "people of the table seem")
            steps.append(f"{people} to be in it twice. The tab Review of this run asks about each; nothing was marked.")
        elif numbers.review:
            records = _counted(numbers.review, "record waits", "records wait")
            steps.append(
                f"{records} for your verdict. The tab Review of this run asks about one after the other; the report "
                "lists each with its candidate and the command that judges it."
            )
        unusable = {reason: count for reason, count in self.quarantine.items() if reason != QuarantineReason.ERASED}
        if unusable:
            rows = _counted(sum(unusable.values()), "row", "rows")
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in unusable.items())
            steps.append(
                f"{rows} could not be used ({reasons}). Table quarantine keeps what arrived; mend it at its source and "
                "load it again."
            )
        return steps

    @cached_property
    def reasons(self) -> list[ReasonCount]:
        """The decisions by reason, then the rows in quarantine; the most frequent first."""
        examples: dict[tuple[str, str], Row] = {}
        counts = Counter((row["decision"], row["reason"]) for row in self.rows)
        for row in self.rows:
            examples.setdefault((row["decision"], row["reason"]), row)
        decided = [
            ReasonCount(kind, reason, REASONS.get(reason, ""), count, explained(examples[kind, reason]))
            for (kind, reason), count in counts.items()
        ]
        quarantined = [
            ReasonCount("quarantined", reason, QUARANTINE.get(reason, ""), count, "")
            for reason, count in self.quarantine.items()
        ]
        return [*sorted(decided, key=_by_frequency), *sorted(quarantined, key=_by_frequency)]

    @cached_property
    def questions(self) -> list[Question]:
        """Every record in review, those most likely a duplicate first."""
        rows = [row for row in self.rows if row["decision"] == Decision.REVIEW]
        return [
            self._question(row) for row in sorted(rows, key=lambda row: (-(row["score"] or 0.0), row["record_key"]))
        ]

    def _question(self, row: Row) -> Question:
        judge = f"dev/upkeep judge {self.numbers.batch_id} {row['record_key']}"
        commands = [("two people" if self.is_sweep else "somebody new", f"{judge} new")]
        if row["person_id"] is not None:
            commands.insert(0, ("the same person", f"{judge} duplicate {row['person_id']}"))
        runner_up = ""
        if row["runner_up_person_id"] is not None:
            runner_up = f"person {row['runner_up_person_id']}, score {row['runner_up_score']:.3f}"
        return Question(
            key=row["source_key"] if self.is_sweep else row["record_key"],
            who=_who(row),
            candidate=candidate(row),
            score="no score" if row["score"] is None else f"score {row['score']:.3f}",
            reason=row["reason"],
            meaning=REASONS.get(row["reason"], ""),
            evidence=evidence(row),
            runner_up=runner_up,
            commands=commands,
        )


def _who(row: Row) -> str:
    """The record, masked, with single spaces."""
    return masked(*(" ".join((row[name] or "").split()) for name in ("first_name", "last_name", "address")))


def _by_frequency(row: ReasonCount) -> tuple[int, str]:
    return -row.count, row.reason


def candidate(row: Row) -> str:
    """Whom a record was compared with."""
    nobody = "another record in review" if row["reason"] == Reason.OPEN_QUESTION else "a person who is gone"
    person = nobody if row["person_id"] is None else f"person {row['person_id']}"
    if row["matched_record_key"]:
        return f"record {row['matched_record_key'][:8]} of this batch ({person})"
    return person


def evidence(row: Row) -> str:
    """The similarities behind a decision, and whether the names are compared crosswise."""
    shown = [f"{name.replace('_', ' ')} {_shown(row[f'{name}_similarity'])}" for name in SIMILARITIES]
    return ", ".join([*shown, "names swapped"] if row["swapped"] else shown)


def _shown(similarity: float | None) -> str:
    return "missing" if similarity is None else f"{similarity:.2f}"


def contributions(row: Row) -> dict[str, float]:
    """What each term of the model added to the log-odds of a stored decision, the intercept first."""
    terms = json.loads(row["contributions"])
    return {name: terms[name] for name in ("intercept", *COMPARISON_VECTOR) if name in terms}


def explained(row: Row) -> str:
    """One decision in one line, masked."""
    who = _who(row) or "a record without fields (removed after their time)"
    if row["score"] is None:
        return f"{who} is {candidate(row)}"
    why = evidence(row)
    if row["contributions"]:
        terms = sorted(contributions(row).items(), key=lambda term: -abs(term[1]))
        why += "; log-odds: " + ", ".join(f"{name.replace('_', ' ')} {value:+.1f}" for name, value in terms if value)
    return f"{who} ~ {candidate(row)}, score {row['score']:.3f} ({why})"


def _age(age: timedelta | None) -> str:
    """A time as people say it; nothing if there is none, or less than an hour."""
    if age and age.days:
        return _counted(age.days, "day", "days")
    return _counted(hours, "hour", "hours") if age and (hours := age.seconds // 3600) else ""


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
