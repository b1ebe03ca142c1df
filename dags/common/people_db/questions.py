"""Open questions: records in review that are asked about once, together, and what is answered."""

from dataclasses import dataclass

import pyarrow as pa

from common.errors import PeopleDbError
from common.people_db.connection import RECORD, Transaction, as_table
from common.people_db.judgements import judge
from common.run_report import SWEEP

_RAW = pa.schema([(name, pa.string()) for name in ("record_key", *RECORD[1:])])


@dataclass(frozen=True)
class Compared:
    """What is known of the records that an answer is about.

    Attributes:
        records: `record_key` (with the batch before it, since it may be of several) and the raw fields.
        question_id: the open question that they wait in; None: it is one record, which was decided.
        people: those whom somebody who answers has before their eyes.
        inserts: whether somebody new is inserted; of a sweep they are people already.
        snapshot: what the table held when the first of the records was compared with everybody; None: not known.
        written_by: the transaction that has written that record.
    """

    records: pa.Table
    question_id: int | None
    people: frozenset[int]
    inserts: bool
    snapshot: str | None
    written_by: str | None


def compared(connection: Transaction, batch_id: str, record_key: str) -> Compared:
    """The records that wait for one answer with a record, itself among them, and with whom they were compared."""
    rows = connection.execute(
        """
        WITH waiting AS (
            SELECT s.batch_id, s.record_key, s.question_id
            FROM spellings AS asked JOIN spellings AS s USING (question_id)
            WHERE (asked.batch_id, asked.record_key) = (%(batch)s, %(key)s)
            UNION
            SELECT %(batch)s, %(key)s, (SELECT question_id FROM spellings
                                        WHERE (batch_id, record_key) = (%(batch)s, %(key)s))
        )
        SELECT concat(batch_id, '/', record_key), d.first_name, d.last_name, d.address, w.question_id,
               ARRAY(SELECT coalesce(p.duplicate_of, p.person_id) FROM people AS p
                     WHERE p.person_id IN (d.person_id, d.runner_up_person_id)), b.source <> %(sweep)s,
               b.compared_by::text,
               CASE WHEN b.compared_on = (pg_control_system()).system_identifier THEN b.compared_with::text END
        FROM waiting AS w JOIN decisions AS d USING (batch_id, record_key) JOIN batches AS b USING (batch_id)
        ORDER BY pg_snapshot_xmax(b.compared_with), batch_id, record_key
        """,
        {"batch": batch_id, "key": record_key, "sweep": SWEEP},
    ).fetchall()
    if not rows:
        raise PeopleDbError("this question is gone: its batch was taken back")
    snapshots = [row[-1] for row in rows]
    return Compared(
        records=as_table([row[:4] for row in rows], _RAW),
        question_id=rows[0][4],
        people=frozenset(person_id for row in rows for person_id in row[5]),
        inserts=rows[0][6],
        snapshot=snapshots[0] if None not in snapshots else None,
        written_by=rows[0][-2],
    )


def record_of(connection: Transaction, question_id: int) -> tuple[str, str] | None:
    """Batch and key of a record of an open question; None if there is no such question (any more)."""
    query = "SELECT batch_id, record_key FROM spellings WHERE question_id = %s ORDER BY 1, 2 LIMIT 1"
    row = connection.execute(query, [question_id]).fetchone()
    return row and (str(row[0]), str(row[1]))


def answer_question(
    connection: Transaction, question_id: int, person_id: int | None, judged_by: str | None = None
) -> int:
    """Answer a question for all its records at once: they are a person, or all of them one new person.

    Of a new person the fullest record is inserted, the others are spellings. What was answered so already stays.

    Args:
        connection: within `writing`. What people are spelt like is standardised afterwards.
        question_id: the question.
        person_id: whose records they are; None: somebody new.
        judged_by: name of the user who says so; None: the role of the connection.

    Returns:
        Whose records they are.

    Raises:
        PeopleDbError: there is no such question or person, or it was answered otherwise.
    """
    waiting = _waiting(connection, question_id)
    if not waiting:
        return _answered(connection, question_id, person_id)
    others = waiting
    if person_id is None:
        first, *others = waiting
        person_id = judge(connection, *first, None, judged_by)
    for record in others:
        judge(connection, *record, person_id, judged_by)
    connection.execute(
        """
        UPDATE judgements SET question_id = %s FROM unnest(%s::text[], %s::text[]) AS w (batch_id, record_key)
        WHERE (judgements.batch_id, judgements.record_key) = (w.batch_id, w.record_key) AND question_id IS NULL
        """,
        [question_id, *([record[side] for record in waiting] for side in (0, 1))],
    )
    return person_id


def _waiting(connection: Transaction, question_id: int) -> list[tuple[str, str]]:
    """Batch and key of the records of an open question, the fullest first."""
    return connection.execute(
        """
        SELECT batch_id, record_key FROM spellings WHERE question_id = %s
        ORDER BY num_nonnulls(first_name_std, last_name_std, address_std) DESC,
                 length(concat(first_name_std, last_name_std, address_std)) DESC, record_key, batch_id
        """,
        [question_id],
    ).fetchall()


def _answered(connection: Transaction, question_id: int, person_id: int | None) -> int:
    row = connection.execute(
        """
        SELECT d.person_id, bool_or(NOT j.is_match)
        FROM judgements AS j JOIN decisions AS d USING (batch_id, record_key)
        WHERE j.question_id = %s AND d.person_id IS NOT NULL GROUP BY d.person_id
        """,
        [question_id],
    ).fetchone()
    if row is None:
        raise PeopleDbError(f"there is no open question {question_id}")
    answered, is_new = row
    if person_id not in ({answered, None} if is_new else {answered}):
        raise PeopleDbError(f"question {question_id} is answered: its records are person {answered}")
    return int(answered)
