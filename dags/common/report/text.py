"""The report as text, for the log and the terminal."""

import textwrap
from collections.abc import Iterable

from common.report.findings import Findings
from common.storage import SharedPath

WIDTH = 80
QUESTIONS_SHOWN = 10


def as_text(findings: Findings, page: SharedPath) -> str:
    """The report in lines of at most `WIDTH` characters, but for paths.

    Args:
        findings: what to tell.
        page: where the HTML page lies.
    """
    numbers = findings.numbers
    lines = [findings.headline, str(numbers)]
    lines += _filled([f"warning: {warning}" for warning in findings.warnings] + findings.notes)
    lines += _filled([findings.size, f"batch {numbers.batch_id} from {numbers.source}, model {numbers.model_version}"])
    lines += _filled([findings.certificate, *(str(canaries) for canaries in findings.shadows[:1])])
    lines += _filled([findings.review_limit])
    lines += ["", *(f"{row.count:>9,}  {row.decision}, {row.reason}" for row in findings.reasons), ""]
    for row in findings.reasons:
        lines += _filled([f"example: {row.decision} {row.reason}: {row.example}"] if row.example else [])
    lines += _questions(findings)
    lines += ["", *_filled([f"review: {line}" for line in findings.review_told])] if findings.review_told else []
    lines += _filled([f"- {line}" for line in findings.disputes])
    if findings.undelivered:
        lines += ["", "mails that could not be delivered:", *_filled([f"- {line}" for line in findings.undelivered])]
    return "\n".join([*lines, "", f"report: {page}"]) + "\n"


def _questions(findings: Findings) -> list[str]:
    questions = findings.questions
    if not questions:
        return []
    lines = ["", "in review, those most likely known first:"]
    lines += _filled(
        f"- {question.key} ~ {question.candidate}, {question.score}, {question.reason}: {question.who}"
        for question in questions[:QUESTIONS_SHOWN]
    )
    if (more := len(questions) - QUESTIONS_SHOWN) > 0:
        lines += [f"- and {more:,} more, see the report"]
    if not findings.is_sweep:
        judge = f"dev/upkeep judge {findings.numbers.batch_id} RECORD"
        lines += ["judge them with one of:", f"  {judge} duplicate PERSON", f"  {judge} new"]
    return lines


def _filled(paragraphs: Iterable[str]) -> list[str]:
    return [
        line
        for paragraph in paragraphs
        for line in textwrap.wrap(
            paragraph, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    ]
