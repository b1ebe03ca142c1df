"""What somebody does by hand: take a batch back, turn a decision round, sweep up old files.

    dev/upkeep undo BATCH_ID [--force]
    dev/upkeep judge BATCH_ID RECORD_KEY new
    dev/upkeep judge BATCH_ID RECORD_KEY duplicate PERSON_ID
    dev/upkeep sweep

Each can be repeated: what is done already stays as it is.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common import people_db, pipeline
from common.arrow_xcom import MARK
from common.errors import DedupePeopleError
from common.settings import OUTBOX_DIR, TRIES_DIR, XCOM_ROOT

DAY = 24 * 3600.0
KEEP_FILES, KEEP_NOTES = DAY, 30 * DAY
"""How old a file of a batch and a note of a try must be, in seconds, before a sweep may take it."""


def undo(batch_id: str, force: bool) -> str:
    """See `people_db.undo_batch`; returns what was done."""
    report, leaning = people_db.undo_batch(batch_id, force=force)
    lost = [f"{count} decisions of batch {other} have lost their person" for other, count in leaning.items()]
    return "\n".join([f"batch {batch_id} is taken back: {report}", *lost])


def judge(batch_id: str, record_key: str, person_id: int | None) -> str:
    """See `people_db.judge`; returns what was done."""
    with people_db.writing() as connection:
        people_db.judge(connection, batch_id, record_key, person_id)
        pipeline.standardise_people(connection)
    return f"record {record_key} is {'new' if person_id is None else f'a duplicate of person {person_id}'}"


def sweep(now: float | None = None) -> str:
    """Delete files of batches that no XCom refers to any more, old notes of tries and mails that were given up.

    Re-running a task deletes its old file, but clearing it, deleting its run and `airflow db clean` do not.

    Args:
        now: seconds since 1970, for tests.

    Raises:
        ValueError: the batches do not lie in a folder of this machine; an object store has rules of its own for that.
    """
    if "://" in XCOM_ROOT:
        raise ValueError(f"{XCOM_ROOT} is no folder: let the object store delete what is old")
    now = time.time() if now is None else now
    # The files first: what is pushed meanwhile is not among them.
    files = [path for path in Path(XCOM_ROOT).rglob("*") if path.suffix in {".arrow", ".tmp"}]
    referred = _referred_files()
    orphans = [path for path in files if str(path) not in referred and path.stat().st_mtime < now - KEEP_FILES]
    notes = [*TRIES_DIR.glob("*"), *(OUTBOX_DIR / "dead").glob("*")]
    notes = [path for path in notes if path.stat().st_mtime < now - KEEP_NOTES]
    freed = sum(path.stat().st_size for path in orphans)
    for path in (*orphans, *notes):
        path.unlink()
    for folder in sorted(
        {parent for path in orphans for parent in path.parents if parent != Path(XCOM_ROOT)}, reverse=True
    ):
        if folder.is_relative_to(XCOM_ROOT) and not any(folder.iterdir()):
            folder.rmdir()
    return f"{len(orphans)} files of batches ({freed:,} bytes) and {len(notes)} notes of tries and mails deleted"


def _referred_files() -> set[str]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import String, cast, select

    with create_session() as session:
        texts = session.scalars(
            select(cast(XComModel.value, String)).where(cast(XComModel.value, String).contains(MARK))
        )
        values = [json.loads(text) for text in texts]
    return {
        value[MARK]["path"]
        for value in (json.loads(value) if isinstance(value, str) else value for value in values)
        if isinstance(value, dict) and MARK in value
    }


def main(args: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="dev/upkeep", description="Undo, judgements and sweeping.")
    commands = parser.add_subparsers(dest="command", required=True)
    undoing = commands.add_parser("undo", help="take a batch back; it can be loaded again")
    undoing.add_argument("batch_id")
    undoing.add_argument("--force", action="store_true", help="also if decisions of other batches lean on its people")
    judging = commands.add_parser("judge", help="turn a decision round")
    judging.add_argument("batch_id")
    judging.add_argument("record_key")
    judging.add_argument("verdict", choices=["new", "duplicate"])
    judging.add_argument("person_id", type=int, nargs="?", help="whom it is a duplicate of")
    commands.add_parser("sweep", help="delete files that no run needs any more")
    given = parser.parse_args(args)
    if given.command == "judge" and (given.verdict == "duplicate") != (given.person_id is not None):
        parser.error("`duplicate` needs a PERSON_ID, `new` has none")
    try:
        if given.command == "undo":
            print(undo(given.batch_id, given.force))
        elif given.command == "judge":
            print(judge(given.batch_id, given.record_key, given.person_id))
        else:
            print(sweep())
    except (DedupePeopleError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
