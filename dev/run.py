"""`make run`: run the DAG once, on a new batch, and print the report."""

import re

STARTED = re.compile(r"\[DAG TEST\] starting task_id=(\w+) map_index=(-?\d+)")
ENDED = re.compile(r"\[DAG TEST\] end task task_id=(\w+) map_index=(-?\d+)")
RETRIED = re.compile(r"Task instance marked as UP_FOR_RETRY|state=up_for_retry")
SKIPPED = re.compile(r"(nothing new in \S+)")
ERROR = re.compile(r"[A-Za-z_][\w.]*: \S")  # the last line of a traceback
