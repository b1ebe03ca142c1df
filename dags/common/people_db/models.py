"""Models: those that were promoted, and the champion among them, which decides."""

import json
from collections.abc import Mapping
from typing import Any

from psycopg.rows import dict_row

from common.errors import PeopleDbError
from common.linkage.model import STARTING_MODEL, LinkageModel
from common.people_db.connection import Transaction, transaction


def champion(run_id: str) -> LinkageModel:
    """The model that decides; the shipped one is made champion if there is none."""
    with transaction() as connection:
        return _champion(connection, run_id)


def deciding_model() -> LinkageModel:
    """The champion; before a first run has made it that, the shipped model. Nothing is stored."""
    with transaction() as connection:
        row = connection.execute("SELECT content FROM models WHERE champion").fetchone()
        return LinkageModel.from_dict(row[0]) if row else STARTING_MODEL


def _champion(connection: Transaction, run_id: str) -> LinkageModel:
    query = "SELECT content FROM models WHERE champion"
    row = connection.execute(query).fetchone()
    if row is None:
        _one_at_a_time(connection)
        row = connection.execute(query).fetchone()  # somebody may have been first
    if row:
        return LinkageModel.from_dict(row[0])
    _store_model(connection, STARTING_MODEL, "shipped", results={}, lineage={"from": "shipped"}, run_id=run_id)
    _promote(connection, STARTING_MODEL.version, run_id)
    return STARTING_MODEL


def _store_model(
    connection: Transaction,
    model: LinkageModel,
    formula: str,
    results: Mapping[str, Any],
    lineage: Mapping[str, Any],
    run_id: str,
) -> None:
    connection.execute(
        """
        INSERT INTO models (version, formula, content, results, lineage, trained_by) VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (version) DO UPDATE SET lineage = models.lineage || excluded.lineage
        """,
        [model.version, formula, *(json.dumps(part) for part in (model.to_dict(), results, lineage)), run_id],
    )


def _one_at_a_time(connection: Transaction) -> None:
    """Let other promotions wait until this transaction ends: there is one champion."""
    connection.execute("SELECT lock_models()")


def _promote(connection: Transaction, version: str, run_id: str) -> None:
    connection.execute("UPDATE models SET champion = false WHERE champion AND version <> %s", [version])
    connection.execute("UPDATE models SET champion = true, promoted_by = %s WHERE version = %s", [run_id, version])


def store_challenger(
    model: LinkageModel, formula: str, results: Mapping[str, Any], lineage: Mapping[str, Any], run_id: str
) -> None:
    """Store a model with its results and what it was trained on; it does not decide unless it is promoted."""
    with transaction() as connection:
        _store_model(connection, model, formula, results, lineage, run_id)


def last_training(run_id: str) -> dict[str, int]:
    """How many `people` and `judgements` there were when a run other than this one trained last; 0 if none has."""
    with transaction() as connection:
        row = connection.execute(
            """
            SELECT coalesce(max((lineage->>'people')::bigint), 0),
                   coalesce(max((lineage->>'judgements made')::bigint), 0)
            FROM models WHERE trained_by <> %s
            """,
            [run_id],
        ).fetchone()
    return dict(zip(("people", "judgements"), row or (0, 0), strict=True))


def promote_stored(version: str, run_id: str) -> LinkageModel:
    """Make a model of the `models` table champion again.

    Raises:
        PeopleDbError: there is no such model.
    """
    with transaction() as connection:
        row = connection.execute("SELECT content FROM models WHERE version = %s", [version]).fetchone()
        if row is None:
            raise PeopleDbError(f"no model of version {version} in table models")
        _one_at_a_time(connection)
        _promote(connection, version, run_id)
        return LinkageModel.from_dict(row[0])


def model_results(version: str) -> dict[str, Any]:
    """The train and test results with which a model was stored; empty for the shipped one."""
    with transaction() as connection:
        row = connection.execute("SELECT results FROM models WHERE version = %s", [version]).fetchone()
        return row[0] if row else {}


def ask_for_promotion(version: str, champion: str, changes: Mapping[str, Any], run_id: str) -> bool | None:
    """Ask whether a stored model shall be champion; what waited before is not asked any more.

    Args:
        version: of the challenger.
        champion: version of the model that it was measured against.
        changes: what it would change, for whoever answers.
        run_id: the run that asks.

    Returns:
        What was answered if it was asked before, against the same champion; None: it waits for an answer.
    """
    with transaction() as connection:
        _one_at_a_time(connection)
        known = connection.execute(
            "SELECT approved FROM promotions WHERE (version, champion) = (%s, %s)", [version, champion]
        ).fetchone()
        if known and known[0] is not None:
            return bool(known[0])
        connection.execute("DELETE FROM promotions WHERE approved IS NULL AND version <> %s", [version])
        connection.execute(
            """
            INSERT INTO promotions (version, champion, changes, asked_by) VALUES (%s, %s, %s, %s)
            ON CONFLICT (version) DO UPDATE
            SET champion = excluded.champion, changes = excluded.changes, asked_by = excluded.asked_by,
                asked_at = now(), approved = NULL, answered_by = NULL, answered_at = NULL
            """,
            [version, champion, json.dumps(changes), run_id],
        )
        return None


def promotions(connection: Transaction, limit: int) -> list[dict[str, Any]]:
    """The last promotions that were asked for, all columns of the table and `formula`; an open one comes first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT p.*, m.formula FROM promotions AS p JOIN models AS m USING (version)
            ORDER BY approved IS NOT NULL, answered_at DESC LIMIT %s
            """,
            [limit],
        ).fetchall()


def answer_promotion(connection: Transaction, version: str, approve: bool, name: str) -> dict[str, Any]:
    """Say whether a challenger shall be champion; whoever answers first decides.

    Args:
        connection: within `transaction`.
        version: of the challenger.
        approve: whether it shall decide from the next run on.
        name: of the user who says so.

    Returns:
        The row of the promotion, with what it is answered with.

    Raises:
        PeopleDbError: it is not asked for any more, or another model has become champion since it was.
    """
    _one_at_a_time(connection)
    query = "SELECT * FROM promotions WHERE version = %s"
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, [version]).fetchone()
        if row is None:
            raise PeopleDbError(f"model {version} does not ask any more")
        if row["approved"] is not None:
            return row
        champion = cursor.execute("SELECT version FROM models WHERE champion").fetchone()
        if champion is None or champion["version"] != row["champion"]:
            raise PeopleDbError(
                f"model {version} was measured against {row['champion']}, which is not champion any more"
            )
        cursor.execute(
            """
            UPDATE promotions SET approved = %s, answered_by = %s, answered_at = clock_timestamp() WHERE version = %s
            """,
            [approve, name, version],
        )
        if approve:
            _promote(connection, version, f"approved by {name}")
        return cursor.execute(query, [version]).fetchone() or row
