"""What somebody does by hand: review, take a batch back, turn a decision round, look somebody up, sweep up old files.

    dev/upkeep review [--run RUN_ID] [--batch BATCH_ID] [--reason REASON] [--text TEXT]
    dev/upkeep export-review FILE.csv [the same filters]
    dev/upkeep judge --file FILE.csv
    dev/upkeep judge BATCH_ID RECORD_KEY new
    dev/upkeep judge BATCH_ID RECORD_KEY duplicate PERSON_ID
    dev/upkeep find FIRST_NAME LAST_NAME [ADDRESS]
    dev/upkeep undo BATCH_ID [--force]
    dev/upkeep sweep

Of a key its beginning will do. Each command can be repeated: what is done already stays as it is.

What takes long to import is imported by the command that needs it.
"""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import people_db, review
from common.errors import DedupePeopleError
from common.people_db import Asked
from common.settings import OUTBOX_DIR, TRIES_DIR, XCOM_ROOT

DAY = 24 * 3600.0
KEEP_FILES, KEEP_NOTES = DAY, 30 * DAY
"""How old a file of a batch and a note of a try must be, in seconds, before a sweep may take it."""


def undo(batch_id: str, force: bool) -> str:
    """See `people_db.undo_batch`; returns what was done."""
    with people_db.transaction() as connection:
        batch_id = people_db.begun_batch(connection, batch_id)
    report, leaning = people_db.undo_batch(batch_id, force=force)
    lost = [f"{count} decisions of batch {other} have lost their person" for other, count in leaning.items()]
    return "\n".join([f"batch {batch_id} is taken back: {report}", *lost])


def judge(batch_id: str, record_key: str, person_id: int | None) -> str:
    """See `people_db.judge`; returns what was done."""
    with people_db.writing() as connection:
        key = people_db.decided_key(connection, batch_id, record_key)
        review.judge(connection, key, person_id, getpass.getuser())
    return f"record {key.record_key} is {'new' if person_id is None else f'a duplicate of person {person_id}'}"


def judge_file(path: Path) -> str:
    """See `spreadsheet.judge`; returns what was done."""
    from common import spreadsheet

    return spreadsheet.judge(list(spreadsheet.verdicts(path)), getpass.getuser())


def export_review(path: Path, asked: Asked) -> str:
    """See `spreadsheet.export`; returns what was done."""
    from common import spreadsheet

    return f"{spreadsheet.export(path, asked)} questions written to {path}: fill in column verdict"


def review_here(asked: Asked) -> str:
    """Ask whoever sits at the terminal; returns what was done."""
    from rich.console import Console

    from common.terminal import Session

    if not sys.stdin.isatty():
        raise ValueError("review needs a terminal; in a file: dev/upkeep export-review FILE.csv")
    return Session(getpass.getuser(), asked, Console(highlight=False)).run()


def find(first_name: str, last_name: str, address: str) -> str:
    """See `review.find`; returns whom was found."""
    from common.terminal import found

    return "\n".join(map(str, map(found, review.find(first_name, last_name, address)))) or "nobody comes near"


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

    from common.arrow_xcom import MARK

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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev/upkeep", description="Review, undo and other things done by hand.")
    commands = parser.add_subparsers(dest="command", required=True)
    wanted = argparse.ArgumentParser(add_help=False)
    for name, what in {"run": "of the batch of this run", "batch": "of this batch"}.items():
        wanted.add_argument(f"--{name}", help=f"only questions {what}")
    wanted.add_argument("--reason", type=str.upper, help="only questions with this reason, such as HOUSEHOLD")
    wanted.add_argument("--text", help="only questions with this in a name or an address")
    commands.add_parser("review", parents=[wanted], help="answer open questions in the terminal")
    exporting = commands.add_parser("export-review", parents=[wanted], help="write open questions to a CSV file")
    exporting.add_argument("file", type=Path)
    judging = commands.add_parser("judge", help="turn a decision round, or store the verdicts of a file")
    judging.add_argument("--file", type=Path, help="a file of export-review, with its column verdict filled in")
    judging.add_argument("batch_id", nargs="?")
    judging.add_argument("record_key", nargs="?")
    judging.add_argument("verdict", nargs="?", choices=["new", "duplicate"])
    judging.add_argument("person_id", type=int, nargs="?", help="whom it is a duplicate of")
    finding = commands.add_parser("find", help="show the known people nearest to a name and an address")
    finding.add_argument("first_name")
    finding.add_argument("last_name")
    finding.add_argument("address", nargs="?", default="")
    undoing = commands.add_parser("undo", help="take a batch back; it can be loaded again")
    undoing.add_argument("batch_id")
    undoing.add_argument("--force", action="store_true", help="also if decisions of other batches lean on its people")
    commands.add_parser("sweep", help="delete files that no run needs any more")
    return parser


def _judge_given(given: argparse.Namespace) -> str:
    return judge_file(given.file) if given.file else judge(given.batch_id, given.record_key, given.person_id)


def _asked(given: argparse.Namespace) -> Asked:
    return Asked(run_id=given.run, batch_id=given.batch, reason=given.reason, text=given.text)


_COMMANDS: dict[str, Callable[[argparse.Namespace], str]] = {
    "review": lambda given: review_here(_asked(given)),
    "export-review": lambda given: export_review(given.file, _asked(given)),
    "judge": _judge_given,
    "find": lambda given: find(given.first_name, given.last_name, given.address),
    "undo": lambda given: undo(given.batch_id, given.force),
    "sweep": lambda _: sweep(),
}


def main(args: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    given = parser.parse_args(args)
    if given.command == "judge":
        if given.file and given.batch_id:
            parser.error("the verdicts come from the file, or from the command line")
        if not given.file and not given.verdict:
            parser.error("judge needs BATCH_ID RECORD_KEY and a verdict, or --file FILE.csv")
        if (given.verdict == "duplicate") != (given.person_id is not None):
            parser.error("`duplicate` needs a PERSON_ID, `new` has none")
    try:
        print(_COMMANDS[given.command](given))
    except (DedupePeopleError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
