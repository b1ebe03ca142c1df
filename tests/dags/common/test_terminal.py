"""Clerical review without a browser: in the terminal, and as a file for a spreadsheet."""

import csv
import io
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from common import people_db as database
from common import review, spreadsheet, upkeep
from common.people_db import Asked, QuestionKey
from common.settings import PROJECT_ROOT
from common.terminal import Session
from reviewing import JONES, RELATIVE, SISTER, SMITH, THIN, WOOD, execute, insert_by_hand, load, person_of, stored
from rich.console import Console

EVIL = ("evil", "=HYPERLINK(1)", *SMITH[2:])


@pytest.fixture
def asked(people_db: str) -> str:
    database.champion("a run")
    load("batch 1", SMITH, JONES, WOOD)
    load("batch 2", RELATIVE, THIN, source="new.csv")
    load("batch 3", SISTER, source="newer.csv")
    return people_db


def session(keys: str, asked: Asked | None = None) -> tuple[str, str]:
    """What a session says at its end, and what stood in the terminal."""
    said = io.StringIO()
    console = Console(file=said, width=100, highlight=False)
    done = Session("ann", asked or Asked(), console, key=iter(keys).__next__).run()
    return done, said.getvalue()


def judgements(dsn: str) -> list[tuple[Any, ...]]:
    return execute(dsn, "SELECT record_key, is_match, judged_by FROM judgements ORDER BY judgement_id")


def test_questions_are_answered_by_the_keys_of_the_page(asked: str) -> None:
    done, said = session("nsukx" + "sq")
    assert judgements(asked) == [("thin", False, "ann"), ("sister", True, "ann")]
    assert done == "2 answers given"
    assert "Robert" in said
    assert "Taken back." in said
    assert execute(asked, "SELECT count(*) FROM claims") == [(0,)]


def test_who_came_meanwhile_is_shown_and_chosen_by_number(asked: str) -> None:
    insert_by_hand(asked, ("twin", *SISTER[1:]))
    done, said = session("n" + "x" + "n1", Asked(batch_id="batch 3"))
    assert "Others came meanwhile who are as much alike" in said
    assert done == "1 answers given"
    assert execute(asked, "SELECT person_id FROM decisions WHERE record_key = 'sister'") == [
        (person_of(asked, "twin"),)
    ]


def test_who_came_meanwhile_may_be_another_one(asked: str) -> None:
    insert_by_hand(asked, ("twin", *SISTER[1:]))
    done, _ = session("nn", Asked(batch_id="batch 3"))
    assert done == "1 answers given"
    assert execute(asked, "SELECT decision FROM decisions WHERE record_key = 'sister'") == [("NEW",)]


def test_all_is_shown_and_the_end_is_told(asked: str) -> None:
    _, said = session("n", Asked(batch_id="batch 3"))
    for text in ("Wilma", "12 Main Street, Springfield", "from newer.csv", "Mostly that is a relative", "together: "):
        assert text in said
    assert f"person {person_of(asked, 'smith')}" in said
    assert said.rstrip().endswith("Nothing to review.")


def test_another_person_is_found_and_chosen(asked: str) -> None:
    session("f1q", Asked(reason="BORDERLINE"))
    assert execute(asked, "SELECT person_id FROM decisions WHERE record_key = 'thin'") == [(person_of(asked, "jones"),)]
    session("f9q")
    assert len(judgements(asked)) == 1


def test_names_cannot_command_the_terminal(asked: str) -> None:
    load("batch 4", ("evil", "\x1b[2J\x07Eve", "Smith", "12 Main Street, Springfield"))
    _, said = session("q", Asked(batch_id="batch 4"))
    assert "\x1b[2J" not in said
    assert "\x07" not in said


def test_a_question_that_is_gone_leaves_the_session_alive(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: Iterator[str] = iter("nq")

    def key() -> str:
        pressed = next(keys)
        if pressed == "n":
            database.undo_batch("batch 2")
        return pressed

    said = io.StringIO()
    Session("ann", Asked(batch_id="batch 2"), Console(file=said), key=key).run()
    assert "its batch was taken back: nothing was stored" in said.getvalue()


def test_a_real_terminal(asked: str) -> None:
    """The command itself, with a terminal of its own: keys work without Enter."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "common.upkeep", "review", "--batch", "batch 3"]
    env = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "dags"), "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        said = b""
        # Linux says that the other side of a terminal is closed by an error.
        with suppress(OSError):
            while True:
                if select.select([ours], [], [], 1)[0]:
                    said += os.read(ours, 4096)
                elif b"quit" in said:  # what is pressed before it waits for a key is lost, so it is pressed again
                    os.write(ours, b"n")
        assert process.wait(60) == 0
    os.close(ours)
    assert b"Wilma" in said
    assert [(key, match) for key, match, _ in judgements(asked)] == [("sister", False)]


# A file ----------------------------------------------------------------------------------------------------------


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill_in(path: Path, verdict_of: dict[str, str], delimiter: str = ",") -> None:
    """Save the file as a spreadsheet does."""
    filled = [row | {"verdict": verdict_of.get(row["question"].split("/")[1], "")} for row in rows(path)]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(filled[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(filled)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_verdicts_come_back_from_a_spreadsheet(asked: str, tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "review.csv"
    assert spreadsheet.export(file, Asked()) == 3
    assert file.stat().st_mode & 0o077 == 0
    wood = person_of(asked, "wood")
    fill_in(file, {"relative": " New ", "thin": "SAME", "sister": str(wood)}, delimiter)
    said = spreadsheet.judge(list(spreadsheet.verdicts(file)), "ann")
    assert said == "3 answers stored, 0 were there already, 0 others stay as they are"
    decided = dict(execute(asked, "SELECT record_key, person_id FROM decisions WHERE reason = 'JUDGED'"))
    assert decided == {
        "relative": person_of(asked, "relative"),
        "thin": person_of(asked, "jones"),
        "sister": wood,
    }
    before = stored(asked)
    again = spreadsheet.judge(list(spreadsheet.verdicts(file)), "ann")
    assert again == "0 answers stored, 3 were there already, 0 others stay as they are"
    assert stored(asked) == before


def test_formulas_do_not_run(asked: str, tmp_path: Path) -> None:
    load("batch 4", EVIL, source="@SUM(1)")
    file = tmp_path / "review.csv"
    spreadsheet.export(file, Asked(batch_id="batch 4"))
    (row,) = rows(file)
    assert (row["first_name"], row["source"]) == ("'=HYPERLINK(1)", "'@SUM(1)")
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_what_somebody_else_has_answered_stays(asked: str, tmp_path: Path) -> None:
    file = tmp_path / "review.csv"
    spreadsheet.export(file, Asked())
    review.answer(database.Reviewer("ben", "screen"), QuestionKey("batch 2", "relative"), None)
    fill_in(file, {"relative": "same", "thin": "same"})
    said = spreadsheet.judge(list(spreadsheet.verdicts(file)), "ann")
    assert "1 answers stored" in said
    assert "was answered otherwise by ben" in said
    assert judgements(asked) == [("relative", False, "ben"), ("thin", True, "ann")]


@pytest.mark.parametrize(
    ("verdict_of", "reason"),
    [
        ({"relative": "new", "thin": "perhaps"}, "the verdict must be same, new, new anyway or the id of a person"),
        ({"relative": "new", "thin": "999"}, "there is no person 999; nothing was stored"),
    ],
)
def test_of_a_file_with_a_mistake_nothing_is_stored(
    asked: str, tmp_path: Path, verdict_of: dict[str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "review.csv"
    spreadsheet.export(file, Asked())
    fill_in(file, verdict_of)
    before = stored(asked)
    assert upkeep.main(["judge", "--file", str(file)]) == 1
    said = capsys.readouterr().err
    assert reason in said
    assert "line " in said
    assert said.count("\n") == 1
    assert stored(asked) == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "lacks column question, verdict, person"),
        (b"question,verdict\na/b,new\n", "lacks column person"),
        (b"question,verdict,person\nnonsense,new,\n", "line 2: column question holds no question"),
        ("question,verdict,person\nä,new,\n".encode("latin-1"), "is no UTF-8 text"),
    ],
)
def test_a_file_that_is_none_is_one_clear_line(
    people_db: str, tmp_path: Path, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "review.csv"
    file.write_bytes(content)
    assert upkeep.main(["judge", "--file", str(file)]) == 1
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_a_line_of_a_file_stays_open_where_somebody_came_meanwhile(asked: str, tmp_path: Path) -> None:
    file = tmp_path / "review.csv"
    spreadsheet.export(file, Asked())
    insert_by_hand(asked, ("twin", *SISTER[1:]))
    twin = person_of(asked, "twin")
    fill_in(file, {"relative": "new", "sister": "new"})
    said = spreadsheet.judge(list(spreadsheet.verdicts(file)), "ann").splitlines()
    assert said[0] == "1 answers stored, 0 were there already, 0 others stay as they are"
    assert f"others came who are as much alike: person {twin} (0.9" in said[1]
    assert said[2] == "these are open: write the id of the person, or new anyway, and give the file again"
    assert judgements(asked) == [("relative", False, "ann")]
    fill_in(file, {"relative": "new", "sister": "New  anyway"})
    said = spreadsheet.judge(list(spreadsheet.verdicts(file)), "ann").splitlines()
    assert said == ["1 answers stored, 1 were there already, 0 others stay as they are"]


def test_two_lines_of_a_file_about_one_new_person_insert_one(asked: str, tmp_path: Path) -> None:
    load("batch 4", ("again", *SISTER[1:]), source="newest.csv")
    execute(asked, "UPDATE spellings SET question_id = 99 WHERE record_key = 'again'")
    file = tmp_path / "review.csv"
    spreadsheet.export(file, Asked())
    fill_in(file, {"again": "new anyway", "sister": "new"})
    said = spreadsheet.judge(list(spreadsheet.verdicts(file)), "ann").splitlines()
    assert said[0].startswith("1 answers stored")
    assert "line 4: others came who are as much alike: question 99 (0.9" in said[1]
    fill_in(file, {"again": "new anyway", "sister": "new"})
    said = spreadsheet.judge(list(spreadsheet.verdicts(file)), "ann").splitlines()
    assert said[0].startswith("0 answers stored, 1 were there already")
    assert f"line 4: others came who are as much alike: person {person_of(asked, 'again')} (0.9" in said[1]


# Commands --------------------------------------------------------------------------------------------------------


def test_a_decision_is_turned_round_to_new_only_if_nobody_came_meanwhile(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    insert_by_hand(asked, ("twin", *RELATIVE[1:]))
    assert upkeep.main(["judge", "batch 2", "relative", "new"]) == 1
    assert "nothing is stored, others came who are as much alike: person 4 (0." in capsys.readouterr().err
    assert upkeep.main(["judge", "batch 2", "relative", "new", "--anyway"]) == 0
    assert upkeep.main(["judge", "batch 2", "relative", "new"]) == 0, "it is new already"


def test_of_a_key_its_beginning_will_do(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert upkeep.main(["judge", "batch 2", "rel", "new"]) == 0
    assert judgements(asked)[0][:2] == ("relative", False)
    assert upkeep.main(["judge", "batch", "s", "new"]) == 1
    assert "more than one decision begins with batch and s: give more of the keys" in capsys.readouterr().err
    assert upkeep.main(["undo", "batch"]) == 1
    assert "more than one batch begins with batch: give more of it" in capsys.readouterr().err
    assert upkeep.main(["undo", "batch 3"]) == 0


def test_somebody_is_looked_up(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert upkeep.main(["find", "Rob", "Jones", "7 Oak Ave"]) == 0
    said = capsys.readouterr().out
    assert f"person {person_of(asked, 'jones')}: Robert Jones 7 Oak Avenue, Dover" in said
    assert upkeep.main(["find", "Zacharias", "Quux"]) == 0
    assert capsys.readouterr().out == "nobody comes near\n"


def test_review_needs_a_terminal(people_db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert upkeep.main(["review"]) == 1
    assert "export-review" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["judge"], ["judge", "--file", "f", "b"], ["judge", "b", "r", "duplicate"]])
def test_a_command_that_is_not_whole_says_how(args: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        upkeep.main(args)


def test_a_command_starts_without_airflow() -> None:
    """Airflow takes seconds to import, and so do the libraries of the search."""
    command = "import sys; from common import upkeep; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "dags")}
    modules = subprocess.run([sys.executable, "-c", command], env=env, capture_output=True, text=True, check=True)
    assert {"airflow", "numba", "duckdb", "pandas", "sklearn", "matplotlib"}.isdisjoint(modules.stdout.split())
