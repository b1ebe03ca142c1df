"""Clerical review as people do it: in a real browser inside Airflow's UI, against a running Airflow and Postgres."""

import csv
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from string import ascii_lowercase
from typing import Any

import pytest
from launch import DAG
from live import Live
from playwright.sync_api import Browser, FrameLocator, expect
from postgres import Server
from visitor import CHROMIUM, Visitor, browsing

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

USERS = {"admin": "admin", "operator": "op", "reviewer": "user", "second": "user", "viewer": "viewer"}
QUESTIONS = 36
UGLY = ("<b>Ann</b>", "<script>document.title='gone'</script>", "1 & 2 Main St")
PAGE = "/dedupe-people/review/"
OWN = {"Content-Type": "application/json", "X-Dedupe-People": "1", "Sec-Fetch-Site": "same-origin"}
SCREEN = {"screen": "0123456789abcdef"}
KEY = {"of_batch": "none", "record_key": "none"}
PATIENCE = 300  # seconds, for a run on a busy machine

Record = tuple[str, str, str]


def some_people() -> tuple[list[Record], list[Record]]:
    """People who are nothing like each other, and a relative of each: the same name and address, another first name."""
    random = Random(1)  # noqa: S311 - no secret

    def word(length: int) -> str:
        return "".join(random.choices(ascii_lowercase, k=length)).capitalize()

    people = [(word(6), word(9), f"{random.randrange(1, 9999)} {word(9)} Street") for _ in range(QUESTIONS - 1)]
    people.append(UGLY)
    return people, [(word(8), last_name, address) for _, last_name, address in people]


def write(path: Path, records: list[Record]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("first_name", "last_name", "address"), *records])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> Iterator[Live]:
    """Airflow after two runs: one has brought people, the other as many questions about records that came after."""
    live = Live(tmp_path_factory.mktemp("review") / "home", postgres, users=USERS)
    live.edit("dedupe_people.py", ('schedule="@daily"', "schedule=None"))
    people, relatives = some_people()
    write(live.incoming / "people.csv", people)
    write(live.incoming / "relatives.csv", relatives)
    with live.running():
        for name in ("people", "relatives"):
            live.wait_for(live.trigger(name, source=str(live.incoming / f"{name}.csv")), seconds=PATIENCE)
        assert live.people("SELECT count(*) FROM open_questions") == [(QUESTIONS,)]
        yield live


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def reviewer(browser: Browser, live: Live) -> Visitor:
    return Visitor(browser, live, "reviewer")


@pytest.fixture(scope="module")
def second(browser: Browser, live: Live) -> Visitor:
    return Visitor(browser, live, "second")


def at_questions(visitor: Visitor, path: str = "/plugin/review") -> FrameLocator:
    """Review in Airflow's UI, with a question on the screen; what went wrong before is forgotten."""
    visitor.wrong.clear()
    visitor.page.goto(path)
    frame = visitor.page.frame_locator("iframe")
    expect(frame.locator("#asked")).to_be_visible(timeout=20_000)
    return frame


def shown(frame: FrameLocator) -> str:
    """The address of the record on the screen, which no other record has but its candidate."""
    return frame.locator("#sides tbody tr:nth-child(3) td").first.inner_text()


def asked(
    live: Live, method: str, path: str, user: str | None, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of what a user of the UI, or somebody unknown, is answered."""
    sent = dict(OWN if headers is None else headers)
    if user is not None:
        sent["Authorization"] = f"Bearer {live.token(user)}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{live.address}{path}", data, sent, method=method)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


# Who may ----------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "", None, 200),
    ("GET", "review.js", None, 200),
    ("GET", "review.css", None, 200),
    ("GET", "promotions", None, 200),
    ("POST", "promotions/none", {"approve": True}, 409),
    ("GET", "people/1", None, 200),
    ("GET", "people/999999", None, 409),
    ("GET", "nothing.html", None, 404),
    ("POST", "next", SCREEN, 200),
    ("POST", "answer", {**SCREEN, **KEY, "person_id": None}, 409),
    ("POST", "skip", {**SCREEN, **KEY}, 200),
    ("POST", "undo", SCREEN, 200),
    ("POST", "release", SCREEN, 200),
    ("POST", "find", {"last_name": "Quux"}, 200),
    ("POST", "people/1/split", {"rows": [999]}, 409),
    ("POST", "people/999999/erase", {}, 409),
]
ONLY_FOR = {"people/999999/erase": ("operator", "admin")}
"""Routes that not everybody may use who may review."""


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES, ids=lambda value: str(value)[:20])
def test_who_may_ask_for_what(live: Live, method: str, path: str, body: Any, status: int) -> None:
    assert asked(live, method, PAGE + path, None, body)[0] == 401
    code, text, _ = asked(live, method, PAGE + path, "viewer", body)
    assert (code, "Street" in text) == (403, False), "whoever may only read the DAG may not see names"
    for user in ("reviewer", "operator", "admin"):
        may = user in ONLY_FOR.get(path, USERS)
        assert asked(live, method, PAGE + path, user, body)[0] == (status if may else 403), user
    asked(live, "POST", f"{PAGE}release", "admin", SCREEN)


def _template(path: str) -> str:
    return re.sub(r"people/\d+", "people/{person_id}", path).replace("promotions/none", "promotions/{version}")


def test_every_route_is_in_the_list_above() -> None:
    from common.pages.review import router

    routes = {(method, route.path) for route in router.routes for method in route.methods}
    paths = {(method, "/review/" + _template(path)) for method, path, _, _ in ROUTES}
    assert routes - {("GET", "/review/{file}")} <= paths


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"},
        {**OWN, "Sec-Fetch-Site": "cross-site"},
        {**OWN, "Sec-Fetch-Site": "same-site"},
        {**OWN, "Origin": "https://evil.example"},
        {**OWN, "Origin": "null"},
    ],
)
@pytest.mark.parametrize("route", [route for route in ROUTES if route[0] == "POST"], ids=lambda route: route[1])
def test_what_a_page_of_another_site_sends_is_refused(live: Live, route: tuple[Any, ...], headers: Any) -> None:
    method, path, body, _ = route
    assert asked(live, method, PAGE + path, "reviewer", body, headers)[0] == 403


@pytest.mark.parametrize(("path", "user"), [("", "admin"), ("people/1", "admin"), ("people/1", "viewer"), ("", None)])
def test_nothing_is_kept_by_the_browser_or_loaded_from_elsewhere(live: Live, path: str, user: str | None) -> None:
    _, _, headers = asked(live, "GET", PAGE + path, user)
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_a_viewer_is_told_in_words(browser: Browser, live: Live) -> None:
    viewer = Visitor(browser, live, "viewer")
    viewer.page.goto("/plugin/review")
    expect(viewer.page.frame_locator("iframe").get_by_text("Names stand here in full")).to_be_visible()
    viewer.picture("review, viewer")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"screen": "x' OR 1"},
        {**SCREEN, "text": "x" * 2_000},
        {**SCREEN, "reason": ["HOUSEHOLD"]},
    ],
)
def test_what_makes_no_sense_is_refused(live: Live, body: Any) -> None:
    assert asked(live, "POST", f"{PAGE}next", "reviewer", body)[0] == 422


# By hand ----------------------------------------------------------------------------------------------------------


def test_review_is_in_the_navigation_and_on_the_run(reviewer: Visitor) -> None:
    page = reviewer.open("/")
    page.get_by_role("link", name="Review", exact=True).click()
    expect(page.frame_locator("iframe").locator("#asked")).to_be_visible()
    reviewer.open(f"/dags/{DAG}/runs/relatives").get_by_title("Review", exact=True).click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("#counts")).to_contain_text(f"{QUESTIONS} open")
    expect(frame.locator("#filtered")).to_contain_text("this run's batch")
    reviewer.picture("review in the run")
    frame = at_nothing(reviewer, f"/dags/{DAG}/runs/people/plugin/review-run")
    expect(frame.locator("#nothing-text")).to_contain_text("No open question of this run")
    reviewer.picture("review in the run, nothing")
    assert reviewer.wrong == []


def at_nothing(visitor: Visitor, path: str) -> FrameLocator:
    visitor.page.goto(path)
    frame = visitor.page.frame_locator("iframe")
    expect(frame.locator("#nothing")).to_be_visible(timeout=20_000)
    return frame


def test_names_are_text(reviewer: Visitor) -> None:
    frame = at_questions(reviewer)
    frame.locator("summary").click()
    frame.get_by_label("Name or address holds").fill("<b>ann</b>")
    reviewer.page.keyboard.press("Enter")
    expect(frame.locator("#sides")).to_contain_text("<script>document.title='gone'</script>")
    assert frame.locator("#sides script, #sides b").count() == 0
    assert frame.locator("title").inner_text() == "Review"
    reviewer.picture("review, ugly names")
    frame.get_by_label("Name or address holds").fill("nobody is called that")
    reviewer.page.keyboard.press("Enter")
    expect(frame.locator("#nothing-text")).to_contain_text("No open question fits the filter")
    reviewer.picture("review, nothing fits")
    assert reviewer.wrong == []


def test_twenty_questions_by_keyboard(reviewer: Visitor, live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """No click at all: the page takes the focus. Same person, somebody new and skipped in turn."""
    frame = at_questions(reviewer)
    reviewer.picture("review")
    page = reviewer.page
    before = len(live.people("SELECT 1 FROM judgements"))
    for number in range(30):
        address = shown(frame)
        page.keyboard.press(("s", "n", "k")[number % 3])
        expect(frame.locator("#sides tbody tr:nth-child(3) td").first).not_to_have_text(address)
    judged = live.people("SELECT is_match, judged_by FROM judgements ORDER BY judgement_id")[before:]
    assert judged == [(True, "reviewer"), (False, "reviewer")] * 10
    assert live.people("SELECT count(*) FROM skips WHERE skipped_by = 'reviewer'") == [(10,)]
    expect(frame.locator("#counts")).to_contain_text(f"{QUESTIONS - 20} open")
    expect(frame.locator("#counts")).to_contain_text("20 answered by you today")
    reviewer.picture("review, after twenty answers")
    assert reviewer.wrong == []
    entries = "performance.getEntriesByType('resource').filter((entry) => entry.name.endsWith('/answer'))"
    waited = frame.locator("body").evaluate(f"() => {entries}.map((entry) => entry.duration)")
    with capsys.disabled():
        print(f" [next question after {median(waited):.0f} ms, at most {max(waited):.0f} ms]")


def test_the_last_answer_is_taken_back_by_key(reviewer: Visitor, live: Live) -> None:
    frame = at_questions(reviewer)
    before = live.people("SELECT * FROM decisions ORDER BY record_key"), live.people("SELECT * FROM judgements")
    address = shown(frame)
    reviewer.page.keyboard.press("n")
    expect(frame.locator("#told")).to_have_text("Answered: somebody new.")
    reviewer.page.keyboard.press("u")
    expect(frame.locator("#told")).to_contain_text("Taken back")
    assert shown(frame) == address
    after = live.people("SELECT * FROM decisions ORDER BY record_key"), live.people("SELECT * FROM judgements")
    assert after == before


def test_buttons_do_what_keys_do_and_keys_can_be_switched_off(reviewer: Visitor, live: Live) -> None:
    frame = at_questions(reviewer)
    address = shown(frame)
    frame.get_by_label("Answer by single keys").uncheck()
    frame.locator("#asked").focus()
    reviewer.page.keyboard.press("k")
    frame.get_by_role("button", name="Skip").click()
    expect(frame.locator("#told")).to_contain_text("Skipped")
    expect(frame.locator("#sides tbody tr:nth-child(3) td").first).not_to_have_text(address)
    assert live.people("SELECT count(*) FROM claims WHERE claimed_by = 'reviewer' AND claimed_until > now()") == [(1,)]


def test_somebody_else_is_found_and_is_the_answer(reviewer: Visitor, live: Live) -> None:
    frame = at_questions(reviewer)
    address = shown(frame)
    (first_name, last_name, home) = some_people()[0][0]
    reviewer.page.keyboard.press("f")
    expect(frame.locator("#found button").first).to_be_visible(timeout=60_000)
    frame.get_by_label("First name").fill(first_name)
    frame.get_by_label("Last name").fill(last_name)
    frame.get_by_label("Address", exact=True).fill(home)
    frame.get_by_role("button", name="Look up").click()
    expect(frame.locator("#found li .big").first).to_contain_text(last_name, timeout=60_000)
    reviewer.picture("review, find another")
    frame.get_by_role("button", name="It is this one").first.click()
    expect(frame.locator("#told")).to_contain_text("Answered: person")
    ((found, said),) = live.people(
        """
        SELECT p.last_name, d.address FROM judgements AS j JOIN decisions AS d USING (batch_id, record_key)
        JOIN people AS p USING (person_id) ORDER BY judgement_id DESC LIMIT 1
        """
    )
    assert (found, said) == (last_name, address)
    assert reviewer.wrong == []


def test_looking_somebody_up_stores_nothing_and_leads_to_the_person(reviewer: Visitor, live: Live) -> None:
    frame = at_questions(reviewer)
    people = live.people("SELECT count(*) FROM people")
    (first_name, last_name, _) = some_people()[0][1]
    frame.get_by_role("link", name="Look somebody up").click()
    frame.get_by_label("First name").fill(first_name)
    frame.get_by_label("Last name").fill(last_name)
    reviewer.page.keyboard.press("Enter")
    expect(frame.locator("#found li .big").first).to_contain_text(last_name, timeout=60_000)
    expect(frame.get_by_role("button", name="It is this one")).to_have_count(0)
    reviewer.picture("review, look up")
    frame.locator("#found a").first.click()
    expect(frame.locator("#person-spellings")).to_contain_text(last_name)
    expect(frame.locator("#person-decisions")).to_contain_text("people.csv")
    reviewer.picture("review, person")
    assert live.people("SELECT count(*) FROM people") == people
    assert reviewer.wrong == []


# Who came meanwhile, pairs of a sweep, one person -------------------------------------------------------------------


def insert_the_record_on_the_screen(frame: FrameLocator, live: Live) -> int:
    """Somebody just like the record came by another client; returns the person."""
    fields = [frame.locator(f"#sides tbody tr:nth-child({row}) td").first.inner_text() for row in (1, 2, 3)]
    statement = "INSERT INTO people (first_name, last_name, address) VALUES (%s, %s, %s) RETURNING person_id"
    return int(live.people(statement, *fields)[0][0])


def test_who_came_meanwhile_is_shown_before_somebody_new_is_inserted(reviewer: Visitor, live: Live) -> None:
    frame = at_questions(reviewer)
    address, person = shown(frame), insert_the_record_on_the_screen(frame, live)
    before = live.people("SELECT count(*) FROM people")
    reviewer.page.keyboard.press("n")
    expect(frame.locator("#newcomers")).to_contain_text(f"person {person}", timeout=90_000)
    expect(frame.locator("#newcomers-title")).to_be_focused()
    expect(frame.locator("#told")).to_have_text("Nothing is stored yet: others came meanwhile.")
    reviewer.picture("review, others came meanwhile")
    reviewer.page.keyboard.press("1")
    expect(frame.locator("#told")).to_have_text(f"Answered: person {person}.")
    expect(frame.locator("#newcomers")).to_be_hidden()
    assert live.people("SELECT person_id FROM decisions WHERE address = %s AND reason = 'JUDGED'", address) == [
        (person,)
    ]
    assert live.people("SELECT count(*) FROM people") == before
    assert reviewer.wrong == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1300, 900)])
def test_it_may_be_somebody_new_all_the_same(browser: Browser, live: Live, width: int, height: int) -> None:
    visitor = Visitor(browser, live, "second", width, height)
    visitor.page.emulate_media(color_scheme="dark")
    frame = at_questions(visitor)
    insert_the_record_on_the_screen(frame, live)
    visitor.page.keyboard.press("n")
    expect(frame.locator("#newcomers .people > li")).to_have_count(1)
    visitor.picture(f"review, others came meanwhile, {width} dark")
    before = live.people("SELECT count(*) FROM people")[0][0]
    visitor.page.keyboard.press("n")
    expect(frame.locator("#told")).to_have_text("Answered: somebody new.")
    assert live.people("SELECT count(*) FROM people") == [(before + 1,)]
    assert visitor.wrong == []
    visitor.page.close()


def test_a_pair_of_a_sweep_is_asked_about(reviewer: Visitor, live: Live) -> None:
    statement = "INSERT INTO people (first_name, last_name, address) VALUES (%s, 'Zwischen', '5 Elm St, Salem')"
    for first_name in ("Gilbert", "Hugo"):
        live.people(statement, first_name)
    live.wait_for(live.trigger("sweep", source="people"), seconds=PATIENCE)
    frame = at_questions(reviewer)
    frame.locator("summary").click()
    frame.get_by_label("Name or address holds").fill("zwischen")
    reviewer.page.keyboard.press("Enter")
    expect(frame.locator("#sides")).to_contain_text("Hugo")
    frame.locator("#asked").focus()
    reviewer.picture("review, a pair of a sweep")
    expect(frame.get_by_role("button", name="Two people")).to_be_enabled()
    reviewer.page.keyboard.press("n")
    expect(frame.locator("#told")).to_have_text("Answered: two people.")
    reviewer.page.keyboard.press("u")
    expect(frame.locator("#told")).to_contain_text("Taken back")
    reviewer.page.keyboard.press("s")
    expect(frame.locator("#told")).to_contain_text("Answered: person")
    marked = """
        SELECT p.first_name, o.first_name FROM people AS p JOIN people AS o ON p.duplicate_of = o.person_id
        WHERE p.last_name = 'Zwischen'
    """
    assert live.people(marked) == [("Hugo", "Gilbert")]
    assert reviewer.wrong == []


def person_page(visitor: Visitor, person: int) -> FrameLocator:
    frame = at_questions(visitor)
    frame.locator("body").evaluate(f"() => {{ location.hash = 'person={person}' }}")
    expect(frame.locator("#person-spellings tr").nth(1)).to_be_visible()
    return frame


def test_a_person_is_split_after_a_question(reviewer: Visitor, live: Live) -> None:
    ((person,),) = live.people("SELECT duplicate_of FROM people WHERE first_name = 'Hugo'")
    frame = person_page(reviewer, person)
    expect(frame.locator("#person-rows")).to_contain_text("Hugo")
    expect(frame.get_by_role("button", name="Split off what is ticked")).to_be_disabled()
    expect(frame.locator("#erase")).to_be_hidden()
    frame.get_by_role("checkbox", name="Split off Hugo Zwischen 5 Elm St, Salem").check()
    frame.get_by_role("button", name="Split off what is ticked").click()
    expect(frame.locator("#sure")).to_contain_text("never taken for one again")
    reviewer.picture("person, split")
    frame.get_by_role("button", name="Cancel").click()
    assert live.people("SELECT count(duplicate_of) FROM people WHERE first_name = 'Hugo'") == [(1,)]
    frame.get_by_role("button", name="Split off what is ticked").click()
    reviewer.page.keyboard.press("Enter")  # the button has the focus
    expect(frame.locator("#told")).to_contain_text(f"is split off person {person}, and they are never the same")
    assert live.people("SELECT count(duplicate_of) FROM people WHERE first_name = 'Hugo'") == [(0,)]
    assert live.people("SELECT judged_by FROM apart WHERE person_id = %s", person) == [("reviewer",)]
    reviewer.picture("person, after a split")
    assert reviewer.wrong == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1300, 900)])
def test_a_person_is_erased_once_the_number_was_typed(browser: Browser, live: Live, width: int, height: int) -> None:
    statement = "INSERT INTO people (first_name, last_name, address) VALUES ('Ada', 'Gone', 'x') RETURNING person_id"
    ((person,),) = live.people(statement)
    visitor = Visitor(browser, live, "operator", width, height)
    visitor.page.emulate_media(color_scheme="dark")
    frame = person_page(visitor, person)
    frame.get_by_role("button", name="Erase this person").click()
    expect(frame.get_by_label(f"Type {person} to confirm")).to_be_focused()
    visitor.page.keyboard.type("0")
    visitor.page.keyboard.press("Enter")
    visitor.picture(f"person, erase, {width} dark")
    assert live.people("SELECT count(*) FROM people WHERE person_id = %s", person) == [(1,)]
    frame.get_by_label(f"Type {person} to confirm").fill(str(person))
    visitor.page.keyboard.press("Enter")
    expect(frame.locator("#told")).to_contain_text(f"person {person} erased; removed:")
    expect(frame.locator("#person-title")).to_have_text(f"Person {person} is erased")
    visitor.picture(f"person, erased, {width} dark")
    assert live.people("SELECT count(*) FROM people WHERE person_id = %s", person) == [(0,)]
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visitor.wrong == []
    visitor.page.close()


# A model that asks to decide -----------------------------------------------------------------------------------------


CHANGES: dict[str, Any] = {
    "decisions": 36,
    "changed": 3,
    "kinds": [{"before": "REVIEW", "after": "NEW", "count": 2}, {"before": "DUPLICATE", "after": "REVIEW", "count": 1}],
    "examples": [],
    "test": {"challenger": {"test_log_loss": 0.0123}, "champion": {"test_log_loss": 0.0345, "test_f1": 0.9}},
}


@pytest.fixture
def challenger(live: Live, monkeypatch: pytest.MonkeyPatch) -> str:
    """The version of a model that asks to decide, as a run with retraining stores it."""
    from common import people_db
    from common.linkage.model import STARTING_MODEL

    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", live.env["AIRFLOW_CONN_PEOPLE_DB"])
    standing = people_db.champion("a run")
    model = replace(STARTING_MODEL, intercept=standing.intercept - 0.25)
    key, score = live.people("SELECT record_key, score FROM decisions WHERE score IS NOT NULL LIMIT 1")[0]
    example = {"record_key": key, "before": "REVIEW", "after": "NEW", "score_before": score, "score_after": score / 2}
    CHANGES["examples"] = [example]
    people_db.store_challenger(model, "a formula", {}, {}, "retraining")
    assert people_db.ask_for_promotion(model.version, standing.version, CHANGES, "retraining") is None
    return model.version


def at_model(visitor: Visitor) -> FrameLocator:
    frame = at_questions(visitor)
    frame.get_by_role("link", name="Model asks").click()
    expect(frame.locator("#model-kinds tr").nth(1)).to_be_visible()
    return frame


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1300, 900)])
def test_a_model_that_asks_is_rejected(browser: Browser, live: Live, challenger: str, width: int, height: int) -> None:
    visitor = Visitor(browser, live, "second", width, height)
    visitor.page.emulate_media(color_scheme="dark")
    standing = live.people("SELECT version FROM models WHERE champion")
    frame = at_model(visitor)
    expect(frame.locator("#model-title")).to_have_text(f"Model {challenger} asks to decide")
    expect(frame.locator("#model-kinds-title")).to_have_text("It would change 3 of the last 36 decisions")
    expect(frame.locator("#model-examples")).to_contain_text("Street")
    assert frame.locator("body").evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    visitor.picture(f"model asks, {width} dark")
    frame.get_by_role("button", name="Reject").press("Enter")
    expect(frame.locator("#told")).to_have_text(f"Model {challenger} is rejected.")
    assert live.people("SELECT version FROM models WHERE champion") == standing
    live.people("DELETE FROM promotions")
    assert visitor.wrong == []
    visitor.page.close()


def test_a_model_is_approved_once_whoever_else_answers(reviewer: Visitor, live: Live, challenger: str) -> None:
    frame = at_model(reviewer)
    assert asked(live, "POST", f"{PAGE}promotions/{challenger}", "second", {"approve": False})[0] == 200
    frame.get_by_role("button", name="Approve").click()
    expect(frame.locator("#told")).to_contain_text(f"second has rejected model {challenger} meanwhile")
    live.people("DELETE FROM promotions")
    from common import people_db

    people_db.ask_for_promotion(challenger, people_db.champion("a run").version, CHANGES, "retraining")
    frame = at_model(reviewer)
    reviewer.picture("model asks")
    frame.get_by_role("button", name="Approve").click()
    expect(frame.locator("#told")).to_have_text(f"Model {challenger} is approved.")
    assert live.people("SELECT version, promoted_by FROM models WHERE champion") == [
        (challenger, "approved by reviewer")
    ]
    reviewer.picture("model approved")
    assert reviewer.wrong == []


def test_it_reads_aloud_in_order(reviewer: Visitor) -> None:
    """What a screen reader is told: the page's parts, the table with heads of rows and columns, what has happened."""
    frame = at_questions(reviewer)
    expect(frame.locator("#question")).to_match_aria_snapshot(
        """
        - article "Is this the same person?":
          - heading "Is this the same person?" [level=1]
          - paragraph
          - table "The record that arrived beside the known person; what differs is marked":
            - rowgroup:
              - row:
                - cell
                - columnheader "Arrived"
                - columnheader "Known"
            - rowgroup:
              - row /First name/:
                - rowheader "First name"
                - cell
                - cell
        """
    )
    expect(frame.get_by_role("group", name="Your answer").get_by_role("button")).to_have_count(6)
    reviewer.page.keyboard.press("k")
    expect(frame.get_by_role("status").first).to_have_text("Skipped; it comes again at the end.")
    expect(frame.locator("#asked")).to_be_focused()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1300, 900)])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_both_themes(browser: Browser, live: Live, width: int, height: int, dark: bool) -> None:
    visitor = Visitor(browser, live, "second", width, height)
    visitor.page.emulate_media(color_scheme="dark" if dark else "light")
    visitor.page.goto(PAGE)
    expect(visitor.page.locator("#asked")).to_be_visible()
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(22, 24, 29)") == dark
    for button in visitor.page.locator("#verdicts button:visible").all():
        expect(button).to_be_in_viewport()
    visitor.picture(f"review {width} {'dark' if dark else 'light'}")
    visitor.page.close()


def test_it_takes_the_theme_of_airflow(reviewer: Visitor) -> None:
    frame = at_questions(reviewer)
    for theme in ("dark", "light"):
        reviewer.page.evaluate(f"document.documentElement.className = '{theme}'")
        expect(frame.locator(f"html.{theme}")).to_have_count(1)
        reviewer.picture(f"review in Airflow, {theme}")


# Two at once, and a server that goes away -------------------------------------------------------------------------


def test_two_browsers_never_show_one_question(reviewer: Visitor, second: Visitor) -> None:
    one, other = at_questions(reviewer), at_questions(second)
    for _ in range(4):
        assert shown(one) != shown(other)
        reviewer.page.keyboard.press("k")
        second.page.keyboard.press("k")
        for frame in (one, other):
            expect(frame.locator("#told")).to_contain_text("Skipped")
    assert reviewer.wrong == second.wrong == []


def test_what_somebody_else_has_answered_is_shown_and_not_overturned(reviewer: Visitor, live: Live) -> None:
    frame = at_questions(reviewer)
    ((batch, key),) = live.people(
        "SELECT batch_id, record_key FROM claims WHERE claimed_by = 'reviewer' ORDER BY claimed_until DESC LIMIT 1"
    )
    body = {**SCREEN, "of_batch": batch, "record_key": key, "person_id": None}
    assert asked(live, "POST", f"{PAGE}answer", "second", body)[0] == 200
    query = "SELECT * FROM judgements WHERE NOT dissents"
    before = live.people("SELECT * FROM decisions ORDER BY record_key"), live.people(query)
    reviewer.page.keyboard.press("s")
    expect(frame.locator("#told")).to_have_text(
        re.compile(  # of a record, or of a pair of a sweep
            r"second has answered meanwhile: (somebody new|two people)\. "
            r"Nothing was changed; it is noted that you disagree\."
        )
    )
    assert live.people("SELECT judged_by, is_match FROM judgements WHERE dissents") == [("reviewer", True)]
    reviewer.picture("review, answered by somebody else")
    after = live.people("SELECT * FROM decisions ORDER BY record_key"), live.people(query)
    assert after == before


def test_an_answer_while_a_run_loads_waits_for_it(reviewer: Visitor, live: Live) -> None:
    import psycopg

    frame = at_questions(reviewer)
    count = live.people("SELECT count(*) FROM judgements")
    with psycopg.connect(live.people_dsn) as load:
        load.execute("LOCK TABLE dedupe.people IN SHARE ROW EXCLUSIVE MODE")
        reviewer.page.keyboard.press("s")
        expect(frame.get_by_role("alert")).to_contain_text("not stored", timeout=20_000)
        reviewer.picture("review, while a run loads")
        assert live.people("SELECT count(*) FROM judgements") == count
    expect(frame.locator("#told")).to_contain_text("Answered", timeout=60_000)
    expect(frame.get_by_role("alert")).to_be_hidden()
    assert live.people("SELECT count(*) FROM judgements") == [(count[0][0] + 1,)]


@pytest.mark.parametrize(("method", "path", "body"), [(*route[:3],) for route in ROUTES if route[3] != 404])
def test_while_a_migration_goes_on_the_routes_say_so(live: Live, method: str, path: str, body: Any) -> None:
    import psycopg

    with psycopg.connect(live.people_dsn) as migration:
        for table in ("people", "batches", "judgements", "promotions", "claims", "skips"):
            migration.execute(f"LOCK TABLE dedupe.{table}")  # type: ignore[arg-type]
        status, text, _ = asked(live, method, PAGE + path, "admin", body)
    if path in {"", "review.js", "review.css"}:
        assert status == 200, "the page itself needs no database"
    else:
        assert (status, "lock timeout" in json.loads(text)["detail"]) == (503, True)
        assert "Traceback" not in text


def test_a_people_database_that_is_down_is_told_and_waited_for(reviewer: Visitor, live: Live) -> None:
    import psycopg

    frame = at_questions(reviewer)
    name = live.people_database
    with psycopg.connect(live.metadata_dsn, autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[arg-type]
        status, text, _ = asked(live, "POST", f"{PAGE}next", "admin", SCREEN)
        assert status == 503
        assert json.loads(text)["detail"].startswith("no connection to people_db: ")
        reviewer.page.keyboard.press("k")
        expect(frame.get_by_role("alert")).to_contain_text("Trying again", timeout=20_000)
        reviewer.picture("review, no people database")
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[arg-type]
    expect(frame.locator("#told")).to_contain_text("Skipped", timeout=60_000)
    expect(frame.get_by_role("alert")).to_be_hidden()


def test_an_answer_survives_a_server_that_goes_away(reviewer: Visitor, live: Live) -> None:
    frame = at_questions(reviewer)
    count = live.people("SELECT count(*) FROM judgements")
    live.stop("api-server")
    reviewer.page.keyboard.press("s")
    expect(frame.get_by_role("alert")).to_contain_text("The server does not answer", timeout=20_000)
    reviewer.page.keyboard.press("n")  # what is pressed meanwhile is not meant for the next question
    reviewer.picture("review, no server")
    live.start("api-server")
    expect(frame.locator("#told")).to_contain_text("Answered: person", timeout=180_000)
    expect(frame.get_by_role("alert")).to_be_hidden()
    assert live.people("SELECT count(*) FROM judgements") == [(count[0][0] + 1,)]
