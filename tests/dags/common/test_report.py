"""The report: numbers that add up, nobody recognisable, one self-contained page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from common.errors import ReportError
from common.linkage.canary import Canaries
from common.linkage.model import STARTING_MODEL
from common.people_db import STORED_DECISIONS
from common.report import EXAMPLES_PER_REASON, report_paths, write_report
from common.run_report import RunReport

NUMBERS: dict[str, Any] = {"batch_id": "b", "run_id": "run 1", "source": "incoming/<i>new.csv", "model_version": "m"}
CERTIFICATE = "certificate: 5 records x 7 people compared exhaustively, 3 pairs reach the threshold, 0 missed"
CANARIES = [Canaries(returning=100, reinserted=2, strangers=100, dropped=0), Canaries(50, 1, 50, 0)]


def report(duplicates: int, review: int, inserted: int, quarantined: int) -> RunReport:
    received = duplicates + review + inserted + quarantined
    return RunReport(
        **NUMBERS,
        received=received,
        quarantined=quarantined,
        duplicates=duplicates,
        review=review,
        inserted=inserted,
    )


def decision(number: int, kind: str, reason: str, **fields: Any) -> dict[str, Any]:
    row = dict.fromkeys(STORED_DECISIONS.names) | {
        "record_key": f"key{number}",
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
    decision(7, "REVIEW", "BORDERLINE"),
    decision(8, "NEW", "NO_CANDIDATE"),
    decision(9, "NEW", "NO_CANDIDATE", first_name=None, last_name=None, address=None),
]


@pytest.fixture(autouse=True)
def reports_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("common.report.REPORTS_DIR", tmp_path / "reports")
    return tmp_path / "reports"


def write(
    numbers: RunReport,
    rows: list[dict[str, Any]],
    quarantine: dict[str, int],
    run_id: str = "run 1",
    results: dict[str, Any] | None = None,
) -> tuple[str, str]:
    decisions = pa.Table.from_pylist(rows, schema=STORED_DECISIONS)
    paths = write_report(run_id, numbers, decisions, quarantine, STARTING_MODEL, results or {}, CERTIFICATE, CANARIES)
    return paths.text.read_text(), paths.html.read_text()


@pytest.mark.parametrize(
    ("numbers", "quarantine"),
    [
        (report(6, 1, 3, 2), {"NO_NAME": 2}),
        (report(7, 1, 2, 2), {"NO_NAME": 1}),
        (report(8, 0, 2, 2), {"NO_NAME": 2}),
    ],
)
def test_numbers_that_the_rows_do_not_bear_out_are_no_report(
    numbers: RunReport, quarantine: dict[str, int], reports_dir: Path
) -> None:
    with pytest.raises(ReportError, match="stored are"):
        write(numbers, ROWS, quarantine)
    assert not reports_dir.exists()


def test_a_report_tells_numbers_reasons_and_masked_examples() -> None:
    text, page = write(report(7, 1, 2, 3), ROWS, {"NO_NAME": 1, "NUL_BYTE": 2})
    lines = text.splitlines()
    assert lines[0] == "received=13 quarantined=3 duplicates=7 review=1 inserted=2"
    assert f"{5:>9}  DUPLICATE, MATCH" in lines
    assert f"{2:>9}  quarantined, NUL_BYTE" in lines
    examples = [line for line in lines if line.startswith("example: ")]
    assert len(examples) == EXAMPLES_PER_REASON * 2 + 3
    assert any("address missing" in line and "score 0.910" in line for line in examples)
    assert any("names swapped" in line for line in examples)
    assert any("record 01234567 of this batch (person 5)" in line for line in examples)
    for number in (13, 3, 7, 1, 2):
        assert f'<td class="number">{number}</td>' in page
    assert page.count("<img ") == 4


def test_nobody_is_recognisable_and_nothing_runs() -> None:
    text, page = write(report(7, 1, 2, 0), ROWS, {})
    for part in ("anthippe", "uizzlebeck", "obbleton", "<script", "<i>new"):
        assert part not in page
    assert "anthippe" not in text


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "iframe", "object"}
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_needs_nothing_else() -> None:
    _, page = write(report(7, 1, 2, 0), ROWS, {})
    links = Links()
    links.feed(page)
    assert len(links.found) == 4
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    assert not re.search(r"https?://|url\(|@import", page)


def test_the_same_numbers_make_the_same_bytes() -> None:
    assert write(report(7, 1, 2, 0), ROWS, {}) == write(report(7, 1, 2, 0), ROWS, {})


def test_an_empty_batch_has_a_report_too() -> None:
    text, _ = write(report(0, 0, 0, 0), [], {})
    assert text.startswith("received=0 ")


def test_input_that_was_loaded_before_is_called_so() -> None:
    text, page = write(report(7, 1, 2, 0), ROWS, {}, run_id="run 2")
    for output in (text, page):
        assert "this input was loaded before, by run run 1: nothing was changed" in output


def test_any_run_id_is_a_file_name(reports_dir: Path) -> None:
    for run_id in ("manual__2026-11-22T13:48:33+00:00", "../../etc/passwd", "a/b\\c", "<b>"):
        assert report_paths(run_id).html.parent == reports_dir


def test_the_report_certifies_the_search_and_counts_the_canaries() -> None:
    for content in write(report(7, 1, 2, 0), ROWS, {}):
        assert CERTIFICATE in content
        assert "canaries: re-inserted 2.0% (0.6% to 7.0%) of 100 returning" in content


def test_canaries_past_their_limit_stand_first(monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = write(report(7, 1, 2, 0), ROWS, {})
    assert text.startswith("received=")
    monkeypatch.setattr("common.report.CANARY_LIMITS", {"max_reinserted": 0.005, "max_dropped": 1.0})
    text, _ = write(report(7, 1, 2, 0), ROWS, {})
    assert text.startswith("canaries past their limit: received=")


def test_a_decision_is_explained_by_its_terms() -> None:
    terms = {"intercept": -9.0, "first_name": 2.5, "last_name": 4.0, "address": 8.5, "swapped": 0.0}
    rows = [decision(0, "DUPLICATE", "MATCH", address_similarity=0.9, contributions=json.dumps(terms))]
    text, page = write(report(1, 0, 0, 0), rows, {})
    assert "log-odds: intercept -9.0, address +8.5, last name +4.0, first name +2.5)" in text
    assert page.count("<img ") == 5


def test_a_trained_model_is_shown_with_its_calibration_and_cut_offs() -> None:
    results = {
        "calibration": [(0.05, 0.04, 10.0), (0.95, 0.97, 30.0)],
        "thresholds": [(0.1, 0.0, 0.2), (0.9, 0.1, 0.0)],
    }
    _, page = write(report(7, 1, 2, 0), ROWS, {}, results=results)
    assert page.count("<img ") == 6
