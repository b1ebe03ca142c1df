"""Policy and structure of the DAG, as tests. No database is needed here."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk import DAG, RetryAction
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from common import alerts, errors
from common.deadline import RunQueued
from common.default_args import DEFAULT_ARGS
from common.settings import PROJECT_ROOT, RUN_SLA, SOURCE

DAGS = PROJECT_ROOT / "dags"
DAG_FILE = DAGS / "dedupe_people.py"

DOWNSTREAM = {
    "ingest": {"standardise"},
    "standardise": {"plan_shards", "training_pairs", "canaries", "plan_blocks", "compare", "decide", "load"},
    "canaries": {"compare", "report"},
    "plan_shards": {"encode", "load"},
    "encode": {"plan_blocks"},
    "plan_blocks": {"compare"},
    "training_pairs": {"fit_models"},
    "fit_models": {"choose_model"},
    "choose_model": {"compare", "decide", "load", "report"},
    "compare": {"decide", "load", "report"},
    "decide": {"load"},
    "load": {"report"},
    "report": {"sweep_due"},
    "sweep_due": {"sweep"},
    "sweep": {"tidy"},
    "tidy": set(),
}
HEAVY = ("pandas", "pyarrow", "duckdb", "psycopg", "matplotlib", "sklearn", "numba", "faker", "adbc_driver_postgresql")


@pytest.fixture(scope="module")
def bag() -> BundleDagBag:
    return BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="dags-folder")


@pytest.fixture(scope="module")
def dag(bag: BundleDagBag) -> DAG:
    return bag.dags["dedupe_people"]


def test_there_is_exactly_this_dag_and_no_import_error(bag: BundleDagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {"dedupe_people"}


def test_tasks_follow_each_other_as_drawn(dag: DAG) -> None:
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == DOWNSTREAM


def test_only_encode_and_compare_are_mapped(dag: DAG) -> None:
    assert {task.task_id for task in dag.tasks if isinstance(task, MappedOperator)} == {"encode", "compare"}


def test_default_args_say_who_is_told_what() -> None:
    assert DEFAULT_ARGS["retries"] >= 1
    assert DEFAULT_ARGS["retry_exponential_backoff"] > 1
    assert DEFAULT_ARGS["retry_delay"] < DEFAULT_ARGS["max_retry_delay"]
    assert timedelta() < DEFAULT_ARGS["execution_timeout"] <= timedelta(hours=6)
    assert DEFAULT_ARGS["on_failure_callback"] == [alerts.mail_failure]
    assert DEFAULT_ARGS["on_retry_callback"] == [alerts.mail_retry]
    assert DEFAULT_ARGS["on_execute_callback"] == [alerts.note_try, alerts.watch_task_sla]
    assert DEFAULT_ARGS["on_success_callback"] == DEFAULT_ARGS["on_skipped_callback"] == [alerts.forget_try]
    assert DEFAULT_ARGS["show_return_value_in_logs"] is False


@pytest.mark.parametrize("task_id", DOWNSTREAM)
def test_every_task_has_the_default_args(dag: DAG, task_id: str) -> None:
    task = dag.get_task(task_id)
    for name in set(DEFAULT_ARGS) - {"run_sla", "sla_miss_callback"}:
        mapped = isinstance(task, MappedOperator)
        if name == "show_return_value_in_logs" and task_id == "sweep":
            continue  # it returns nothing
        if mapped and name == "show_return_value_in_logs":
            continue  # taken from the default_args when the task is unmapped; test_personal_data.py looks at the log
        value = task.partial_kwargs[name] if mapped else getattr(task, name)
        more = {"report": [alerts.mail_report], "tidy": [alerts.tell_the_rest]} if name == "on_success_callback" else {}
        assert value == (DEFAULT_ARGS[name] + more[task_id] if task_id in more else DEFAULT_ARGS[name]), name


def test_the_run_tells_what_no_task_could_tell(dag: DAG) -> None:
    assert dag.on_failure_callback == alerts.mail_run_failure


def test_errors_that_another_try_cannot_mend_fail_at_once() -> None:
    policy = DEFAULT_ARGS["retry_policy"]
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    permanent = [kind for kind in ours if issubclass(kind, errors.PermanentError)]
    assert len(permanent) > 5
    for kind in permanent:
        assert policy.evaluate(kind.__new__(kind), try_number=1, max_tries=3).action == RetryAction.FAIL
    for other in (ValueError("no"), errors.PeopleDbUnreachable("down"), OSError()):
        assert policy.evaluate(other, try_number=1, max_tries=3).action == RetryAction.DEFAULT


def test_the_tree_of_our_errors_is_drawn_as_it_is() -> None:
    drawn = {line.split()[0] for line in re.findall(r"(?:├|└)── (.*)", str(errors.__doc__))}
    ours = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert drawn | {"DedupePeopleError"} == ours
    for path, tree in sources(DAGS):
        kinds = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name in ours]
        assert not kinds or path.name == "errors.py"


def test_the_run_has_the_deadline_of_the_default_args(dag: DAG) -> None:
    (deadline,) = dag.deadline if isinstance(dag.deadline, list) else [dag.deadline]
    assert deadline.interval == DEFAULT_ARGS["run_sla"] == RUN_SLA
    assert deadline.callback.path == "common.alerts.mail_sla_miss"
    assert DEFAULT_ARGS["sla_miss_callback"] is alerts.mail_sla_miss
    assert isinstance(deadline.reference, RunQueued)


def test_the_schedule_neither_catches_up_nor_overlaps(dag: DAG) -> None:
    assert (dag.schedule, dag.catchup, dag.max_active_runs) == ("@daily", False, 1)
    assert dag.start_date is not None
    assert dag.start_date.tzinfo is not None


def test_the_dag_and_every_task_are_documented(dag: DAG) -> None:
    assert dag.doc_md
    assert dag.tags == {"people", "record linkage", "postgres"}
    for task in dag.tasks:
        assert task.doc_md
        assert re.fullmatch(r"[A-Z][^\n]{20,}\.", task.doc_md.strip().splitlines()[0]), task.task_id


def test_params_make_a_good_form(dag: DAG) -> None:
    defaults = {"source": SOURCE, "rows": 1000, "returning": 0.3, "existing": 10_000}
    assert defaults.items() <= dag.params.dump().items()
    for name in dag.params:
        param = dag.params.get_param(name)
        assert {"type", "title"} <= param.schema.keys(), name
        assert param.schema["description_md"].endswith("."), name


def test_the_form_can_be_sent_as_it_opens(dag: DAG) -> None:
    """The form of the UI takes an empty text for missing and keeps its button grey."""
    for name, value in dag.params.dump().items():
        assert value != "", name
        dag.params.get_param(name).resolve(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("source", ""), ("source", 7), ("rows", -1), ("rows", 1.5), ("returning", 1.01), ("existing", None)],
)
def test_params_refuse_nonsense(dag: DAG, name: str, value: Any) -> None:
    with pytest.raises(ParamValidationError):
        dag.params.get_param(name).resolve(value)


def test_the_dag_survives_serialisation(dag: DAG) -> None:
    data = DagSerialization.to_dict(dag)
    DagSerialization.validate_schema(data)
    restored = DagSerialization.from_dict(data)
    assert {task.task_id: set(task.downstream_task_ids) for task in restored.tasks} == DOWNSTREAM


FRESH = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.serialization.serialized_objects import DagSerialization
before = set(sys.modules)
dags = Path(sys.argv[1])
dag = BundleDagBag(dag_folder=dags, bundle_path=dags, bundle_name="dags-folder").dags["dedupe_people"]
new = sorted({name.split(".")[0] for name in set(sys.modules) - before})
print(json.dumps({"new": new, "dag": json.dumps(DagSerialization.to_dict(dag), sort_keys=True)}))
"""


@pytest.fixture(scope="module")
def parsed_afresh() -> list[dict[str, Any]]:
    """Two fresh interpreters that parse the DAG file, with different hash seeds."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", FRESH, str(DAGS)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]


def test_two_fresh_interpreters_serialise_the_same_bytes(parsed_afresh: list[dict[str, Any]]) -> None:
    first, second = (parsed["dag"] for parsed in parsed_afresh)
    assert first == second
    assert not re.search(r"0x[0-9a-f]{6,}", first), "a memory address would be a new version at each parse"


def test_parsing_imports_nothing_heavy(parsed_afresh: list[dict[str, Any]]) -> None:
    assert "common" in parsed_afresh[0]["new"]
    assert not set(parsed_afresh[0]["new"]) & set(HEAVY)


# The source files ------------------------------------------------------------------------------------------------


def sources(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_linkage_is_pure() -> None:
    """No Airflow, no Postgres, nothing of ours but itself, no clock, no files, no network, no global chance."""
    found = 0
    for path, tree in sources(DAGS / "common" / "linkage"):
        found += 1
        for name in imported(tree):
            top = name.split(".")[0]
            assert top not in {"airflow", "psycopg", "adbc_driver_postgresql", "time", "datetime", "requests"}, path
            ours = ("common.linkage.", "common.errors.", "common.masking.")
            assert top != "common" or name.startswith(ours), f"{path} imports {name}"
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in {"open", "random.random"}), path
    assert found > 5


SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|COPY|LOCK|TRUNCATE|WITH)\s[^.]*$", re.DOTALL
)


def test_only_people_db_talks_sql_to_postgres() -> None:
    speakers = set()
    for path, tree in sources(DAGS):
        if "linkage" in path.parts:  # cannot reach Postgres, see above; asks DuckDB in its SQL
            continue
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        texts = [value for value in constants if isinstance(value, str)]
        drivers = {name.split(".")[0] for name in imported(tree)} & {"psycopg", "adbc_driver_postgresql"}
        hooks = {name for name in imported(tree) if "providers.postgres" in name}
        if drivers or hooks or any(map(SQL.match, texts)):
            speakers.add(path.relative_to(DAGS / "common").parts[0])
    assert speakers == {"people_db"}


def test_people_db_reads_and_writes_and_does_not_know_the_method() -> None:
    ours = tuple(f"common.{room}." for room in ("people_db", "linkage", "errors", "settings", "run_report"))
    method = ("standardise.standardise", "batch.batch_pairs", "decision.decide", "search", "training")
    for path, tree in sources(DAGS / "common" / "people_db"):
        for name in imported(tree):
            assert not name.startswith("common.") or name.startswith(ours), f"{path} imports {name}"
            assert not name.startswith(tuple(f"common.linkage.{part}" for part in method)), f"{path} imports {name}"


def test_no_sql_is_built_from_text() -> None:
    nodes = [node for _, tree in sources(DAGS / "common" / "people_db") for node in ast.walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    statements = [node.args[0] for node in calls if node.func.attr in {"execute", "copy", "SQL"} and node.args]  # type: ignore[attr-defined]
    assert len(statements) > 20
    for statement in statements:
        assert not isinstance(statement, ast.JoinedStr | ast.BinOp), ast.unparse(statement)


def test_the_dag_file_wires_and_nothing_else() -> None:
    text = DAG_FILE.read_text(encoding="utf-8")
    tree = ast.parse(text)
    code = [line for line in text.splitlines() if line.strip()]
    assert len(code) < 150
    tasks = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for task in tasks:
        loops = [node for node in ast.walk(task) if isinstance(node, ast.For | ast.While | ast.If | ast.Try)]
        assert not loops, f"logic in {task.name}"
    work = [node for node in tree.body if isinstance(node, ast.For | ast.While | ast.With | ast.Try)]
    assert not work, "top-level work"


def test_every_task_is_a_table_task() -> None:
    """Else a task would get a reference where it expects a table."""
    tree = ast.parse(DAG_FILE.read_text(encoding="utf-8"))
    tasks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name != "dedupe_people"]
    assert {task.name for task in tasks} | {"sweep"} == DOWNSTREAM.keys(), "which is Airflow's own operator"
    for task in tasks:
        (decorator,) = task.decorator_list
        assert ast.unparse(decorator).startswith("table_task("), task.name


def test_tasks_take_nothing_named_like_a_context_key(dag: DAG) -> None:
    from airflow.sdk.definitions.context import Context

    for task in dag.tasks:
        if not isinstance(task, MappedOperator):
            assert not set(getattr(task, "op_kwargs", ())) & Context.__annotations__.keys()


def test_airflow_does_not_look_for_dags_in_common() -> None:
    assert (DAGS / ".airflowignore").read_text(encoding="utf-8").split() == ["common/"]
