"""The mail about a run: its headline, what to do now, the numbers and two plots."""

from collections.abc import Sequence

from common.mail import Mail, Number, Picture
from common.report.findings import Findings
from common.report.plots import COLOURS, Plot

MAILED_PLOTS = ("scores", "canaries")


def as_mail(findings: Findings, plots: Sequence[Plot]) -> Mail:
    """The mail without its link and its attachment, which are added when it is sent."""
    numbers = findings.numbers
    counted = [
        ("Marked as duplicates" if findings.is_sweep else "Known already", numbers.duplicates, "--known"),
        ("Waiting for a verdict", numbers.review, "--review"),
        ("In quarantine", numbers.quarantined, "--unusable"),
    ]
    if not findings.is_sweep:
        counted.insert(0, ("New, inserted", numbers.inserted, "--new"))
    return Mail(
        subject=("Warning: " if findings.warnings else "") + findings.headline,
        headline=findings.headline,
        lead=[*findings.notes, f"{findings.date}. {findings.size}"],
        warnings=findings.warnings,
        to_do=findings.to_do,
        numbers=[Number(label, count, COLOURS[colour]) for label, count, colour in counted],
        pictures=[Picture(plot.name, plot.png(), plot.alt) for plot in plots if plot.name in MAILED_PLOTS],
        facts={
            "source": numbers.source,
            "run": findings.run_id,
            "batch": numbers.batch_id,
            "model": numbers.model_version,
            **({"review": " ".join(findings.review_told)} if findings.review_told else {}),
            "search": findings.certificate.removeprefix("certificate: "),
            **({"canaries": str(findings.shadows[0]).removeprefix("canaries: ")} if findings.shadows else {}),
        },
    )
