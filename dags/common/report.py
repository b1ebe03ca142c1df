"""What a run did: its numbers, which must add up, and the report that people get to see.

Names and addresses are masked in everything that this module writes: only initials and lengths remain.
"""

import base64
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from common.errors import ReportError
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES
from common.masking import masked
from common.run_report import RunReport
from common.settings import CANARY_LIMITS, REPORTS_DIR

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from common.linkage.canary import Canaries
    from common.linkage.model import LinkageModel

EXAMPLES_PER_REASON = 2


@dataclass(frozen=True)
class ReportPaths:
    """The files of a run's report."""

    text: Path
    html: Path


def report_paths(run_id: str) -> ReportPaths:
    """Where the report of a run lies; the names follow from the run alone."""
    stem = re.sub(r"[^\w.-]", "_", run_id)
    return ReportPaths(text=REPORTS_DIR / f"{stem}.txt", html=REPORTS_DIR / f"{stem}.html")


def write_report(
    run_id: str,
    report: RunReport,
    decisions: "pa.Table",
    quarantine: Mapping[str, int],
    model: "LinkageModel",
    results: Mapping[str, Any],
    certificate: str,
    canaries: "Sequence[Canaries]",
) -> ReportPaths:
    """Write a run's report as text and as one self-contained HTML page.

    Args:
        run_id: the run that reports.
        report: its numbers.
        decisions: the batch as stored, schema `people_db.STORED_DECISIONS`.
        quarantine: records by reason code.
        model: for the cut-offs that the plots show.
        results: the model's train and test results, as `training.results_table` gives them; empty if there are none.
        certificate: what the exhaustive comparison of a few records showed, in one line.
        canaries: how the canaries of this run and of those before it fared, latest first; none for a sweep.

    Raises:
        ReportError: the rows that are stored are not as many as the numbers say.
    """
    _check(report, decisions, quarantine)
    rows = decisions.to_pylist()
    reasons = _reasons(rows) | {f"quarantined, {reason}": count for reason, count in quarantine.items()}
    examples = list(_examples(rows))
    notes = [f"batch {report.batch_id} from {report.source}, model {report.model_version}", certificate]
    notes += [str(canaries[0])] if canaries else []
    if report.run_id != run_id:
        notes.append(f"this input was loaded before, by run {report.run_id}: nothing was changed")
    paths = report_paths(run_id)
    paths.text.parent.mkdir(parents=True, exist_ok=True)
    warning = "canaries past their limit: " if canaries and canaries[0].exceed(**CANARY_LIMITS) else ""
    text = [warning + str(report), *notes, "", *(f"{count:>9,}  {reason}" for reason, count in reasons.items()), ""]
    text += [*("example: " + example for example in examples), "", f"report: {paths.html}"]
    figures = [_plot_numbers(report), _plot_scores(rows, model), _plot_vectors(rows), _plot_canaries(canaries)]
    figures += [_plot_contributions(row) for row in rows if row["contributions"]][:1]
    if results:
        figures += [_plot_calibration(results["calibration"]), _plot_thresholds(results["thresholds"], model)]
    page = _PAGE.render(
        run_id=run_id,
        report=asdict(report),
        notes=notes,
        reasons=reasons,
        examples=examples,
        plots=[_png(figure) for figure in figures],
    )
    for path, content in ((paths.text, "\n".join(text) + "\n"), (paths.html, page)):
        unfinished = path.with_suffix(path.suffix + ".tmp")
        unfinished.write_text(content, encoding="utf-8")
        unfinished.rename(path)
    return paths


def _check(report: RunReport, decisions: "pa.Table", quarantine: Mapping[str, int]) -> None:
    kinds = decisions["decision"].to_pylist()
    stored = [kinds.count("DUPLICATE"), kinds.count("REVIEW"), kinds.count("NEW"), sum(quarantine.values())]
    if stored != [report.duplicates, report.review, report.inserted, report.quarantined]:
        raise ReportError(f"stored are {stored} duplicates, in review, inserted, quarantined; reported {report}")


def _reasons(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        key = f"{row['decision']}, {row['reason']}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def _examples(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    seen: dict[str, int] = {}
    for row in rows:
        seen[row["reason"]] = seen.get(row["reason"], 0) + 1
        if seen[row["reason"]] <= EXAMPLES_PER_REASON:
            yield _explained(row)


def _explained(row: Mapping[str, Any]) -> str:
    """One decision in one line, masked."""
    who = masked(row["first_name"], row["last_name"], row["address"])
    target = f"person {row['person_id']}"
    if row["matched_record_key"]:
        target = f"record {row['matched_record_key'][:8]} of this batch ({target})"
    if row["score"] is None:
        return f"{row['decision']} {row['reason']}: {who} is {target}"
    similarities = ", ".join(f"{name.replace('_', ' ')} {_shown(row[f'{name}_similarity'])}" for name in SIMILARITIES)
    swapped = ", names swapped" if row["swapped"] else ""
    why = f"; log-odds: {explained(row)}" if row["contributions"] else ""
    return (
        f"{row['decision']} {row['reason']}: {who} ~ {target}, score {row['score']:.3f} ({similarities}{swapped}{why})"
    )


def _shown(similarity: float | None) -> str:
    return "missing" if similarity is None else f"{similarity:.2f}"


def _figure() -> "tuple[Figure, Any]":
    # The object interface: pyplot would keep every figure alive and look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    return figure, figure.add_subplot()


def _plot_numbers(report: RunReport) -> "Figure":
    figure, axes = _figure()
    names = ("inserted", "duplicates", "review", "quarantined")
    bars = axes.barh(names[::-1], [getattr(report, name) for name in names[::-1]], color="#4c72b0")
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set(title=f"{report.received:,} records received", xlabel="records")
    axes.margins(x=0.12)
    return figure


def _plot_scores(rows: Iterable[Mapping[str, Any]], model: "LinkageModel") -> "Figure":
    figure, axes = _figure()
    axes.hist([row["score"] for row in rows if row["score"] is not None], bins=40, range=(0, 1), color="#4c72b0")
    axes.axvline(model.review_at, color="#dd8452", label=f"review at {model.review_at:g}")
    axes.axvline(model.accept_at, color="#c44e52", label=f"duplicate at {model.accept_at:g}")
    axes.set(title="match score of the best candidate", xlabel="match score", ylabel="records", xlim=(0, 1))
    axes.legend()
    return figure


def _plot_vectors(rows: Iterable[Mapping[str, Any]]) -> "Figure":
    figure, axes = _figure()
    for decision, colour in (("DUPLICATE", "#c44e52"), ("REVIEW", "#dd8452")):
        points = [
            ((row["first_name_similarity"] + row["last_name_similarity"]) / 2, row["address_similarity"])
            for row in rows
            if row["decision"] == decision
            and None not in [row[f"{name}_similarity"] for name in ("first_name", "last_name", "address")]
        ]
        axes.scatter(*zip(*points, strict=True) if points else ([], []), s=8, alpha=0.5, color=colour, label=decision)
    axes.set(
        title="similarity of the decided pairs",
        xlabel="names (mean)",
        ylabel="address",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    axes.legend(loc="lower left")
    return figure


def contributions(row: Mapping[str, Any]) -> dict[str, float]:
    """What each term of the model added to the log-odds of a stored decision, the intercept first."""
    terms = json.loads(row["contributions"])
    return {name: terms[name] for name in ("intercept", *COMPARISON_VECTOR) if name in terms}


def explained(row: Mapping[str, Any]) -> str:
    """The contributions of a stored decision as text, largest first."""
    terms = sorted(contributions(row).items(), key=lambda term: -abs(term[1]))
    return ", ".join(f"{name.replace('_', ' ')} {log_odds:+.1f}" for name, log_odds in terms if log_odds)


def _plot_contributions(row: Mapping[str, Any]) -> "Figure":
    """A waterfall: from the intercept, term by term, to the log-odds of the score."""
    figure, axes = _figure()
    names, steps = zip(*contributions(row).items(), strict=True)
    ends = list(accumulate(steps))
    colours = ["#55a868" if step > 0 else "#c44e52" for step in steps]
    axes.barh(names, steps, left=[end - step for end, step in zip(ends, steps, strict=True)], color=colours)
    axes.axvline(0, color="#999", linewidth=0.8)
    axes.margins(x=0.05)
    axes.invert_yaxis()
    axes.set(title=f"why: {row['decision']}, score {row['score']:.3f}", xlabel="log-odds")
    return figure


def _plot_calibration(bins: Iterable[tuple[float, float, float]]) -> "Figure":
    figure, axes = _figure()
    axes.plot((0, 1), (0, 1), color="#999", linewidth=0.8, label="perfect")
    scores, rates, _ = zip(*bins, strict=True)
    axes.plot(scores, rates, marker="o", color="#4c72b0", label="model, test pairs")
    axes.set(title="calibration", xlabel="match score", ylabel="share of matches", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()
    return figure


def _plot_thresholds(chart: Iterable[tuple[float, float, float]], model: "LinkageModel") -> "Figure":
    figure, axes = _figure()
    cut_offs, reinserted, dropped = zip(*chart, strict=True)
    axes.plot(cut_offs, [100 * rate for rate in reinserted], color="#dd8452", label="re-inserted")
    axes.plot(cut_offs, [100 * rate for rate in dropped], color="#c44e52", label="wrongly dropped")
    for cut_off in (model.review_at, model.accept_at):
        axes.axvline(cut_off, color="#999", linestyle=":")
    axes.set(title="what a single cut-off would do, test pairs", xlabel="cut-off", ylabel="%", xlim=(0, 1))
    axes.legend()
    return figure


def _plot_canaries(canaries: "Sequence[Canaries]") -> "Figure":
    from common.linkage.canary import interval

    figure, axes = _figure()
    runs = range(1 - len(canaries), 1)
    for name, shown, of, colour in (
        ("reinserted", "re-inserted", "returning", "#dd8452"),
        ("dropped", "wrongly dropped", "strangers", "#c44e52"),
    ):
        counts = [(getattr(run, name), getattr(run, of)) for run in reversed(canaries)]
        rates = [100 * hits / max(total, 1) for hits, total in counts]
        around = [
            [abs(100 * end - rate) for end, rate in zip(ends, rates, strict=True)]
            for ends in zip(*(interval(*c) for c in counts), strict=True)
        ]
        axes.errorbar(runs, rates, yerr=around or None, color=colour, capsize=3, marker="o", label=shown)
    axes.set(title="canaries, with 95 % intervals", xlabel="runs before this one", ylabel="%")
    axes.set_xticks(runs)
    axes.legend()
    return figure


def _png(figure: "Figure") -> str:
    buffer = io.BytesIO()
    # No Software entry, so that the same numbers make the same bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()


_PAGE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>dedupe_people {{ run_id }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
  table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left }
  td.number { text-align: right; font-variant-numeric: tabular-nums }
  img { max-width: 100% } li { margin-bottom: .3rem }
</style>
</head>
<body>
<h1>dedupe_people</h1>
<p>Run {{ run_id }}</p>
{% for note in notes %}<p>{{ note }}</p>
{% endfor %}
<table>
{% for name in ("received", "quarantined", "duplicates", "review", "inserted") -%}
<tr><th>{{ name }}</th><td class="number">{{ "{:,}".format(report[name]) }}</td></tr>
{% endfor -%}
</table>
{% for plot in plots %}<p><img alt="" src="data:image/png;base64,{{ plot }}"></p>
{% endfor %}
<h2>By reason</h2>
<table>
{% for reason, count in reasons.items() -%}
<tr><td class="number">{{ "{:,}".format(count) }}</td><td>{{ reason }}</td></tr>
{% endfor -%}
</table>
<h2>Examples, masked</h2>
<ul>
{% for example in examples %}<li>{{ example }}</li>
{% endfor %}
</ul>
</body>
</html>
""")
