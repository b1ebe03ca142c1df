"""`@table_task`: Airflow's `@task` for functions that take and return Arrow tables."""

import functools
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from airflow.sdk import task

from common.arrow_xcom import TableReference
from common.errors import MissingBatch

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import Task

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)


def table_task(**options: Any) -> "Callable[[Callable[P, R]], Task[P, R]]":
    """Make a task of a function; tables come to it from XCom as they were pushed, and its log ends with numbers.

    Args:
        options: of Airflow's `@task`, as `trigger_rule` or `outlets`.
    """

    def decorate(function: Callable[P, R]) -> "Task[P, R]":
        return task(**options)(logs_numbers(opens_tables(function)))  # type: ignore[no-any-return]

    return decorate


def opens_tables(function: Callable[P, R]) -> Callable[P, R]:
    """A function that is called with references to tables, where `function` wants the tables themselves.

    Raises:
        MissingBatch: an argument that may not be None is, as when `airflow tasks test` runs a task whose upstream has
            not run.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def with_tables(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            optional = signature.parameters[name].default is None
            given.arguments[name] = value if optional else _opened(name, value)
        return function(*given.args, **given.kwargs)

    return with_tables


def logs_numbers(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which logs at its end what came out and how long it took: counts and ids, never a row."""

    @functools.wraps(function)
    def with_numbers(*args: P.args, **kwargs: P.kwargs) -> R:
        begin = time.monotonic()
        result = function(*args, **kwargs)
        log.info("%s: %s in %.1f s", function.__name__, _numbers(result), time.monotonic() - begin)
        return result

    return with_numbers


def _numbers(result: Any) -> str:
    import pyarrow as pa

    if isinstance(result, pa.Table):
        return f"{result.num_rows:,} rows x {result.num_columns} columns"
    if isinstance(result, dict):
        counts = [f"{name}={value}" for name, value in result.items() if isinstance(value, int)]
        ids = [f"{name}={value}" for name, value in result.items() if isinstance(value, str)]
        return ", ".join(counts + ids) or "done"
    return f"{len(result)} parts" if isinstance(result, list) else str(result)


def _opened(name: str, value: Any) -> Any:
    if isinstance(value, TableReference):
        return value.open()
    if value is None:
        raise MissingBatch(
            f"no {name}: run the tasks before this one first (README, 'One task at a time': a skeleton run by "
            "dags test --mark-success-pattern, then tasks test in order)"
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        # The slice takes the results of mapped tasks in one go; one by one, Airflow logs an error at the end.
        return [_opened(name, item) for item in value[:]]
    return value
