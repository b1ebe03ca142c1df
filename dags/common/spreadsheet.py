"""Open questions as a CSV file for a spreadsheet, and the verdicts that come back in it."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common import newcomers, people_db, review
from common.errors import PeopleDbError, PermanentError
from common.people_db import Asked, QuestionKey
from common.review import FIELDS, Candidate, Marked, Question

COLUMNS = (
    *("question", "verdict", "source", "reason", "why", "score", *FIELDS),
    *("person", *(f"person_{name}" for name in FIELDS)),
    *("runner_up", *(f"runner_up_{name}" for name in FIELDS)),
)
"""`question` names the question. `verdict` is left empty, to be filled in: `same`, `new`, or the id of a person; and
`new anyway` where somebody came meanwhile who is as much alike, and is another one."""

_ANYWAY = "new anyway"
_NEEDED = ("question", "verdict", "person")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet would run."""


class SheetError(PermanentError):
    """A file of verdicts cannot be used; nothing of it was stored."""


@dataclass(frozen=True)
class Verdict:
    """One line of a file that has a verdict: the person that the record belongs to, or None: somebody new.

    `anyway`: somebody new, whoever came meanwhile.
    """

    line: int
    key: QuestionKey
    person_id: int | None
    anyway: bool = False


def export(path: Path, asked: Asked) -> int:
    """Write the open questions to a CSV file that only its owner may read; returns how many there are.

    Raises:
        OSError: the file cannot be written; what was there before stays.
    """
    questions = review.open_questions(asked)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows({name: _harmless(cell) for name, cell in _cells(question).items()} for question in questions)
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.touch(mode=0o600)
    # With the mark by which spreadsheets know UTF-8.
    unfinished.write_text(text.getvalue(), encoding="utf-8-sig", newline="")
    unfinished.rename(path)
    return len(questions)


def _cells(question: Question) -> dict[str, str]:
    named = {"question": "/".join(question.key), "verdict": "", "source": question.source, "reason": question.reason}
    score = question.candidate.score if question.candidate else None
    return {
        **named,
        "why": question.why,
        "score": "" if score is None else f"{score:.4f}",
        **{name: _plain(question.record[name]) for name in FIELDS},
        **_person("person", question.candidate),
        **_person("runner_up", question.runner_up),
    }


def _person(prefix: str, candidate: Candidate | None) -> dict[str, str]:
    if candidate is None:
        return dict.fromkeys((prefix, *(f"{prefix}_{name}" for name in FIELDS)), "")
    first = candidate.spellings[0]
    return {prefix: str(candidate.person_id)} | {f"{prefix}_{name}": _plain(getattr(first, name)) for name in FIELDS}


def _plain(pieces: Marked) -> str:
    return "".join(piece for piece, _ in pieces)


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before it says that it is text."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def verdicts(path: Path) -> Iterator[Verdict]:
    """The verdicts of a file that `export` has written and somebody has filled in, whatever a spreadsheet made of it.

    Raises:
        SheetError: a column is missing, or a verdict is none.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SheetError(f"{path} is no UTF-8 text: save it as CSV UTF-8") from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    if missing := [name for name in _NEEDED if name not in (rows.fieldnames or ())]:
        raise SheetError(f"{path} lacks column {', '.join(missing)}")
    for row in rows:
        if verdict := " ".join((row["verdict"] or "").lower().split()):
            person_id = _person_id(row, verdict, rows.line_num)
            yield Verdict(rows.line_num, _key(row, rows.line_num), person_id, verdict == _ANYWAY)


def _key(row: Mapping[str, str | None], line: int) -> QuestionKey:
    batch_id, slash, record_key = (row["question"] or "").strip().partition("/")
    if not slash:
        raise SheetError(f"line {line}: column question holds no question")
    return QuestionKey(batch_id, record_key)


def _person_id(row: Mapping[str, str | None], verdict: str, line: int) -> int | None:
    if verdict in {"new", _ANYWAY}:
        return None
    person = (row["person"] or "").strip() if verdict == "same" else verdict
    if not person.isdecimal():
        raise SheetError(f"line {line}: the verdict must be same, new, {_ANYWAY} or the id of a person")
    return int(person)


def judge(given: Iterable[Verdict], name: str) -> str:
    """Store verdicts, all of them or none; what somebody has answered already stays as it is.

    So does a question whose record is said to be somebody new, while others came who are as much alike.

    Args:
        given: the verdicts.
        name: whose they are.

    Returns:
        What was done, for people.

    Raises:
        SheetError: a question or a person is gone.
        PeopleDbUnreachable: others are writing, or there is no connection.
    """
    stored, same, others, still_open = 0, 0, [], []
    with people_db.writing() as connection:
        for verdict in given:
            try:
                known = people_db.answer_of(connection, verdict.key)
                if known is None:
                    if came := _newcomers(connection, verdict):
                        still_open.append(f"line {verdict.line}: others came who are as much alike: {came}")
                        continue
                    review.judge(connection, verdict.key, verdict.person_id, name)
                    stored += 1
                elif known.person_id == verdict.person_id:
                    same += 1
                else:
                    others.append(f"line {verdict.line} was answered otherwise by {known.judged_by or 'somebody'}")
            except PeopleDbError as error:
                raise SheetError(f"line {verdict.line}: {error}; nothing was stored") from None
    lines = [f"{stored} answers stored, {same} were there already, {len(others)} others stay as they are", *others]
    if still_open:
        lines += [*still_open, f"these are open: write the id of the person, or {_ANYWAY}, and give the file again"]
    return "\n".join(lines)


def _newcomers(connection: people_db.Transaction, verdict: Verdict) -> str:
    """Who came since the question was asked and is as much like a record that is said to be somebody new."""
    if verdict.person_id is not None or verdict.anyway:
        return ""
    return newcomers.in_words(newcomers.compare(connection, verdict.key).newcomers())
