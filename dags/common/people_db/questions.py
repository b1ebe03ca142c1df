"""Open questions: records in review that are asked about once, together, and what is answered."""

import pyarrow as pa

from common.errors import PeopleDbError
from common.linkage.standardise import STANDARDISED
from common.people_db.connection import Transaction, as_table
from common.people_db.judgements import judge

_WAITING = pa.schema([(name, pa.string()) for name in ("batch_id", "record_key", *STANDARDISED)])


def waiting_records(connection: Transaction, question_id: int) -> pa.Table:
    """The records of an open question: `batch_id`, `record_key` and the columns `STANDARDISED`, the fullest first."""
    rows = connection.execute(
        """
        SELECT batch_id, record_key, first_name_std, last_name_std, address_std, generation_std
        FROM spellings WHERE question_id = %s
        ORDER BY num_nonnulls(first_name_std, last_name_std, address_std) DESC,
                 length(concat(first_name_std, last_name_std, address_std)) DESC, record_key, batch_id
        """,
        [question_id],
    ).fetchall()
    return as_table(rows, _WAITING)


def asked_people(connection: Transaction, question_id: int) -> set[int]:
    """The people that somebody who answers a question has before their eyes."""
    rows = connection.execute(
        """
        SELECT DISTINCT coalesce(p.duplicate_of, p.person_id)
        FROM spellings AS s JOIN decisions AS d USING (batch_id, record_key)
        JOIN people AS p ON p.person_id = d.person_id WHERE s.question_id = %s
        """,
        [question_id],
    ).fetchall()
    return {person_id for (person_id,) in rows}


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
    waiting = waiting_records(connection, question_id).select(["batch_id", "record_key"]).to_pylist()
    if not waiting:
        return _answered(connection, question_id, person_id)
    others = waiting
    if person_id is None:
        first, *others = waiting
        person_id = judge(connection, first["batch_id"], first["record_key"], None, judged_by)
    for record in others:
        judge(connection, record["batch_id"], record["record_key"], person_id, judged_by)
    connection.execute(
        """
        UPDATE judgements SET question_id = %s FROM unnest(%s::text[], %s::text[]) AS w (batch_id, record_key)
        WHERE (judgements.batch_id, judgements.record_key) = (w.batch_id, w.record_key) AND question_id IS NULL
        """,
        [question_id, *([record[name] for record in waiting] for name in ("batch_id", "record_key"))],
    )
    return person_id


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
