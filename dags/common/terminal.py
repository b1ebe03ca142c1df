"""Clerical review in a terminal: the questions of the page, answered by the same keys."""

from collections.abc import Callable, Sequence
from uuid import uuid4

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from common import review
from common.errors import DedupePeopleError
from common.newcomers import Alike
from common.people_db import Answer, Asked, Reviewer
from common.review import FIELDS, Candidate, Marked, Newcomer, Question, Term, Written, percent

KEYS = "[b]s[/b] same person  [b]n[/b] somebody new  [b]r[/b] the other one  [b]f[/b] find another  "
KEYS += "[b]k[/b] skip  [b]u[/b] undo last  [b]q[/b] quit"
_BAR = 12  # characters on each side of the middle of a bar
_WIDEST = 5.0  # log-odds that fill it


class Session:
    """Somebody at a terminal who is asked one question after the other.

    Args:
        name: of the user, stored with the answers.
        asked: which questions are wanted.
        console: what is written to.
        key: waits for one key and returns it.
    """

    def __init__(self, name: str, asked: Asked, console: Console, key: Callable[[], str] = click.getchar) -> None:
        self._reviewer = Reviewer(name, f"terminal-{uuid4().hex}")
        self._asked, self._console, self._key = asked, console, key
        self._answered = 0

    def run(self) -> str:
        """Ask until nothing is open or the user quits; returns how many answers were given."""
        try:
            question = review.next_question(self._reviewer, self._asked)
            while question and (key := self._ask(question)) != "q":
                try:
                    question = self._step(question, key)
                except DedupePeopleError as error:
                    self._console.print(Text(f"{error}: nothing was stored", "bold red"))
            self._console.print("" if question else "Nothing to review.")
        finally:
            review.release(self._reviewer.screen)
        return f"{self._answered} answers given"

    def _ask(self, question: Question) -> str:
        far = review.progress(self._asked, self._reviewer.name)
        self._console.rule(f"{far['open']} open, {far['answered_today']} answered by you today")
        self._console.print(shown(question))
        self._console.print(KEYS)
        return self._key().lower()

    def _step(self, question: Question, key: str) -> Question | None:
        """Do what a key says; returns the question to ask next."""
        candidate, second = question.candidate, question.runner_up
        if key == "s" and candidate:
            return self._answer(question, candidate.person_id)
        if key == "n":
            return self._answer(question, None)
        if key == "r" and second:
            return self._answer(question, second.person_id)
        if key == "f":
            found = self._find(question)
            return self._answer(question, found) if found is not None else question
        if key == "u":
            taken = review.take_back(self._reviewer)
            self._console.print("Taken back." if taken else "There is no answer of yours to take back.")
            self._answered -= bool(taken)
            return taken or question
        if key == "k":
            review.skip(self._reviewer, question.key)
            return review.next_question(self._reviewer, self._asked)
        return question

    def _answer(
        self, question: Question, person_id: int | None, seen: Sequence[Alike] = (), together: Sequence[int] = ()
    ) -> Question | None:
        outcome = review.answer(self._reviewer, question.key, person_id, seen, together)
        if outcome.answer is None:
            return self._choose(question, outcome.newcomers, seen)
        known = outcome.answer
        who = "Answered" if outcome.ours else f"{known.judged_by or 'Somebody'} has answered meanwhile"
        self._console.print(Text(f"{who}: {_said(known)}.", "green" if outcome.ours else "bold yellow"))
        self._answered += outcome.ours
        return review.next_question(self._reviewer, self._asked)

    def _choose(self, question: Question, came: Sequence[Newcomer], seen: Sequence[Alike]) -> Question | None:
        """Let the user say whether the record is one of those who came meanwhile."""
        self._console.print(Text("Others came meanwhile who are as much alike:", "bold yellow"))
        for number, newcomer in enumerate(came[:9], 1):
            who = Alike(newcomer.person_id, newcomer.question_id)
            line = _line(f"{percent(newcomer.score):>7}  {who}:", newcomer.spellings[0])
            self._console.print(Text(f"{number}  "), line)
        self._console.print(
            "The number of whom it is, [b]n[/b] if it is somebody new all the same, any other key to go back."
        )
        key = self._key().lower()
        seen = [*seen, *(Alike(newcomer.person_id, newcomer.question_id) for newcomer in came)]
        if key == "n":
            return self._answer(question, None, seen)
        if key not in map(str, range(1, min(len(came), 9) + 1)):
            return question
        chosen = came[int(key) - 1]
        if chosen.question_id is not None:
            return self._answer(question, None, seen, [chosen.question_id])
        return self._answer(question, chosen.person_id)

    def _find(self, question: Question) -> int | None:
        """Let the user choose among the people nearest to a record."""
        nearest = review.find(*("".join(piece for piece, _ in question.record[name]) for name in FIELDS))[:9]
        for number, candidate in enumerate(nearest, 1):
            self._console.print(Text(f"{number}  "), found(candidate))
        self._console.print("The number of the person, any other key to go back." if nearest else "Nobody comes near.")
        chosen = self._key() if nearest else ""
        return nearest[int(chosen) - 1].person_id if chosen in map(str, range(1, len(nearest) + 1)) else None


def _said(answer: Answer) -> str:
    return "somebody new" if answer.person_id is None else f"person {answer.person_id}"


def shown(question: Question) -> Group:
    """A question as it stands in the terminal."""
    candidate = question.candidate
    sides = Table(box=None, padding=(0, 2), pad_edge=False)
    arrived = "arrived" if question.own_person_id is None else f"person {question.own_person_id}"
    for head in ("", arrived, f"person {candidate.person_id}" if candidate else "nobody known"):
        sides.add_column(head, overflow="fold", header_style="dim")
    for name in FIELDS:
        theirs = getattr(candidate.spellings[0], name) if candidate else []
        sides.add_row(name.replace("_", " "), _text(question.record[name]), _text(theirs))
    origin = f"from {_harmless(question.source)}, {question.loaded_at:%Y-%m-%d}"
    parts: list[RenderableType] = [Text(question.why), Text(origin, "dim"), sides]
    if candidate:
        parts += [_line("also known as", spelling) for spelling in candidate.spellings[1:]]
        parts += [_terms(candidate.terms), Text(f"together: {percent(candidate.score)} likely the same person")]
    parts += [_line("the answer holds too for", other) for other in question.others]
    if second := question.runner_up:
        parts.append(_line(f"or person {second.person_id}, {percent(second.score)}:", second.spellings[0]))
    return Group(*parts)


def found(candidate: Candidate) -> Text:
    """One person whom somebody has looked up, in a line."""
    relative = "  (lives there too, another first name)" if candidate.household else ""
    return _line(f"{percent(candidate.score):>7}  person {candidate.person_id}:", candidate.spellings[0]).append(
        relative
    )


def _line(before: str, spelling: Written) -> Text:
    fields = [_text(pieces) for name in FIELDS if (pieces := getattr(spelling, name))]
    return Text(f"{before} ", "dim").append_text(Text(" ").join(fields))


def _terms(terms: list[Term]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=False)
    for term in terms:
        width = round(_BAR * min(1, abs(term.log_odds) / _WIDEST))
        against, bar = term.log_odds < 0, "█" * width
        drawn = Text(bar.rjust(_BAR), "red").append("│", "dim") if against else Text(" " * _BAR).append("│", "dim")
        drawn.append("" if against else bar, "green")
        table.add_row(term.name, drawn, f"{term.log_odds:+.1f}", Text(term.found, "dim"))
    return table


def _text(pieces: Marked) -> Text:
    """A field, what differs in reverse video: colour alone would be lost on some."""
    text = Text("missing", "dim italic") if not pieces else Text()
    for piece, differs in pieces:
        text.append(_harmless(piece), "reverse" if differs else "")
    return text


def _harmless(text: str) -> str:
    """Text without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
