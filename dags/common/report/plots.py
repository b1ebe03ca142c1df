"""The plots of the report: one style for all, as SVG for the page and as PNG for the mail.

The colours are told apart by people who are colour blind (Okabe and Ito 2008), and marks differ in shape as well. In
the page each stands for a CSS variable, so that the plots are light or dark with it.
"""

import base64
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from common.linkage.canary import interval
from common.linkage.model import SIMILARITIES
from common.linkage.verdict import Decision
from common.report.findings import Findings, Row, candidate, contributions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "--ink": "#1b2430",
    "--muted": "#5a6675",
    "--line": "#c9d0d8",
    "--card": "#ffffff",
    "--new": "#0072b2",
    "--known": "#009e73",
    "--review": "#e69f00",
    "--unusable": "#cc79a7",
    "--against": "#d55e00",
}
"""The colours of page, plots and mail on a light ground, by the CSS variable that holds each."""

DARK = {
    "--ink": "#e8ecf1",
    "--muted": "#a3afbd",
    "--line": "#3a4553",
    "--card": "#1a212b",
    "--new": "#56b4e9",
    "--known": "#2cc295",
    "--review": "#f0b429",
    "--unusable": "#de9cc0",
    "--against": "#ff8a4c",
}
"""The same on a dark ground."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.color": COLOURS["--ink"],
    "axes.labelcolor": COLOURS["--muted"],
    "axes.edgecolor": COLOURS["--muted"],
    "xtick.color": COLOURS["--muted"],
    "ytick.color": COLOURS["--muted"],
    "grid.color": COLOURS["--line"],
    "grid.linewidth": 0.5,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.8,
}
_SIZE = 5.2, 3.3  # inches: small, so that the text can still be read when a phone shrinks it

_TICKS = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999, 0.9999, 0.99999)
"""Scores that an axis in log-odds may be labelled with."""


@dataclass(frozen=True)
class Plot:
    """A plot: what it shows in words (for those who do not see it), a caption, and the figure."""

    name: str
    alt: str
    caption: str
    figure: "Figure"

    def svg(self) -> str:
        """The plot as an SVG element for the page; its colours are the page's variables."""
        from matplotlib import rc_context

        buffer = io.StringIO()
        with rc_context(_STYLE | {"svg.hashsalt": self.name}):  # the same numbers make the same bytes
            self.figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue()
        svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        svg = re.sub(r'(id="|href="#|url\(#)', rf"\1{self.name}-", svg)  # ids are unique in the page
        svg = re.sub(r" xmlns(:xlink)?=\"[^\"]*\"", "", svg)
        svg = re.sub(r"font: ([^;\"]*?)([\d.]+px) [^;\"]*", r"font: \1\2 system-ui, sans-serif", svg)
        svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"|(<svg [^>]*?)height="[^"]*"', r"\1\2", svg, count=1)
        svg = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", svg, count=1)
        for variable, colour in COLOURS.items():
            svg = svg.replace(colour, f"var({variable})")
        return svg.replace("<svg ", '<svg role="presentation" ', 1)

    def png(self) -> str:
        """The plot as a PNG on white, in base64."""
        from matplotlib import rc_context

        buffer = io.BytesIO()
        with rc_context(_STYLE):
            # No Software entry, so that the same numbers make the same bytes.
            self.figure.savefig(buffer, format="png", dpi=200, facecolor="white", metadata={"Software": None})
        return base64.b64encode(buffer.getvalue()).decode()


def all_plots(findings: Findings) -> list[Plot]:
    """The plots of a run, without those that would be empty."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        drawn = [_scores(findings), _pairs(findings), _waterfall(findings), _canaries(findings)]
        drawn += [_calibration(findings), _cut_offs(findings), _review(findings)]
    return [plot for plot in drawn if plot]


def _axes(title: str) -> "tuple[Figure, Axes]":
    # The object interface: pyplot would keep every figure alive and look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, pad=10)
    return figure, axes


def _log_odds(score: float) -> float:
    score = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(score / (1 - score))


def _score_axis(axes: "Axes", low: float, high: float) -> None:
    """Label an axis of log-odds with the scores they stand for."""
    ticks = [score for score in _TICKS if low <= _log_odds(score) <= high]
    axes.set_xticks([_log_odds(score) for score in ticks], [f"{score:.5f}".rstrip("0").lstrip("0") for score in ticks])


def _scores(findings: Findings) -> Plot | None:
    """How the scores of the best candidates are spread, by decision."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    model = findings.model
    scored = [row for row in findings.rows if row["score"] is not None]
    if not scored:
        return None
    figure, axes = _axes("Score of the best candidate")
    least = min(row["score"] for row in scored)
    low, high = _log_odds(min(least, model.review_at)) - 0.5, _log_odds(max(row["score"] for row in scored)) + 0.5
    goal, step = _log_odds(model.accept_at), 0.25  # so that no bar stands on both sides of the upper cut-off
    kinds = [kind for kind in (Decision.NEW, Decision.REVIEW, Decision.DUPLICATE) if _of(scored, kind)]
    axes.hist(
        [[_log_odds(row["score"]) for row in _of(scored, kind)] for kind in kinds],
        bins=np.arange(goal - math.ceil((goal - low) / step) * step, high + step, step).tolist(),
        stacked=True,
        color=[_COLOUR_OF[kind] for kind in kinds],
        label=[_LABEL_OF[kind] for kind in kinds],
        hatch=["///" if kind == Decision.REVIEW else "" for kind in kinds],
        edgecolor=COLOURS["--card"],
        linewidth=0.4,
    )
    _draw_cut_offs(axes, [(_log_odds(model.review_at), "review"), (_log_odds(model.accept_at), "duplicate")])
    _score_axis(axes, low, high)
    # Few records stand beside hundreds, and the few are those in review: on a linear scale they could not be seen.
    axes.set_yscale("function", functions=(np.sqrt, np.square))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="match score (spread out towards 1)", ylabel="records (square-root scale)", xlim=(low, high))
    _legend(axes)
    alone = len(findings.rows) - len(scored)
    caption = (
        f"The {len(scored):,} records that resemble somebody, by their score with whom they resemble most. Records "
        f"between the two cut-offs, {model.review_at:.3g} and {model.accept_at:.3g}, are in review; further right "
        "only those that a rule sends there."
    )
    if alone:
        caption += f" Not drawn: {alone:,} without any candidate, or loaded before."
    alt = f"Histogram of {len(scored):,} match scores, from {least:.3f} to {max(row['score'] for row in scored):.3f}"
    return Plot("scores", alt, caption, figure)


_COLOUR_OF = {
    Decision.NEW: COLOURS["--new"],
    Decision.DUPLICATE: COLOURS["--known"],
    Decision.REVIEW: COLOURS["--review"],
}
_LABEL_OF = {Decision.NEW: "new", Decision.DUPLICATE: "known", Decision.REVIEW: "in review"}


def _of(rows: Sequence[Row], decision: Decision) -> list[Row]:
    return [row for row in rows if row["decision"] == decision]


def _draw_cut_offs(axes: "Axes", cut_offs: Sequence[tuple[float, str]]) -> None:
    for value, label in cut_offs:
        axes.axvline(value, color=COLOURS["--ink"], linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(
            label,
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=8.5,
        )


def _legend(axes: "Axes") -> None:
    """A legend in one line below the plot, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), handlelength=1.4)


def _pairs(findings: Findings) -> Plot | None:
    """How alike names and addresses are, of the pairs that were decided."""
    wanted = ("first_name_similarity", "last_name_similarity", "address_similarity")
    compared = [row for row in findings.rows if row["score"] is not None]
    complete = [row for row in compared if None not in [row[name] for name in wanted]]
    if not complete:
        return None
    figure, axes = _axes("How alike the pairs are")
    # Pairs in one place are one mark: tens of thousands of them would make a page of many megabytes.
    places = Counter((row["decision"], *_place(row)) for row in complete)
    for kind, marker, size in ((Decision.DUPLICATE, "o", 22), (Decision.REVIEW, "^", 36), (Decision.NEW, "s", 20)):
        marks = [(x, y, size * (1 + math.log10(count))) for (of, x, y), count in sorted(places.items()) if of == kind]
        if marks:
            x, y, area = zip(*marks, strict=True)
            colour = _COLOUR_OF[kind]
            axes.scatter(x, y, area, marker=marker, color=colour, alpha=0.65, linewidths=0, label=_LABEL_OF[kind])
    names, addresses = [x for _, x, _ in places], [y for _, _, y in places]
    axes.set(
        xlabel="names (mean of first and last)",
        ylabel="address",
        xlim=_zoom(names),
        ylim=_zoom(addresses),
    )
    _legend(axes)
    caption = "Records and their best candidates; 1 is equal. The larger a mark, the more of them it stands for."
    if left_out := len(compared) - len(complete):
        caption += f" Not drawn: {left_out:,} with a name or an address that is missing on one side."
    alt = (
        f"Scatter plot of {len(complete):,} pairs: similarity of names from {min(names):.2f}, of addresses from "
        f"{min(addresses):.2f}"
    )
    return Plot("pairs", alt, caption, figure)


def _place(row: Row) -> tuple[float, float]:
    names = (row["first_name_similarity"] + row["last_name_similarity"]) / 2
    return round(names, 2), round(row["address_similarity"], 2)


def _zoom(similarities: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis of similarities: from where the points begin to 1, with room for the marks at both ends."""
    least = max(min(similarities) - 0.02, 0.0) if min(similarities) < 0.98 else 0.9
    room = 0.04 * (1 - least)
    return least - room, 1 + room


def _waterfall(findings: Findings) -> Plot | None:
    """One decision, term by term: of the explained ones that whose score lies nearest to the upper cut-off."""
    model = findings.model
    told = [row for row in findings.rows if row["contributions"] and row["score"] is not None]
    if not told:
        return None
    goal = _log_odds(model.accept_at)
    questions = _of(told, Decision.REVIEW)
    row = min(questions or told, key=lambda row: (abs(_log_odds(row["score"]) - goal), row["record_key"]))
    terms = {name: value for name, value in contributions(row).items() if value or name in SIMILARITIES}
    ends = list(accumulate(terms.values()))
    starts = [end - value for end, value in zip(ends, terms.values(), strict=True)]
    figure, axes = _axes(f"Why {_LABEL_OF[Decision(row['decision'])]}: record {row['record_key'][:8]}")
    labels = [name.replace("_", " ") for name in terms]
    colours = [COLOURS["--new"] if value > 0 else COLOURS["--against"] for value in terms.values()]
    hatches = ["" if value > 0 else "///" for value in terms.values()]
    axes.barh(
        [*labels, "together"],
        [*terms.values(), ends[-1]],
        left=[*starts, 0.0],
        color=[*colours, COLOURS["--muted"]],
        hatch=[*hatches, ""],
        edgecolor=COLOURS["--card"],
        linewidth=0,
        height=0.66,
    )
    span = max(0.0, *ends, goal) - min(0.0, *ends, *starts)
    for place, (start, value) in enumerate([*zip(starts, terms.values(), strict=True), (0.0, ends[-1])]):
        right = max(start, start + value)
        beside = {"facecolor": COLOURS["--card"], "edgecolor": "none", "pad": 0.8}
        axes.text(right + span * 0.015, place, f"{value:+.1f}", va="center", fontsize=8.5, bbox=beside)
    axes.axvline(0, color=COLOURS["--muted"], linewidth=0.8)
    _draw_cut_offs(axes, [(goal, "duplicate")])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.1)
    axes.set_xlabel("← somebody else  ·  log-odds  ·  same person →")
    caption = (
        f"The evidence about record {row['record_key']} and {candidate(row)}: score {row['score']:.3f}, reason "
        f"{row['reason']}. Each term moves the sum to the right if it speaks for the same person, and to the left "
        "(hatched) if against. The intercept is how rarely two records are the same person at all."
    )
    values = ", ".join(f"{label} {value:+.1f}" for label, value in zip(labels, terms.values(), strict=True))
    return Plot("waterfall", f"Waterfall of one decision: {values}, together {ends[-1]:+.1f}", caption, figure)


def _canaries(findings: Findings) -> Plot | None:
    """How the canaries fared in the last runs; one run alone is no course."""
    runs = list(reversed(findings.shadows))
    if len(runs) < 2:
        return None
    figure, axes = _axes("Canaries over the last runs")
    for name, of, label, colour, marker, shift in (
        ("reinserted", "returning", "re-inserted", COLOURS["--new"], "o", -0.015),
        ("dropped", "strangers", "wrongly dropped", COLOURS["--against"], "^", 0.015),
    ):
        counts = [(getattr(run, name), getattr(run, of)) for run in runs]
        rates = [hits / max(total, 1) for hits, total in counts]
        bounds = [interval(*count) for count in counts]
        around: Any = [
            [100 * max(rate - low, 0) for rate, (low, _) in zip(rates, bounds, strict=True)],
            [100 * max(high - rate, 0) for rate, (_, high) in zip(rates, bounds, strict=True)],
        ]
        places = [place + shift * len(runs) for place in range(1 - len(runs), 1)]
        look: dict[str, Any] = {"color": colour, "marker": marker, "capsize": 3, "linewidth": 1.4, "clip_on": False}
        axes.errorbar(places, [100 * rate for rate in rates], yerr=around, label=label, **look)
    places = list(range(1 - len(runs), 1))
    axes.set_xticks(places, ["this run" if not place else str(place) for place in places])
    axes.set(xlabel="runs before this one", ylabel="%", ylim=(0, None))
    _legend(axes)
    last = runs[-1]
    alt = f"{len(runs)} runs; in this one {last.reinserted} of {last.returning} re-inserted"
    return Plot("canaries", alt, "Rates with their 95 % intervals: the longer a bar, the less is known.", figure)


def _review(findings: Findings) -> Plot | None:
    """How many records of the last batches somebody had to look at, and how often the model would have agreed."""
    batches = findings.review.batches
    if len(batches) < 2 or not any(batch.asked for batch in batches):
        return None
    figure, axes = _axes("Review over the last batches")
    places = list(range(1 - len(batches), 1))
    answered, waiting = (
        [100 * count / max(batch.received, 1) for count, batch in zip(counts, batches, strict=True)]
        for counts in ([batch.answered for batch in batches], [batch.open for batch in batches])
    )
    axes.bar(places, answered, color=COLOURS["--known"], label="answered", width=0.7)
    look: dict[str, Any] = {"color": COLOURS["--review"], "hatch": "///", "edgecolor": COLOURS["--card"]}
    axes.bar(places, waiting, bottom=answered, label="open", linewidth=0, width=0.7, **look)
    axes.set_xticks(places, ["this run" if not place else str(place) for place in places])
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="batches before this one", ylabel="in review, % of records", ylim=(0, None))
    beside = axes.twinx()
    rates = [100 * batch.agreed / batch.answered if batch.answered else math.nan for batch in batches]
    beside.plot(places, rates, color=COLOURS["--new"], marker="o", label="the model agrees")
    beside.set(ylabel="agreement, % of answers", ylim=(0, 105))
    beside.grid(visible=False)
    beside.spines["right"].set_visible(True)
    handles, labels = axes.get_legend_handles_labels()
    more_handles, more_labels = beside.get_legend_handles_labels()
    figure.legend([*handles, *more_handles], [*labels, *more_labels], loc="outside lower left", ncols=3)
    last = batches[-1]
    caption = (
        "How much of each batch somebody had to look at, and how often the answer was what the model would have said: "
        "the same person from a score of one half on, unless it is a relative by the household rule."
    )
    alt = f"{len(batches)} batches; in this one {last.asked} of {last.received} records in review"
    return Plot("review", alt, caption, figure)


def _calibration(findings: Findings) -> Plot | None:
    """Whether scores mean what they say, on the test pairs of the model."""
    bins = findings.results.get("calibration")
    if not bins:
        return None
    figure, axes = _axes("Calibration of the model")
    axes.plot((0, 1), (0, 1), color=COLOURS["--muted"], linewidth=1, linestyle=(0, (4, 3)), label="perfect")
    scores, rates, _ = zip(*bins, strict=True)
    axes.plot(scores, rates, marker="o", color=COLOURS["--new"], label="this model, test pairs")
    axes.set(xlabel="match score", ylabel="share that are matches", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    _legend(axes)
    worst = max(abs(score - rate) for score, rate in zip(scores, rates, strict=True))
    return Plot(
        "calibration",
        f"Calibration curve of {len(scores)} points, at most {worst:.2f} off the diagonal",
        "Test pairs, in groups of like scores. On the dashed line a score of 0.8 means that 80 % are matches.",
        figure,
    )


def _cut_offs(findings: Findings) -> Plot | None:
    """What a single cut-off would do on the test pairs."""
    chart = findings.results.get("thresholds")
    if not chart:
        return None
    figure, axes = _axes("What another cut-off would do")
    cut_offs, reinserted, dropped = zip(*chart, strict=True)
    axes.plot(cut_offs, [100 * rate for rate in reinserted], color=COLOURS["--new"], label="re-inserted")
    axes.plot(
        cut_offs, [100 * rate for rate in dropped], color=COLOURS["--against"], ls=(0, (6, 2)), label="wrongly dropped"
    )
    model = findings.model
    _draw_cut_offs(axes, [(model.review_at, "review"), (model.accept_at, "duplicate")])
    axes.set(xlabel="cut-off", ylabel="% of test records", xlim=(0, 1.06), ylim=(0, None))
    _legend(axes)
    return Plot(
        "cut-offs",
        f"Errors by cut-off; the model uses {model.review_at:.3g} and {model.accept_at:.3g}",
        "If one cut-off decided alone: further right more people are inserted again, further left more new people are "
        "lost. Between the two that are used, people judge.",
        figure,
    )
