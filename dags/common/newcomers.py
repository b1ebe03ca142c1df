"""Who came while a question waited, and is as much like its records as a duplicate.

A record is compared with everybody when its batch is loaded. Until somebody says that it is somebody new, others may
have come, or known people may have changed: they are looked at before anybody is inserted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from common import people_db
from common.people_db import Compared, QuestionKey
from common.standardising import standardise_people

if TYPE_CHECKING:
    import pyarrow as pa

    from common.linkage.model import LinkageModel


class Alike(NamedTuple):
    """Somebody known (`person_id`), or the records of another open question (`question_id`); one of them is None."""

    person_id: int | None
    question_id: int | None

    def __str__(self) -> str:
        """As people name it."""
        return f"question {self.question_id}" if self.person_id is None else f"person {self.person_id}"


@dataclass(frozen=True)
class Newcomer:
    """Who came meanwhile; the pair that scores best, by the names of `batch_pairs`, with the score."""

    who: Alike
    score: float
    pair: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The records of a question, compared with whoever came since they were compared the last time.

    Attributes:
        key: names the question.
        about: its records.
        model: that decides.
        pairs: with whoever came; of more than those where it is not known what the table held then.
        snapshot: what the table held when this was done.
    """

    key: QuestionKey
    about: Compared
    model: "LinkageModel"
    pairs: "pa.Table"
    snapshot: str

    def newcomers(self, seen: Sequence[Alike] = ()) -> list[Newcomer]:
        """Who reaches `accept_at` and is no relative, the best first, each once.

        Args:
            seen: those of whom somebody says that it is another one, besides those whom the question shows.
        """
        import pyarrow.compute as pc

        pairs = self.pairs.filter(pc.invert(self.pairs["household"])) if self.pairs.num_rows else self.pairs
        best: dict[Alike, Newcomer] = {}
        for pair in pairs.to_pylist():
            who = Alike(pair["person_id"], pair["question_id"])
            score = max(pair["score"], best[who].score if who in best else self.model.accept_at)
            if self._is_news(who, seen) and score == pair["score"]:
                best[who] = Newcomer(who, score, pair)
        return sorted(best.values(), key=lambda one: (-one.score, one.who.person_id or 0, one.who.question_id or 0))

    def _is_news(self, who: Alike, seen: Sequence[Alike]) -> bool:
        if who in seen or who.person_id in self.about.people:
            return False
        return who.person_id is not None or who.question_id != self.about.question_id


def compare(connection: people_db.Transaction, key: QuestionKey) -> Comparison:
    """Compare the records of a question, or a record that was decided, with whoever came since.

    It takes as long as those are many: 10,000 a tenth of a second. What the table held when they were compared is not
    known where the rows came with a backup, or from a version before this: then it is everybody.

    Args:
        connection: a transaction; within `writing` nobody comes any more.
        key: names the question.

    Raises:
        PeopleDbError: the question is gone.
    """
    import pyarrow as pa

    from common import lookup
    from common.linkage.batch import batch_pairs
    from common.linkage.standardise import standardise
    from common.linkage.tables import PAIR_ENDS

    standardise_people(connection)
    about, model = people_db.compared(connection, *key), people_db.deciding_model()
    records = standardise(about.records)
    records = records.append_column("quarantine_reason", pa.nulls(len(records), pa.string()))
    if not about.inserts:
        return Comparison(key, about, model, PAIR_ENDS.empty_table(), people_db.snapshot(connection))
    if about.snapshot is None:
        shards = people_db.plan_shards()
        pairs = lookup.find(records, model, shards)
        snapshot = shards[0]["snapshot"]
        return Comparison(
            key, about, model, lookup.current_pairs(connection, records, model, pairs, snapshot), snapshot
        )
    snapshot = people_db.snapshot(connection)
    pairs = PAIR_ENDS.empty_table()
    came, _ = people_db.changed_candidates(connection, about.snapshot, pairs, about.written_by)
    if came.num_rows:
        pairs = batch_pairs(records, came, model, with_batch=False)
    return Comparison(key, about, model, pairs, snapshot)


def brought_up_to_date(connection: people_db.Transaction, comparison: Comparison) -> Comparison:
    """A comparison as the table is now; the very same object if nothing has happened since.

    Args:
        connection: within `people_db.writing`, so that it stays so.
        comparison: made before that, so that others did not have to wait for it.
    """
    standardise_people(connection)
    came, stale = people_db.changed_candidates(connection, comparison.snapshot, comparison.pairs)
    return compare(connection, comparison.key) if came.num_rows or len(stale) else comparison


def in_words(newcomers: Sequence[Newcomer]) -> str:
    """Who they are and how they score, in one line."""
    return ", ".join(f"{newcomer.who} ({newcomer.score:.3f})" for newcomer in newcomers)
