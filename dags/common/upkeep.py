"""What somebody does by hand: review, take back, look up, split and erase people, prune old files.

    dev/upkeep review [--run RUN_ID] [--batch BATCH_ID] [--reason REASON] [--text TEXT]
    dev/upkeep export-review FILE.csv [the same filters]
    dev/upkeep judge --file FILE.csv
    dev/upkeep judge BATCH_ID RECORD_KEY new [--anyway]
    dev/upkeep judge BATCH_ID RECORD_KEY duplicate PERSON_ID
    dev/upkeep find FIRST_NAME LAST_NAME [ADDRESS]
    dev/upkeep answer QUESTION_ID new [--anyway]
    dev/upkeep answer QUESTION_ID duplicate PERSON_ID
    dev/upkeep split PERSON_ID [--rows PERSON_ID ...] [--records BATCH_ID/RECORD_KEY ...]
    dev/upkeep erase PERSON_ID [--keep-out]
    dev/upkeep erase --key SOURCE_KEY [--system SYSTEM] [--keep-out]
    dev/upkeep undo BATCH_ID [--force]
    dev/upkeep mail [--send [MAIL_ID ...]]
    dev/upkeep prune

Of a key its beginning will do. Each command can be repeated: what is done already stays as it is.

What takes long to import is imported by the command that needs it.
"""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from common import newcomers, people_db, review
from common.errors import DedupePeopleError, FilesLeft, PeopleDbError
from common.people_db import Asked, QuestionKey
from common.standardising import standardise_people

KEEP_FILES = 24 * 3600.0
"""How old a file of a batch must be, in seconds, before `prune` may take it."""


def undo(batch_id: str, force: bool) -> str:
    """See `people_db.undo_batch`; returns what was done."""
    with people_db.transaction() as connection:
        batch_id = people_db.begun_batch(connection, batch_id)
    report, leaning = people_db.undo_batch(batch_id, force=force)
    lost = [f"{count} decisions of batch {other} have lost their person" for other, count in leaning.items()]
    return "\n".join([f"batch {batch_id} is taken back: {report}", *lost])


def judge(batch_id: str, record_key: str, person_id: int | None, *, anyway: bool = False) -> str:
    """See `people_db.judge`; returns what was done.

    Args:
        batch_id: the batch of the decision.
        record_key: the record that was decided.
        person_id: whose it is; None: somebody new.
        anyway: insert somebody new although others came since who are so alike that the record would be taken for them.
    """
    with people_db.writing() as connection:
        key = people_db.decided_key(connection, batch_id, record_key)
        if person_id is None and not anyway:
            _check_newcomers(connection, key)
        review.judge(connection, key, person_id, getpass.getuser())
    return f"record {key.record_key} is {'new' if person_id is None else f'a duplicate of person {person_id}'}"


def _check_newcomers(connection: people_db.Transaction, key: QuestionKey) -> None:
    """Check that nobody came since a record was compared who is as much like it, unless it is a person already.

    Raises:
        PeopleDbError: somebody did.
    """
    answer = people_db.answer_of(connection, key)
    if answer and answer.person_id is None:
        return
    if came := newcomers.compare(connection, key).newcomers():
        raise PeopleDbError(f"nothing is stored, others came who are as much alike: {newcomers.in_words(came)}")


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


def answer(question_id: int, person_id: int | None, *, anyway: bool = False) -> str:
    """Answer an open question for all its records at once, see `people_db.answer_question`; returns what was done.

    Args:
        question_id: the question.
        person_id: whose records they are; None: somebody new.
        anyway: insert somebody new although others came since who are so alike that a record would be taken for them.

    Raises:
        PeopleDbError: the question cannot be answered so, or there are such others.
    """
    with people_db.writing() as connection:
        record = people_db.record_of(connection, question_id)
        if record and person_id is None and not anyway:
            _check_newcomers(connection, QuestionKey(*record))
        answered = people_db.answer_question(connection, question_id, person_id, getpass.getuser())
        standardise_people(connection)
    return f"the records of question {question_id} are {'the new ' if person_id is None else ''}person {answered}"


def split(
    person_id: int,
    rows: Sequence[int],
    records: Sequence[str],
    name: str | None = None,
    patience: timedelta | None = None,
) -> str:
    """See `people_db.split`; returns what was done.

    Args:
        person_id: the person to take from.
        rows: ids of rows that a sweep marked as that person.
        records: records that were decided to be that person, each as BATCH_ID/RECORD_KEY.
        name: of the user who says so; whoever runs this process unless given.
        patience: how long to wait for other writers, see `people_db.writing`.
    """
    named = [(batch_id, record_key) for batch_id, _, record_key in (record.partition("/") for record in records)]
    with people_db.writing(patience) as connection:
        standardise_people(connection)
        other = people_db.split(connection, person_id, rows, named, name or getpass.getuser())
        standardise_people(connection)
    return f"person {other} is split off person {person_id}, and they are never the same"


def erase(
    person_id: int | None,
    source_key: str | None = None,
    system: str = "default",
    *,
    keep_out: bool = False,
    patience: timedelta | None = None,
) -> str:
    """See `erasing.erase`; returns the proof.

    Raises:
        FilesLeft: not all files could be deleted; the proof is printed.
    """
    from common import erasing

    proof, left = erasing.erase(person_id, source_key, system, keep_out=keep_out, patience=patience)
    if left:
        print(proof)
        why = ", ".join(sorted(set(left)))
        raise FilesLeft(f"{len(left)} files cannot be deleted now ({why}): repeat this command until none is left")
    return proof


def mails(send: list[int] | None) -> str:
    """The mails that were not delivered, see `outbox`; with `send` these, or all if it is empty, are sent now."""
    from common.alerts import outbox

    return outbox.listed() if send is None else outbox.send_again(send)


def prune(now: float | None = None) -> str:
    """Delete files of batches that no XCom refers to any more, whichever DAG they are of.

    Re-running a task deletes its old file, but clearing it, deleting its run and `airflow db clean` do not. The DAG's
    own files go by themselves after some days, with task `tidy`.

    Args:
        now: seconds since 1970, for tests.
    """
    from common import storage
    from common.arrow_xcom import root

    now = time.time() if now is None else now
    # The files first: what is pushed meanwhile is not among them.
    files = [file for file in storage.files_below(root()) if file.path.suffix in {".arrow", ".tmp"}]
    referred = _referred_files()
    orphans = [file for file in files if str(file.path) not in referred and file.written < now - KEEP_FILES]
    left = storage.delete_all(orphans, root())
    freed = sum(file.bytes for file in orphans) - sum(file.bytes for file in left)
    failed = f", {len(left)} cannot be deleted" if left else ""
    return f"{len(orphans) - len(left)} files of batches ({freed:,} bytes) deleted{failed}"


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


_ANYWAY = "new, although others came meanwhile who are as much alike"


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
    judging.add_argument("--anyway", action="store_true", help=_ANYWAY)
    finding = commands.add_parser("find", help="show the known people nearest to a name and an address")
    finding.add_argument("first_name")
    finding.add_argument("last_name")
    finding.add_argument("address", nargs="?", default="")
    undoing = commands.add_parser("undo", help="take a batch back; it can be loaded again")
    undoing.add_argument("batch_id")
    undoing.add_argument("--force", action="store_true", help="also if decisions of other batches lean on its people")
    answering = commands.add_parser("answer", help="answer an open question for all its records")
    answering.add_argument("question_id", type=int)
    answering.add_argument("verdict", choices=["new", "duplicate"])
    answering.add_argument("person_id", type=int, nargs="?", help="whom it is a duplicate of")
    answering.add_argument("--anyway", action="store_true", help=_ANYWAY)
    splitting = commands.add_parser("split", help="make two of one person")
    splitting.add_argument("person_id", type=int)
    splitting.add_argument("--rows", type=int, nargs="+", default=[], help="rows that a sweep marked")
    splitting.add_argument("--records", nargs="+", default=[], help="records, each as BATCH_ID/RECORD_KEY")
    erasing = commands.add_parser("erase", help="remove every trace of a person")
    erasing.add_argument("person_id", type=int, nargs="?")
    erasing.add_argument("--key", help="source_key of the person")
    erasing.add_argument("--system", default="default", help="whose key that is")
    erasing.add_argument("--keep-out", action="store_true", help="do not take in what is delivered again")
    mailing = commands.add_parser("mail", help="show the mails that were not delivered, or send them again")
    mailing.add_argument("--send", type=int, nargs="*", metavar="MAIL_ID", help="these now; all, if none is named")
    commands.add_parser("prune", help="delete files that no run needs any more")
    return parser


def _judge_given(given: argparse.Namespace) -> str:
    if given.file:
        return judge_file(given.file)
    return judge(given.batch_id, given.record_key, given.person_id, anyway=given.anyway)


def _asked(given: argparse.Namespace) -> Asked:
    return Asked(run_id=given.run, batch_id=given.batch, reason=given.reason, text=given.text)


_COMMANDS: dict[str, Callable[[argparse.Namespace], str]] = {
    "review": lambda given: review_here(_asked(given)),
    "export-review": lambda given: export_review(given.file, _asked(given)),
    "judge": _judge_given,
    "find": lambda given: find(given.first_name, given.last_name, given.address),
    "undo": lambda given: undo(given.batch_id, given.force),
    "answer": lambda given: answer(given.question_id, given.person_id, anyway=given.anyway),
    "split": lambda given: split(given.person_id, given.rows, given.records),
    "erase": lambda given: erase(given.person_id, given.key, given.system, keep_out=given.keep_out),
    "mail": lambda given: mails(given.send),
    "prune": lambda _: prune(),
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
    if given.command in {"judge", "answer"} and (given.verdict == "duplicate") != (given.person_id is not None):
        parser.error("`duplicate` needs a PERSON_ID, `new` has none")
    if given.command == "erase" and (given.person_id is None) == (given.key is None):
        parser.error("name a PERSON_ID or a --key")
    try:
        print(_COMMANDS[given.command](given))
    except (DedupePeopleError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
