"""Retention: what is kept for a time only, in the people database and in files, and how it goes when that is over."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from common import people_db, settings, storage
from common.arrow_xcom import batch_files, root
from common.erasing import delete_erased_files
from common.report.paths import report_files, reports_root

log = logging.getLogger(__name__)

CountRuns = Callable[[Sequence[str], Sequence[str] | None], int]
"""How many runs of the DAG there are among some, by their ids; on request only those in some states."""

UNFINISHED = ("queued", "running")
_ASKED_AT_ONCE = 50  # ids of runs, which travel in a URL


def tidy_after(dag_run: Any, ti: Any) -> str:
    """See `tidy`; for a task, which gets both of these from Airflow."""

    def count_runs(run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        return int(ti.get_dr_count(settings.DAG_ID, run_ids=list(run_ids), states=states and list(states)))

    return tidy(dag_run.start_date or dag_run.run_after, dag_run.run_id, count_runs)


def tidy(began: datetime, own_run: str, count_runs: CountRuns) -> str:
    """Remove what is older than it is kept; returns in one line what was done.

    Files that cannot be deleted now are told of and left for the next time, those that are gone are as good as deleted.

    Args:
        began: when this run began: from then on time counts, so that another try does the same.
        own_run: this run, whose files stay.
        count_runs: asks Airflow.

    Raises:
        PeopleDbUnreachable: the people database does not answer.
    """
    done = []
    if settings.KEEP_QUARANTINED is not None:
        done.append(f"{people_db.remove_raw_rows(began - settings.KEEP_QUARANTINED):,} quarantined rows emptied")
    if settings.KEEP_FIELDS is not None:
        done.append(f"fields of {people_db.remove_fields(began - settings.KEEP_FIELDS):,} decided records removed")
    done.append(_deleted("of batches", lambda: _old_batch_files(began, own_run, count_runs), root))
    done.append(_deleted("of reports", lambda: _old_reports(began), reports_root))
    with people_db.transaction() as connection:
        people_db.forget_notes(connection, began - settings.KEEP_NOTES)
        if mails := people_db.forget_mails(connection, began - settings.KEEP_NOTES):
            done.append(f"{mails:,} mails that were given up deleted")
    erased, left = delete_erased_files()
    if erased or left:
        stays = f", {len(left):,} CANNOT BE DELETED" if left else ""
        done.append(f"{erased:,} files of erased people deleted{stays}")
    return "; ".join(done)


def _deleted(what: str, find: Callable[[], list[storage.StoredFile]], folder: Callable[[], storage.SharedPath]) -> str:
    """Delete files, whatever happens: a run that has loaded its batch does not fail because of them."""
    try:
        files = find()
        left = storage.delete_all(files, folder())
    except Exception as error:
        log.warning("files %s cannot be looked through and stay: %s", what, type(error).__name__)
        return f"files {what}: not looked through"
    told = f"{len(files) - len(left):,} files {what} deleted"
    if left:
        log.warning("%d files %s cannot be deleted now, the next run tries again", len(left), what)
        told += f", {len(left):,} could not be"
    return told


def _old_reports(began: datetime) -> list[storage.StoredFile]:
    if settings.KEEP_REPORTS is None:
        return []
    return [file for file in report_files() if _age(file, began) > settings.KEEP_REPORTS]


def _old_batch_files(began: datetime, own_run: str, count_runs: CountRuns) -> list[storage.StoredFile]:
    """Files of batches of runs that are done for so long, or that Airflow knows no more.

    A run counts as done since its youngest file: nothing of it was run again later. What an earlier version has
    written does not tell its run, and goes by its age alone.
    """
    of_run = defaultdict[str | None, list[storage.StoredFile]](list)
    for batch in batch_files(settings.DAG_ID):
        of_run[batch.run_id].append(batch.file)
    kept = settings.KEEP_BATCHES
    old = [file for file in of_run.pop(None, []) if kept is not None and _age(file, began) > kept]
    of_run.pop(own_run, None)
    age = {run_id: min(_age(file, began) for file in files) for run_id, files in of_run.items() if run_id is not None}
    gone = _deleted_runs([run_id for run_id in age if age[run_id] > settings.KEEP_BATCHES_OF_DELETED], count_runs)
    over = [run_id for run_id in age if kept is not None and age[run_id] > kept and run_id not in gone]
    done = [run_id for run_id in over if not count_runs([run_id], UNFINISHED)]
    return old + [file for run_id in (*gone, *done) for file in of_run[run_id]]


def _deleted_runs(run_ids: Sequence[str], count_runs: CountRuns) -> set[str]:
    """Those that Airflow knows no more: asked for many at once, and only where some are missing one by one."""
    gone = set()
    for begin in range(0, len(run_ids), _ASKED_AT_ONCE):
        some = run_ids[begin : begin + _ASKED_AT_ONCE]
        if count_runs(some, None) < len(some):
            gone |= {run_id for run_id in some if not count_runs([run_id], None)}
    return gone


def _age(file: storage.StoredFile, began: datetime) -> timedelta:
    return timedelta(seconds=began.timestamp() - file.written)
