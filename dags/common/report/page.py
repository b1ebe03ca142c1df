"""The report as one HTML page that needs nothing else: no script, no request, light, dark and in print."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from common.linkage.canary import interval
from common.linkage.verdict import Decision
from common.report.findings import Findings
from common.report.plots import COLOURS, DARK, Plot
from common.report.words import GLOSSARY
from common.settings import FEWEST_CANARIES

OPEN_QUESTIONS = 5
"""Records in review that are shown at once; the others unfold."""

_COLOUR_OF = {
    Decision.NEW: "--new",
    Decision.DUPLICATE: "--known",
    Decision.REVIEW: "--review",
    "quarantined": "--unusable",
}

_PAGE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("page.html")


def as_page(findings: Findings, plots: Sequence[Plot]) -> str:
    """The page of a run."""
    numbers, latest = findings.numbers, findings.shadows[0] if findings.shadows else None
    parts = [
        ("marked as duplicates" if findings.is_sweep else "known already", numbers.duplicates, "--known"),
        ("need you", numbers.review, "--review"),
        ("in quarantine", numbers.quarantined, "--unusable"),
    ]
    if not findings.is_sweep:
        parts.insert(0, ("new, inserted", numbers.inserted, "--new"))
    drawn = {plot.name: {"svg": plot.svg(), "alt": plot.alt, "caption": plot.caption} for plot in plots}
    names = ("scores", "pairs", "waterfall", "canaries", "calibration", "cut-offs", "review")
    return _PAGE.render(
        findings=findings,
        parts=parts,
        title=_title(findings),
        questions=findings.questions,
        open_questions=OPEN_QUESTIONS,
        plots=dict.fromkeys(names) | drawn,
        certificate=findings.certificate[0].upper() + findings.certificate[1:] + ".",
        rates=_rates(findings),
        fewest_canaries=FEWEST_CANARIES,
        few_canaries=latest is not None and min(latest.returning, latest.strangers) < FEWEST_CANARIES,
        colour_of=_COLOUR_OF,
        glossary=GLOSSARY,
        light=COLOURS,
        dark=DARK,
    )


def _title(findings: Findings) -> str:
    numbers = findings.numbers
    if findings.is_sweep:
        return f"The table compared with itself: {numbers.received:,} of its people resemble somebody in it"
    return f"{numbers.received:,} {'record' if numbers.received == 1 else 'records'} from {numbers.source}"


def _rates(findings: Findings) -> list[dict[str, str]]:
    """Rows of the table of canaries: the rate of this run with its interval, and that of all runs together."""
    if not findings.shadows:
        return []
    rows = []
    for name, of, label in (
        ("reinserted", "returning", "re-inserted"),
        ("dropped", "strangers", "wrongly dropped"),
    ):
        hits, total = getattr(findings.shadows[0], name), getattr(findings.shadows[0], of)
        low, high = interval(hits, total)
        all_hits = sum(getattr(run, name) for run in findings.shadows)
        everybody = sum(getattr(run, of) for run in findings.shadows)
        rows.append(
            {
                "label": label,
                "now": f"{hits / max(total, 1):.1%}",
                "interval": f"{low:.1%} to {high:.1%}",
                "counted": f"{hits:,} of {total:,}",
                "before": f"{all_hits / max(everybody, 1):.1%}",
            }
        )
    return rows
