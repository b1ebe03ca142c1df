"""Models: those that were promoted, and the champion among them, which decides."""

import json
from collections.abc import Mapping
from typing import Any

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
    connection.execute("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE")


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
