"""What people see: every page of the DAG in Airflow's UI, in a real browser against a running Airflow."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from launch import DAG
from live import Live
from playwright.sync_api import Browser, expect
from postgres import Server
from visitor import CHROMIUM, Visitor, browsing

ROWS = "first_name,last_name,address\nAnn,Smith,12 Main St\nAnne,Smith,12 Main Street\nBob,Jones,7 Oak Ave\n,,nowhere\n"
PATIENCE = 300  # seconds, for a run on a busy machine
TASKS = (
    *("ingest", "standardise", "plan_shards", "encode", "plan_blocks", "training_pairs", "fit_models", "choose_model"),
    *("compare", "canaries", "decide", "load", "report", "tidy"),
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> Iterator[Live]:
    home = tmp_path_factory.mktemp("pages") / "home"
    # A URL, as of an object store: the task, the tab and the mail reach it through Airflow.
    live = Live(home, postgres, {"DEDUPE_REPORTS_DIR": f"file://{home}/reports"})
    live.edit("dedupe_people.py", ('schedule="@daily"', "schedule=None"))
    (live.incoming / "new.csv").write_text(ROWS)
    with live.running():
        yield live


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def admin(browser: Browser, live: Live) -> Visitor:
    return Visitor(browser, live, "admin")


@pytest.fixture(scope="module")
def run_id(admin: Visitor, live: Live) -> str:
    """A run on a file, triggered by the form as a person does it."""
    page = admin.open(f"/dags/{DAG}")
    expect(page.get_by_role("heading", name=DAG)).to_be_visible()
    page.get_by_role("button", name="Trigger").click()
    form = page.get_by_role("dialog")
    source = form.locator("#element_source")
    expect(form.get_by_text("looks for duplicates in the table itself")).to_be_visible()
    expect(form.get_by_role("button", name="Trigger")).to_be_enabled()
    source.fill(str(live.incoming / "new.csv"))
    form.get_by_role("button", name="Invented records").click()
    expect(form.locator("[name=element_rows]")).to_be_visible()
    admin.picture("trigger form")
    form.get_by_role("button", name="Trigger").click()
    (run,) = live.wait(lambda: [run for (run,) in live.metadata("SELECT run_id FROM dag_run")], PATIENCE)
    live.wait_for(run, seconds=PATIENCE)
    assert admin.wrong == []
    return str(run)


def test_the_form_runs_the_file_it_names(run_id: str, live: Live) -> None:
    assert live.people("SELECT source, received, inserted + duplicates + review FROM batches") == [
        (str(live.incoming / "new.csv"), 4, 3)
    ]


@pytest.mark.parametrize("tab", ["", "/runs", "/tasks", "/calendar", "/events", "/code", "/details"])
def test_every_page_of_the_dag_opens(tab: str, run_id: str, admin: Visitor) -> None:
    page = admin.open(f"/dags/{DAG}{tab}")
    expect(page.get_by_role("heading", name=DAG)).to_be_visible()
    assert admin.wrong == []


def test_the_docs_of_the_dag_open(run_id: str, admin: Visitor) -> None:
    page = admin.open(f"/dags/{DAG}")
    page.get_by_role("button", name="Dag Docs").click()
    expect(page.get_by_role("dialog").get_by_text("Keep a table of people free of duplicates")).to_be_visible()
    assert admin.wrong == []


def test_the_graph_opens(run_id: str, admin: Visitor) -> None:
    page = admin.open(f"/dags/{DAG}/runs/{quote(run_id)}")
    page.get_by_role("button", name="Graph").or_(page.get_by_label("Graph")).first.click()
    for task in TASKS:
        expect(page.get_by_test_id("rf__wrapper").get_by_text(task).first).to_be_visible()
    assert admin.wrong == []


@pytest.mark.parametrize("task", TASKS)
def test_every_task_shows_its_docs_log_and_xcom(task: str, run_id: str, admin: Visitor) -> None:
    mapped = "/mapped/0" if task in {"encode", "compare"} else ""
    of_run = f"/dags/{DAG}/runs/{quote(run_id)}/tasks/{task}{mapped}"
    admin.open(f"{of_run}/xcom")
    page = admin.open(of_run)
    if task not in {"training_pairs", "fit_models"}:  # skipped: this run does not retrain
        expect(page.get_by_text(re.compile(rf"{task}: .* in \d+\.\d s")).first).to_be_visible()
    for name in ("Smith", "Jones", "Main St"):
        expect(page.get_by_text(name)).to_have_count(0)
    assert admin.wrong == []


@pytest.mark.parametrize("tab", ["rendered_templates", "details", "task_instances", "events", "code"])
def test_every_page_of_a_task_opens(tab: str, run_id: str, admin: Visitor) -> None:
    admin.open(f"/dags/{DAG}/runs/{quote(run_id)}/tasks/load/{tab}")
    assert admin.wrong == []


@pytest.mark.parametrize("task", ["ingest", "compare", "report"])
def test_the_docs_of_a_task_open(task: str, run_id: str, admin: Visitor) -> None:
    page = admin.open(f"/dags/{DAG}/tasks/{task}")
    page.get_by_role("button", name="Documentation").click()
    expect(page.get_by_role("dialog")).to_contain_text(".")
    assert admin.wrong == []


def test_the_asset_opens(run_id: str, admin: Visitor, live: Live) -> None:
    ((asset, _),) = live.metadata("SELECT id, name FROM asset")
    expect(admin.open(f"/assets/{asset}").get_by_text("people").first).to_be_visible()
    assert admin.wrong == []


def test_the_report_opens_on_the_page_of_its_run(run_id: str, admin: Visitor) -> None:
    page = admin.open(f"/dags/{DAG}/runs/{quote(run_id)}")
    page.get_by_title("Report", exact=True).click()
    expect(page.frame_locator("iframe").get_by_role("heading").first).to_be_visible()
    admin.picture("report in the run")
    assert admin.wrong == []


def test_the_task_that_wrote_the_report_leads_to_it(run_id: str, admin: Visitor) -> None:
    page = admin.open(f"/dags/{DAG}/runs/{quote(run_id)}/tasks/report/details")
    page.get_by_role("link", name="Report", exact=True).last.click()
    expect(page.frame_locator("iframe").get_by_role("heading").first).to_be_visible()
    assert admin.wrong == []


def asked(live: Live, path: str, user: str | None, **headers: str) -> tuple[int, str]:
    """Status and text of a page, asked for by a user of the UI or by somebody unknown."""
    if user is not None:
        headers["Authorization"] = f"Bearer {live.token(user)}"
    request = urllib.request.Request(f"{live.address}{path}", headers=headers)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_only_who_is_logged_in_reads_a_report(run_id: str, live: Live) -> None:
    page = f"/dedupe-people/report?run_id={quote(run_id, safe='')}"
    assert asked(live, page, None)[0] == 401
    for user in ("reviewer", "admin"):
        status, text = asked(live, page, user)
        assert status == 200
        assert run_id in text
    status, text = asked(live, "/dedupe-people/report?run_id=../../secret", "admin")
    assert (status, "no report yet" in text) == (404, True)


def test_a_foreign_host_is_refused(live: Live) -> None:
    """A page elsewhere whose name was rebound to 127.0.0.1 sends its own name."""
    assert asked(live, "/api/v2/version", "admin", Host="evil.example")[0] == 400
    port = live.address.rpartition(":")[2]
    assert asked(live, "/api/v2/version", "admin", Host=f"localhost:{port}")[0] == 200


def test_the_reviewer_runs_the_dag_and_sees_no_connection(live: Live) -> None:
    assert asked(live, f"/api/v2/dags/{DAG}/details", "reviewer")[0] == 200
    assert asked(live, "/api/v2/connections", "reviewer")[0] == 403


def test_nobody_gets_in_without_the_password(live: Live) -> None:
    assert asked(live, f"/api/v2/dags/{DAG}/details", None)[0] == 401
    body = json.dumps({"username": "admin", "password": "guess"}).encode()
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{live.address}/auth/token", data=body, headers={"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=30)  # noqa: S310
    assert (live.home / "passwords.json").stat().st_mode & 0o077 == 0
