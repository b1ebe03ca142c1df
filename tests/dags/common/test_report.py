"""The report: numbers that the rows bear out, nobody recognisable, one self-contained page."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from common.errors import ReportError
from common.linkage.canary import Canaries
from common.linkage.model import STARTING_MODEL
from common.linkage.validation import QuarantineReason
from common.linkage.verdict import Decision, Reason
from common.mail import Mail
from common.people_db import STORED_DECISIONS
from common.report import plots, words
from common.report.findings import Findings
from common.report.paths import report_paths
from common.report.write import write_report
from common.run_report import NO_REVIEW, Disputed, LoadedBatch, ReviewedBatch, ReviewWork, RunReport

NUMBERS: dict[str, Any] = {"batch_id": "b", "run_id": "run 1", "source": "incoming/<i>new.csv", "model_version": "m"}
CERTIFICATE = "certificate: 5 records x 7 people compared exhaustively, 3 pairs reach the threshold, 0 missed"
CANARIES = [Canaries(returning=100, reinserted=2, strangers=100, dropped=0), Canaries(50, 1, 50, 0)]
TERMS = {"intercept": -9.0, "first_name": 2.5, "last_name": 4.0, "address": 8.5, "swapped": 0.0}
RESULTS = {
    "calibration": [(0.05, 0.04, 10.0), (0.95, 0.97, 30.0)],
    "thresholds": [(0.1, 0.0, 0.2), (0.9, 0.1, 0.0)],
}


def decision(number: int, kind: str, reason: str, **fields: Any) -> dict[str, Any]:
    row = dict.fromkeys(STORED_DECISIONS.names) | {
        "record_key": f"key{number}",
        "source_key": f"source{number}",
        "first_name": "<script>Xanthippe",
        "last_name": "Quizzlebeck",
        "address": "12 Wobbleton Street",
        "decision": kind,
        "reason": reason,
        "person_id": number,
    }
    if kind != "NEW":
        row |= {"score": 0.91, "first_name_similarity": 0.9, "last_name_similarity": 1.0, "swapped": number % 2 == 0}
    return row | fields


ROWS = [
    *(decision(n, "DUPLICATE", "MATCH", address_similarity=0.75) for n in range(5)),
    decision(5, "DUPLICATE", "WITHIN_BATCH", matched_record_key="0123456789abcdef"),
    decision(6, "DUPLICATE", "KNOWN_RECORD", score=None),
    decision(7, "REVIEW", "BORDERLINE", contributions=json.dumps(TERMS)),
    decision(8, "NEW", "NO_CANDIDATE"),
    decision(9, "NEW", "NO_CANDIDATE", first_name=None, last_name=None, address=None),
]


@pytest.fixture(autouse=True)
def reports_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("common.settings.REPORTS_DIR", str(tmp_path / "reports"))
    return tmp_path / "reports"


def found(rows: Sequence[dict[str, Any]] = ROWS, quarantine: dict[str, int] | None = None, **changes: Any) -> Findings:
    """Findings about a batch of these rows."""
    count = {kind: sum(row["decision"] == kind for row in rows) for kind in Decision}
    quarantined = sum((quarantine or {}).values())
    numbers = RunReport(
        **NUMBERS,
        received=len(rows) + quarantined,
        quarantined=quarantined,
        duplicates=count[Decision.DUPLICATE],
        review=count[Decision.REVIEW],
        inserted=count[Decision.NEW],
    )
    given: dict[str, Any] = {
        "run_id": "run 1",
        "numbers": numbers,
        "batch": LoadedBatch(datetime(2026, 11, 24, 9, 5, tzinfo=UTC), 1_000, 1_000 + numbers.inserted),
        "decisions": pa.Table.from_pylist(list(rows), schema=STORED_DECISIONS),
        "quarantine": quarantine or {},
        "model": STARTING_MODEL,
        "results": {},
        "certificate": CERTIFICATE,
        "canaries": CANARIES,
    }
    return Findings(**{**given, **changes})


def written(findings: Findings) -> tuple[str, str, Mail]:
    paths = write_report(findings)
    return paths.text.read_text(), paths.html.read_text(), Mail.from_dict(json.loads(paths.mail.read_text()))


def of_a_sweep(rows: Sequence[dict[str, Any]], **changes: Any) -> Findings:
    normal = found(rows)
    return found(rows, numbers=replace(normal.numbers, source="people"), canaries=[Canaries(0, 0, 0, 0)], **changes)


# Findings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"duplicates": 6, "inserted": 3}, {"quarantined": 2, "review": 0, "duplicates": 8}])
def test_numbers_that_the_rows_do_not_bear_out_are_no_report(wrong: dict[str, int], reports_dir: Path) -> None:
    numbers = replace(found(quarantine={"NO_NAME": 2}).numbers, **wrong)
    with pytest.raises(ReportError, match="stored are"):
        found(quarantine={"NO_NAME": 2}, numbers=numbers)
    assert not reports_dir.exists()


def test_every_reason_is_explained() -> None:
    assert {*Reason, "JUDGED"} == set(words.REASONS)
    assert set(QuarantineReason) == set(words.QUARANTINE)
    assert all(meaning.endswith(".") for meaning in [*words.REASONS.values(), *words.QUARANTINE.values()])


@pytest.mark.parametrize(
    ("findings", "headline"),
    [
        (found(), "2 new people, 7 known, 1 needs you"),
        (found(ROWS[:1]), "0 new people, 1 known"),
        (found([ROWS[8], *ROWS[7:8], decision(3, "REVIEW", "HOUSEHOLD")]), "1 new person, 0 known, 2 need you"),
        (found([], {"NO_NAME": 3}), "0 new people, 0 known, 3 in quarantine"),
        (found([]), "An empty batch: nothing to do"),
        (found(run_id="run 2"), "Loaded before: 2 new people, 7 known, 1 needs you"),
        (of_a_sweep(ROWS[:8]), "7 marked as duplicates, 1 needs you"),
        (of_a_sweep([]), "No duplicates in the table"),
    ],
)
def test_the_headline_says_what_happened(findings: Findings, headline: str) -> None:
    assert findings.headline == headline


def test_every_record_in_review_comes_with_the_commands_that_judge_it() -> None:
    rows = [
        decision(1, "REVIEW", "BORDERLINE", score=0.5),
        decision(2, "REVIEW", "THIN_MARGIN", score=0.9, runner_up_person_id=77, runner_up_score=0.89),
        decision(3, "REVIEW", "HOUSEHOLD", person_id=None),
    ]
    third, second, first = found(rows).questions
    assert [question.key for question in (first, second, third)] == ["key1", "key2", "key3"]
    assert first.commands == [
        ("the same person", "dev/upkeep judge b key1 duplicate 1"),
        ("somebody new", "dev/upkeep judge b key1 new"),
    ]
    assert second.runner_up == "person 77, score 0.890"
    assert third.candidate == "a person who is gone"
    assert third.commands == [("somebody new", "dev/upkeep judge b key3 new")]
    asked = of_a_sweep(rows).questions[0]
    assert asked.commands == [("two people", "dev/upkeep judge b key3 new")]
    assert asked.key == "source3", "whose row of the table it is"


REVIEW = ReviewWork(
    open=3,
    median_age=timedelta(days=2, hours=3),
    batches=[ReviewedBatch("a", 100, 0, 20, 15), ReviewedBatch("b", 50, 3, 0, 0), ReviewedBatch("c", 10, 0, 0, 0)],
    disputed=[Disputed("Xanthippe", "Quizzlebeck", "12 Wobbleton Street", "ann", "ben")],
)


def test_how_review_stands_is_told() -> None:
    findings = found(review=REVIEW)
    told = [
        "3 questions are open, half of them for 2 days or longer.",
        "20 records were answered, of 3 batches; 75% as the model would have said.",
        "People disagree about 1 pair, from which no model learns.",
    ]
    assert findings.review_told == told
    text, page, mail = written(findings)
    for line in told:
        assert line in page
        assert line in mail.facts["review"]
    assert "review: 3 questions are open" in text
    dispute = "X********, Q**********, ** W******** S*****: ann says the same person, ben somebody else"
    assert findings.disputes == [dispute]
    assert dispute in page
    assert dispute in " ".join(text.split())
    (plot,) = [plot for plot in plots.all_plots(findings) if plot.name == "review"]
    assert plot.alt == "3 batches; in this one 0 of 10 records in review"
    assert 'id="review"' in page


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (NO_REVIEW, []),
        (replace(NO_REVIEW, open=1, median_age=timedelta(minutes=5)), ["1 question is open."]),
        (replace(NO_REVIEW, open=2, median_age=timedelta(hours=5)), ["2 questions are open, half of them for 5 hours"]),
        (replace(REVIEW, open=0, median_age=None, disputed=()), ["No question is open.", "20 records were answered"]),
    ],
)
def test_no_more_is_told_of_review_than_there_is(work: ReviewWork, told: list[str]) -> None:
    findings = found(review=work)
    assert len(findings.review_told) == len(told)
    assert all(line.startswith(start) for line, start in zip(findings.review_told, told, strict=True))
    assert ('id="review"' in written(findings)[1]) == bool(told)


def test_canaries_of_a_small_table_do_not_warn() -> None:
    assert not found(canaries=[Canaries(3, 0, 3, 2)]).warnings
    assert not found(canaries=[Canaries(99, 0, 99, 66)]).warnings
    (warning,) = found(canaries=[Canaries(300, 0, 300, 200)]).warnings
    assert warning.startswith("The canaries are past their limits of 10% re-inserted and 2% wrongly dropped")


def test_a_run_without_canaries_has_none_of_other_runs() -> None:
    assert found(canaries=[Canaries(0, 0, 0, 0), *CANARIES]).shadows == []
    assert found(canaries=[CANARIES[0], Canaries(0, 0, 0, 0), CANARIES[1]]).shadows == CANARIES


# Text ------------------------------------------------------------------------------------------------------------


def test_the_text_tells_numbers_reasons_and_masked_examples() -> None:
    text, _, _ = written(found(quarantine={"NO_NAME": 1, "NUL_BYTE": 2}))
    lines, flat = text.splitlines(), " ".join(text.split())
    assert lines[:2] == [
        "2 new people, 7 known, 1 needs you, 3 in quarantine",
        "received=13 quarantined=3 duplicates=7 review=1 inserted=2",
    ]
    assert f"{5:>9}  DUPLICATE, MATCH" in lines
    assert f"{2:>9}  quarantined, NUL_BYTE" in lines
    assert "The table had 1,000 people before and has 1,002 now." in flat
    assert flat.count("example: ") == 5, "one for each reason of a decision"
    for part in ("address missing", "score 0.910", "names swapped", "record 01234567 of this batch (person 5)"):
        assert part in flat
    assert "log-odds: intercept -9.0, address +8.5, last name +4.0, first name +2.5)" in flat
    assert "key7 ~ person 7, score 0.910, BORDERLINE" in flat
    assert "  dev/upkeep judge b RECORD duplicate PERSON" in lines
    assert CERTIFICATE in flat
    assert "canaries: re-inserted 2.0% (0.6% to 7.0%) of 100 returning" in flat


def test_no_line_is_wider_than_a_terminal() -> None:
    long = [decision(n, "REVIEW", "HOUSEHOLD", address=" ".join(["Wobbleton"] * 40)) for n in range(30)]
    text, _, _ = written(found(long, undelivered=["[dedupe_people] load failed: " + "too big " * 40]))
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("report: "))
    assert "- and 20 more, see the report" in text


# Page ------------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.found if name in attributes]


EVERYTHING = {"results": RESULTS, "undelivered": ["[dedupe_people] <b>load failed"], "quarantine": {"NO_NAME": 1}}


@pytest.mark.parametrize(("share", "kept"), [(0.1, "kept"), (0.1001, "MISSED")])
def test_a_missed_limit_of_review_is_told(share: float, kept: str) -> None:
    text, page, _ = written(found(results=RESULTS | {"test_borderline": share}))
    told = f"put 10.0% of new people to review, relatives left out; at most 10% is allowed (MAX_REVIEWED): {kept}."
    assert told in " ".join(text.split())
    assert told in page


def test_of_a_model_that_was_not_trained_here_no_limit_is_told() -> None:
    assert not any("MAX_REVIEWED" in told for told in written(found())[:2])


def test_nobody_is_recognisable_and_nothing_runs() -> None:
    text, page, mail = written(found(**EVERYTHING))
    for part in ("anthippe", "uizzlebeck", "obbleton", "12 W", "source1", "<script", "<i>new", "<b>load"):
        assert part not in page
        assert part not in mail.html()
        assert part not in text or part in ("<i>new", "<b>load"), "text shows what HTML would run"


def test_the_page_needs_nothing_else_and_has_no_id_twice() -> None:
    elements = Elements(written(found(**EVERYTHING))[1])
    assert not {tag for tag, _ in elements.found} & {"script", "link", "iframe", "object", "img"}
    links = [*elements.values("src"), *elements.values("href"), *elements.values("xlink:href")]
    ids = elements.values("id")
    assert all(link and link.startswith("#") and link[1:] in ids for link in links)
    assert len(ids) == len(set(ids)) > 20
    page = written(found(**EVERYTHING))[1]
    assert not re.search(r"https?://|@import", page)
    assert all(target in ids for target in re.findall(r"url\(#([^)]*)\)", page))
    assert page.count("url(") == page.count("url(#")


def test_every_plot_says_in_words_what_it_shows() -> None:
    elements = Elements(written(found(**EVERYTHING))[1])
    said = [attributes["aria-label"] for _, attributes in elements.found if attributes.get("role") == "img"]
    assert len(said) == sum(tag == "figure" for tag, _ in elements.found) == 6
    assert all(text and len(text) > 20 for text in said)


def test_the_plots_take_their_colours_from_the_page() -> None:
    """Else they would be black on black where the page is dark."""
    page = written(found(**EVERYTHING))[1]
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert not re.findall(r"#[0-9a-fA-F]{6}", drawn)
    assert set(re.findall(r"var\((--\w+)\)", drawn)) <= set(plots.COLOURS) == set(plots.DARK)


def test_the_page_lists_every_record_in_review_with_its_commands() -> None:
    rows = [decision(n, "REVIEW", "BORDERLINE", record_key=f"{n:032x}") for n in range(40)]
    _, page, _ = written(found(rows))
    for row in rows:
        assert f"<code>dev/upkeep judge b {row['record_key']} duplicate {row['person_id']}</code>" in page
        assert f"<code>dev/upkeep judge b {row['record_key']} new</code>" in page
    assert "Show the other 35" in page


def test_records_that_a_plot_leaves_out_are_counted() -> None:
    drawn = {plot.name: plot.caption for plot in plots.all_plots(found())}
    assert "7 records that resemble somebody" in drawn["scores"]
    assert "Not drawn: 3 without any candidate" in drawn["scores"]
    assert "Not drawn: 2 with a name" in drawn["pairs"]
    assert "record key7 and person 7: score 0.910, reason BORDERLINE" in drawn["waterfall"]


def test_only_one_decision_is_drawn_however_many_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing each took 324 s and 1.5 GB for 5,778 decisions, and one was kept."""
    made: list[str] = []
    axes = plots._axes

    def counted(title: str) -> Any:
        made.append(title)
        return axes(title)

    monkeypatch.setattr(plots, "_axes", counted)
    rows = [decision(n, "DUPLICATE", "MATCH", contributions=json.dumps(TERMS)) for n in range(500)]
    assert len(plots.all_plots(found(rows, results=RESULTS))) == len(made) <= 6


def test_the_same_numbers_make_the_same_bytes() -> None:
    assert written(found(**EVERYTHING)) == written(found(**EVERYTHING))


@pytest.mark.parametrize("findings", [found([]), of_a_sweep([]), of_a_sweep(ROWS[:8]), found(ROWS[9:], canaries=[])])
def test_a_batch_of_any_kind_has_a_report(findings: Findings) -> None:
    text, page, mail = written(findings)
    assert findings.headline in text
    assert f"<h1>{findings.headline}</h1>" in page
    assert mail.headline == findings.headline


def test_input_that_was_loaded_before_is_called_so() -> None:
    text, page, mail = written(found(run_id="run 2"))
    for said in (" ".join(text.split()), page, mail.text()):
        assert "This input was loaded before, by run run 1: nothing was changed." in said


def test_mails_that_reached_nobody_are_named() -> None:
    line = "[dedupe_people] load failed: run 1: given up, tries: 5, last error: SMTPDataError: (552, too big)"
    text, page, mail = written(found(undelivered=[line]))
    assert line in " ".join(text.split())
    assert line in page
    assert mail.warnings == ["1 mail could not be delivered; see the end of the report."]
    assert mail.subject.startswith("Warning: 2 new people")


# In a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_screen_and_can_be_read(browser: Any, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    path = write_report(found(**EVERYTHING)).html
    page.goto(path.as_uri())
    assert requests == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('svg text')).fill].map(c => c.match(/[0-9.]+/g).map(Number))"
    )
    assert abs(sum(background[:3]) - sum(ink[:3])) > 240, "text of the plots stands out against the page"
    page.close()


@pytest.mark.parametrize("width", [360, 900])
def test_the_mail_fits_the_screen(browser: Any, width: int) -> None:
    _, _, mail = written(found(quarantine={"NO_NAME": 1}, canaries=[Canaries(300, 0, 300, 200)]))
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.set_content(replace(mail, link=("Open the report", "http://127.0.0.1:8080/" + "x" * 200)).html())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


# Paths -----------------------------------------------------------------------------------------------------------


def test_any_run_id_is_a_file_name_of_its_own(reports_dir: Path) -> None:
    run_ids = ["manual__2026-11-22T13:48:33+00:00", "../../etc/passwd", "a/b\\c", "<b>", "a:b", "a+b", "a~b", "a_b"]
    run_ids += ["x" * 250, "x" * 249 + "y", "敏" * 250]
    reports_dir.mkdir()
    for path in (path for run_id in run_ids for path in vars(report_paths(run_id)).values()):
        assert path.parent == reports_dir
        with path.with_suffix(path.suffix + ".tmp").open("x"):
            pass


def test_the_report_of_a_long_run_id_is_written() -> None:
    written(found(run_id="r" * 250))
