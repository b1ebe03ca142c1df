"""Judgements: what people said about decisions."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from common.errors import PeopleDbError
from common.linkage.verdict import Decision
from common.people_db.batches import each, take_judged_marks_away
from common.people_db.connection import RECORD, Transaction, as_table, transaction
from common.people_db.filling import take_filled_back
from common.people_db.people import insert_people
from common.run_report import SWEEP

FIELDS_REMOVED = (
    "can be judged no more: the days are over for which its fields are kept (DEDUPE_KEEP_FIELDS_DAYS), so there is "
    "nothing to show, to learn from or to insert"
)


def judge(
    connection: Transaction, batch_id: str, record_key: str, person_id: int | None, judged_by: str | None = None
) -> int:
    """Turn a decision round, and store that as a judgement; a decision that says so already is left as it is.

    Somebody new is inserted as the record arrived, not standardised yet.

    Args:
        connection: within `writing`.
        batch_id: the batch of the decision.
        record_key: the record that was decided.
        person_id: who it is a duplicate of, or None: it is somebody new, and inserted.
        judged_by: name of the user who says so; None: the role of the connection.

    Returns:
        Whose record it is.

    Raises:
        PeopleDbError: there is no such decision or person, the record is a person already, or decisions about other
            records point at the person that was inserted for it.
    """
    row = connection.execute(
        """
        SELECT d.decision, d.person_id, num_nonnulls(d.first_name, d.last_name, d.address) = 0
        FROM decisions AS d JOIN batches AS b USING (batch_id)
        WHERE d.batch_id = %s AND d.record_key = %s AND b.source <> %s
        """,
        [batch_id, record_key, SWEEP],
    ).fetchone()
    if row is None:
        raise PeopleDbError(f"no decision of a loaded batch {batch_id} about a record {record_key}")
    before, matched, fields_removed = row
    after = Decision.NEW if person_id is None else Decision.DUPLICATE
    if before == after and person_id in (None, matched):
        return int(matched)
    if fields_removed:
        raise PeopleDbError(f"record {record_key} {FIELDS_REMOVED}")
    judged = matched if person_id is None else person_id
    _store_judgement(connection, (batch_id, record_key), judged, judged_by, is_match=person_id is not None)
    new_person = _insert_judged(connection, batch_id, record_key) if person_id is None else person_id
    _turn_round(connection, (batch_id, record_key), after, new_person, keep_evidence=person_id in (None, matched))
    _move_spelling(connection, batch_id, record_key, person_id)
    if new_person != matched:
        take_filled_back(connection, batch_id, record_key)
    if person_id is None and matched is not None:
        keep_apart(connection, new_person, matched, judged_by)
    if before == Decision.NEW:
        _remove_judged(connection, batch_id, record_key, new_person)
    count_again(connection, [batch_id])
    return new_person


def judge_pair(
    connection: Transaction, batch_id: str, record_key: str, person_id: int | None, judged_by: str | None = None
) -> int:
    """Say of somebody whom a sweep was not sure of whether it is another one; what was said already is left as it is.

    The younger of the two rows, which has the higher id, is marked as a duplicate of the elder.

    Args:
        connection: within `writing`.
        batch_id: the batch of the sweep.
        record_key: the row of the person that was asked about.
        person_id: whom it is the same as; None: it is somebody else than the person whom it resembles, for good.
        judged_by: name of the user who says so; None: the role of the connection.

    Returns:
        The person that it is: `person_id`, or the row itself.

    Raises:
        PeopleDbError: there is no such decision of a sweep, somebody is gone or has been marked meanwhile, or the two
            were called two people before.
    """
    row = connection.execute(
        """
        SELECT d.decision, d.person_id, one.person_id, coalesce(one.duplicate_of, one.person_id),
               coalesce(other.duplicate_of, other.person_id)
        FROM decisions AS d JOIN batches AS b USING (batch_id)
        LEFT JOIN people AS one ON one.person_id = CASE b.source WHEN %(sweep)s THEN d.source_key::bigint END
        LEFT JOIN people AS other ON other.person_id = coalesce(%(person)s, d.person_id)
        WHERE (d.batch_id, d.record_key, b.source) = (%(batch)s, %(key)s, %(sweep)s)
        """,
        {"batch": batch_id, "key": record_key, "sweep": SWEEP, "person": person_id},
    ).fetchone()
    if row is None:
        raise PeopleDbError(f"no sweep {batch_id} has asked about {record_key}")
    before, matched, own, one, other = row
    after = Decision.NEW if person_id is None else Decision.DUPLICATE
    if before == after and person_id in (None, matched):
        return int(matched)
    if before != Decision.REVIEW:
        raise PeopleDbError(f"that was answered already: split person {one} or undo the answer")
    if one is None or other is None:
        raise PeopleDbError("one of these two people is gone")
    if one == other:
        raise PeopleDbError(f"both are person {one} meanwhile")
    if person_id is not None and _are_apart(connection, one, other):
        raise PeopleDbError(f"people {one} and {other} were called two people")
    judgement_id = _store_judgement(
        connection, (batch_id, record_key), person_id or matched, judged_by, is_match=person_id is not None
    )
    changed: dict[str, Any]
    if person_id is None:
        changed = {"apart": keep_apart(connection, one, other, judged_by)}
    else:
        changed = {"marked": _mark(connection, max(one, other), min(one, other))}
    connection.execute(
        "UPDATE judgements SET decision_before = decision_before || %s WHERE judgement_id = %s",
        [json.dumps(changed), judgement_id],
    )
    said = own if person_id is None else person_id
    _turn_round(connection, (batch_id, record_key), after, said, keep_evidence=person_id in (None, matched))
    count_again(connection, [batch_id])
    return int(said)


def _mark(connection: Transaction, person_id: int, survivor: int) -> list[tuple[int, int | None]]:
    """Mark a person, and whoever is marked as that one, as another one's duplicate; these rows and what they were."""
    marked = connection.execute(
        "SELECT person_id, duplicate_of FROM people WHERE person_id = %(person)s OR duplicate_of = %(person)s",
        {"person": person_id},
    ).fetchall()
    connection.execute(
        "UPDATE people SET duplicate_of = %s WHERE person_id = ANY(%s)", [survivor, [row for row, _ in marked]]
    )
    return marked


def keep_apart(connection: Transaction, person_id: int, other_id: int, judged_by: str | None = None) -> bool:
    """Store that two people are never the same; returns whether that is news."""
    stored = connection.execute(
        """
        INSERT INTO apart (person_id, other_id, judged_by) VALUES (%s, %s, coalesce(%s, current_user))
        ON CONFLICT DO NOTHING
        """,
        [min(person_id, other_id), max(person_id, other_id), judged_by],
    )
    return bool(stored.rowcount)


def _are_apart(connection: Transaction, person_id: int, other_id: int) -> bool:
    found = connection.execute(
        "SELECT FROM apart WHERE (person_id, other_id) = (%s, %s)", [min(person_id, other_id), max(person_id, other_id)]
    )
    return found.fetchone() is not None


def people_apart() -> pa.Table:
    """Pairs of people who are never the same: `person_id` and `other_id`, each pair both ways round."""
    with transaction() as connection:
        rows = connection.execute(
            """
            WITH pairs AS (
                SELECT coalesce(p.duplicate_of, p.person_id) AS person_id,
                       coalesce(o.duplicate_of, o.person_id) AS other_id
                FROM apart AS a JOIN people AS p USING (person_id) JOIN people AS o ON o.person_id = a.other_id
            )
            SELECT person_id, other_id FROM pairs UNION SELECT other_id, person_id FROM pairs
            """
        ).fetchall()
    return as_table(rows, pa.schema([("person_id", pa.int64()), ("other_id", pa.int64())]))


def split(
    connection: Transaction,
    person_id: int,
    rows: Sequence[int],
    records: Sequence[tuple[str, str]],
    judged_by: str | None = None,
) -> int:
    """Make a person of their own of what was taken for a person; the two are never the same from now on.

    Args:
        connection: within `writing`. What is new is standardised afterwards.
        person_id: the person to take from.
        rows: ids of people whom a sweep marked as the person.
        records: batch and key of records that were decided to be the person. All others that say the same go along.
        judged_by: name of the user who says so; None: the role of the connection.

    Returns:
        The other person.

    Raises:
        PeopleDbError: one of these does not belong to the person, or is the person's first spelling.
    """
    others = sorted(rows)
    marked = connection.execute(
        "SELECT count(*) FROM people WHERE person_id = ANY(%s) AND duplicate_of = %s", [others, person_id]
    ).fetchone()
    if marked != (len(set(others)),):
        raise PeopleDbError(f"not all of these rows are marked as person {person_id}")
    alike = connection.execute(
        """
        SELECT DISTINCT d.batch_id, d.record_key, d.decision
        FROM unnest(%s::text[], %s::text[]) AS g (batch_id, record_key)
        JOIN decisions AS given USING (batch_id, record_key)
        JOIN decisions AS d ON (d.batch_id, d.record_key) = (given.batch_id, given.record_key)
                            OR d.content_key = given.content_key
        WHERE given.person_id = %s AND d.person_id = %s AND d.decision <> 'REVIEW' ORDER BY 1, 2
        """,
        [*([record[side] for record in records] for side in (0, 1)), person_id, person_id],
    ).fetchall()
    if not set(records) <= {(batch_id, key) for batch_id, key, _ in alike}:
        raise PeopleDbError(f"not all of these records were decided to be person {person_id}")
    if any(decision == Decision.NEW for _, _, decision in alike):
        raise PeopleDbError(f"that is the first spelling of person {person_id}: split off the others")
    if others:
        connection.execute("UPDATE people SET duplicate_of = NULL WHERE person_id = %s", [others[0]])
        connection.execute("UPDATE people SET duplicate_of = %s WHERE person_id = ANY(%s)", [others[0], others[1:]])
    other = others[0] if others else None
    for batch_id, record_key, _ in alike:
        other = judge(connection, batch_id, record_key, other, judged_by)
    if other is None:
        raise PeopleDbError("nothing to split off was named")
    keep_apart(connection, person_id, other, judged_by)
    return other


def take_back(connection: Transaction, judged_by: str) -> tuple[str, str] | None:
    """Undo a user's last answer to an open question: it is open again, and its judgements train no model.

    Args:
        connection: within `writing`. The spellings that wait again are standardised afterwards.
        judged_by: name of the user.

    Returns:
        Batch and record key of one of the question's records; None if there is no (other) answer of this user.

    Raises:
        PeopleDbError: somebody has judged one of these records since, or decisions about other records point at the
            person that was inserted for them.
    """
    rows = connection.execute(
        """
        WITH last AS (
            SELECT j.judgement_id, j.question_id FROM judgements AS j JOIN decisions USING (batch_id, record_key)
            WHERE j.judged_by = %s AND j.decision_before->>'decision' = 'REVIEW' ORDER BY j.judgement_id DESC LIMIT 1
        )
        SELECT j.judgement_id, batch_id, record_key, d.decision, source = %s,
               EXISTS (SELECT FROM judgements AS later
                       WHERE (later.batch_id, later.record_key) = (j.batch_id, j.record_key)
                         AND later.judgement_id > j.judgement_id AND NOT later.dissents),
               num_nonnulls(d.first_name, d.last_name, d.address) = 0
        FROM judgements AS j JOIN decisions AS d USING (batch_id, record_key) JOIN batches USING (batch_id), last
        WHERE j.judgement_id = last.judgement_id
           OR j.question_id = last.question_id AND j.judged_by = %s AND j.decision_before->>'decision' = 'REVIEW'
        ORDER BY j.judgement_id DESC
        """,
        [judged_by, SWEEP, judged_by],
    ).fetchall()
    # The latest first: the first judgement may have inserted somebody.
    for judgement_id, batch_id, record_key, now, is_pair, judged_since, fields_removed in rows:
        if fields_removed:
            raise PeopleDbError(f"record {record_key} {FIELDS_REMOVED}")
        if judged_since:
            raise PeopleDbError(f"somebody else has judged record {record_key} since")
        if is_pair:
            _take_pair_back(connection, batch_id, judgement_id)
        _open_again(connection, judgement_id)
        if now == Decision.NEW and not is_pair:
            _remove_judged(connection, batch_id, record_key, None)
    count_again(connection, [batch_id for _, batch_id, *_ in rows])
    return (rows[-1][1], rows[-1][2]) if rows else None


def _take_pair_back(connection: Transaction, batch_id: str, judgement_id: int) -> None:
    """Unmark whom a judgement about a pair of people has marked, or forget that they are two."""
    take_judged_marks_away(connection, batch_id, judgement_id)
    connection.execute(
        """
        DELETE FROM apart AS a USING judgements AS j JOIN decisions AS d USING (batch_id, record_key), people AS one,
                                     people AS other
        WHERE j.judgement_id = %s AND (j.decision_before->>'apart')::boolean
          AND one.person_id = d.source_key::bigint AND other.person_id = (j.decision_before->>'person_id')::bigint
          AND (a.person_id, a.other_id) IN (
              (coalesce(one.duplicate_of, one.person_id), coalesce(other.duplicate_of, other.person_id)),
              (coalesce(other.duplicate_of, other.person_id), coalesce(one.duplicate_of, one.person_id)))
        """,
        [judgement_id],
    )


def _open_again(connection: Transaction, judgement_id: int) -> None:
    """Make the decision that was judged what it was before, and forget the judgement."""
    connection.execute(
        """
        UPDATE decisions AS d
        SET decision = b.decision, reason = b.reason, score = b.score, vector = b.vector,
            person_id = (SELECT p.person_id FROM people AS p WHERE p.person_id = b.person_id), -- may be gone meanwhile
            contributions = b.contributions, matched_record_key = b.matched_record_key,
            runner_up_person_id = b.runner_up_person_id, runner_up_score = b.runner_up_score, margin = b.margin,
            via_batch_id = b.via_batch_id, via_record_key = b.via_record_key, content_version = NULL
        FROM judgements AS j, jsonb_populate_record(NULL::decisions, j.decision_before) AS b
        WHERE j.judgement_id = %s AND (d.batch_id, d.record_key) = (j.batch_id, j.record_key)
        """,
        [judgement_id],
    )
    # What the record says is filled in when contents are standardised the next time.
    connection.execute(
        """
        INSERT INTO spellings (batch_id, record_key, question_id)
        SELECT batch_id, record_key, coalesce((decision_before->>'question_id')::bigint,
            greatest((SELECT max(question_id) FROM spellings), (SELECT max(question_id) FROM judgements), 0) + 1)
        FROM judgements JOIN batches USING (batch_id) WHERE judgement_id = %s AND source <> %s
        ON CONFLICT (batch_id, record_key) DO UPDATE SET question_id = excluded.question_id, person_id = NULL
        """,
        [judgement_id, SWEEP],
    )
    connection.execute("DELETE FROM judgements WHERE judgement_id = %s", [judgement_id])


def _turn_round(
    connection: Transaction, decided: tuple[str, str], after: Decision, person_id: int, *, keep_evidence: bool
) -> None:
    """Change a decision (batch and record key); the evidence stays only where it is about this very person."""
    connection.execute(
        """
        UPDATE decisions
        SET decision = %(after)s, reason = 'JUDGED', person_id = %(person)s,
            score = CASE WHEN keep THEN score END, vector = CASE WHEN keep THEN vector END,
            contributions = CASE WHEN keep THEN contributions END,
            matched_record_key = CASE WHEN keep THEN matched_record_key END,
            via_batch_id = CASE WHEN keep THEN via_batch_id END,
            via_record_key = CASE WHEN keep THEN via_record_key END,
            runner_up_person_id = CASE WHEN keep THEN runner_up_person_id END,
            runner_up_score = CASE WHEN keep THEN runner_up_score END, margin = CASE WHEN keep THEN margin END
        FROM (SELECT %(keep)s::boolean AS keep) AS evidence
        WHERE batch_id = %(batch)s AND record_key = %(key)s
        """,
        {"after": after, "person": person_id, "keep": keep_evidence, "batch": decided[0], "key": decided[1]},
    )


def _move_spelling(connection: Transaction, batch_id: str, record_key: str, person_id: int | None) -> None:
    """Let a record be a spelling of its new person; of somebody new it is the first one, which stands in people.

    What it says is filled in when contents are standardised the next time.
    """
    connection.execute("DELETE FROM spellings WHERE (batch_id, record_key) = (%s, %s)", [batch_id, record_key])
    if person_id is not None:
        connection.execute(
            "INSERT INTO spellings (batch_id, record_key, person_id) VALUES (%s, %s, %s)",
            [batch_id, record_key, person_id],
        )
        connection.execute(
            "UPDATE decisions SET content_version = NULL WHERE (batch_id, record_key) = (%s, %s)",
            [batch_id, record_key],
        )


def count_again(connection: Transaction, batches: Sequence[str]) -> None:
    """Make the numbers of batches those of their rows; whatever is not there any more was erased."""
    connection.execute(
        """
        UPDATE batches
        SET (duplicates, review, inserted, quarantined, erased) = (
            SELECT count(*) FILTER (WHERE decision = 'DUPLICATE'), count(*) FILTER (WHERE decision = 'REVIEW'),
                   count(*) FILTER (WHERE decision = 'NEW'), q.quarantined, received - q.quarantined - count(decision)
            FROM (SELECT count(*) AS quarantined FROM quarantine WHERE quarantine.batch_id = batches.batch_id) AS q
            LEFT JOIN decisions ON decisions.batch_id = batches.batch_id GROUP BY q.quarantined)
        WHERE batch_id = ANY(%s)
        """,
        [list(batches)],
    )


def _store_judgement(
    connection: Transaction, decided: tuple[str, str], person_id: int | None, judged_by: str | None, *, is_match: bool
) -> int:
    """Store what was said about a decision (batch and record key), and what that was before; returns its id."""
    batch_id, record_key = decided
    stored = connection.execute(
        """
        INSERT INTO judgements (left_first_name, left_last_name, left_address, right_first_name, right_last_name,
                                right_address, is_match, batch_id, record_key, judged_by, decision_before)
        SELECT d.first_name, d.last_name, d.address, p.first_name, p.last_name, p.address, %(match)s, d.batch_id,
               d.record_key, coalesce(%(by)s, current_user),
               jsonb_build_object('decision', d.decision, 'reason', d.reason, 'person_id', d.person_id,
                                  'matched_record_key', d.matched_record_key, 'score', d.score, 'vector', d.vector,
                                  'contributions', d.contributions, 'runner_up_person_id', d.runner_up_person_id,
                                  'runner_up_score', d.runner_up_score, 'margin', d.margin,
                                  'via_batch_id', d.via_batch_id, 'via_record_key', d.via_record_key,
                                  'question_id', (SELECT question_id FROM spellings AS s
                                                  WHERE (s.batch_id, s.record_key) = (d.batch_id, d.record_key)))
        FROM decisions AS d LEFT JOIN people AS p ON p.person_id = %(person)s
        WHERE d.batch_id = %(batch)s AND d.record_key = %(key)s AND (p.person_id IS NOT NULL OR NOT %(match)s)
        RETURNING judgement_id
        """,
        {"match": is_match, "person": person_id, "batch": batch_id, "key": record_key, "by": judged_by},
    ).fetchone()
    if stored is None:
        raise PeopleDbError(f"there is no person {person_id}")
    return int(stored[0])


def _insert_judged(connection: Transaction, batch_id: str, record_key: str) -> int:
    """Insert the record of a decision; returns its person_id."""
    rows = connection.execute(
        """
        SELECT record_key, source_key, first_name, last_name, address FROM decisions AS d
        WHERE batch_id = %s AND record_key = %s
          AND NOT EXISTS (SELECT FROM people WHERE (batch_id, record_key) = (d.batch_id, d.record_key))
        """,
        [batch_id, record_key],
    ).fetchall()
    if not rows:
        raise PeopleDbError(f"record {record_key} is a person already")
    record = as_table(rows, pa.schema([(name, pa.string()) for name in ("record_key", *RECORD)]))
    return insert_people(connection, record, batch_id)[record_key]


def _remove_judged(connection: Transaction, batch_id: str, record_key: str, person_id: int | None) -> None:
    """Remove the person that was inserted for a record, which is `person_id` instead, or asked about again."""
    leaning = dict(
        connection.execute(
            """
            SELECT d.batch_id, count(*) FROM decisions AS d JOIN people AS p USING (person_id)
            WHERE (p.batch_id, p.record_key) = (%(batch)s, %(key)s)
              AND (d.batch_id, d.record_key) <> (%(batch)s, %(key)s)
            GROUP BY d.batch_id ORDER BY d.batch_id
            """,
            {"batch": batch_id, "key": record_key},
        ).fetchall()
    )
    if leaning:
        raise PeopleDbError(f"other records were decided to be the person of {record_key}: {each(leaning)}")
    removed = connection.execute(
        "DELETE FROM people WHERE (batch_id, record_key) = (%s, %s) AND person_id IS DISTINCT FROM %s",
        [batch_id, record_key, person_id],
    )
    if not removed.rowcount:
        raise PeopleDbError(f"record {record_key} is person {person_id} itself, or its person is gone")


def dissent(connection: Transaction, batch_id: str, record_key: str, person_id: int | None, judged_by: str) -> bool:
    """Note that a user disagrees with what somebody else has answered about a record; it changes nothing else.

    What is noted is about the very pair that was judged. Who says that it is yet another person disagrees that it is
    the one; who says so where somebody new was inserted has said nothing about that pair, and nothing is noted.

    Args:
        connection: a transaction.
        batch_id: the batch of the record.
        record_key: the record.
        person_id: whom the user takes it for; None: for somebody new.
        judged_by: name of the user.

    Returns:
        Whether the user disagrees.
    """
    noted = connection.execute(
        """
        WITH answered AS (
            SELECT j.*, coalesce(p.duplicate_of, p.person_id) AS candidate
            FROM judgements AS j LEFT JOIN people AS p ON p.person_id = (j.decision_before->>'person_id')::bigint
            WHERE (j.batch_id, j.record_key) = (%(batch)s, %(key)s) AND NOT dissents
            ORDER BY judgement_id DESC LIMIT 1
        ), noted AS (
            SELECT judgement_id FROM judgements
            WHERE (batch_id, record_key, judged_by) = (%(batch)s, %(key)s, %(by)s) AND dissents
        ), fresh AS (
            INSERT INTO judgements (left_first_name, left_last_name, left_address, right_first_name, right_last_name,
                                    right_address, is_match, batch_id, record_key, judged_by, dissents)
            SELECT left_first_name, left_last_name, left_address, right_first_name, right_last_name, right_address,
                   NOT is_match, batch_id, record_key, %(by)s, true
            FROM answered
            WHERE judged_by <> %(by)s AND (is_match OR candidate = %(person)s) AND NOT EXISTS (SELECT FROM noted)
            RETURNING judgement_id
        )
        SELECT judgement_id FROM fresh UNION ALL SELECT judgement_id FROM noted
        """,
        {"batch": batch_id, "key": record_key, "by": judged_by, "person": person_id},
    )
    return bool(noted.fetchall())


def judged_pairs() -> pa.Table:
    """What people judged: the raw fields of both records, and `is_match`; pairs about which they disagree are left out.

    One half of the answers would have a model unlearn what it learnt from the other.
    """
    names = [f"{side}_{name}" for side in ("left", "right") for name in RECORD[1:]]
    with transaction() as connection:
        rows = connection.execute(
            """
            SELECT left_first_name, left_last_name, left_address, right_first_name, right_last_name, right_address,
                   is_match
            FROM judgements
            WHERE coalesce(right_first_name, right_last_name, right_address) IS NOT NULL  -- else the person was gone
              AND judgement_id NOT IN (SELECT said_yes FROM disagreements UNION SELECT said_no FROM disagreements)
            ORDER BY judgement_id
            """
        ).fetchall()
    return as_table(rows, pa.schema([*((name, pa.string()) for name in names), ("is_match", pa.bool_())]))
