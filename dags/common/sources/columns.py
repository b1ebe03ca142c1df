"""Which columns of a file are ours."""

import logging
import re
from collections.abc import Sequence
from functools import lru_cache

from common.errors import SourceError

REQUIRED_COLUMNS = ("first_name", "last_name", "address")
OPTIONAL_COLUMNS = ("source_key",)
COLUMNS = OPTIONAL_COLUMNS + REQUIRED_COLUMNS

log = logging.getLogger(__name__)


@lru_cache(1_000)
def column_of(name: str, columns: tuple[str, ...] = COLUMNS) -> str | None:
    """Which of our columns a header means, or null: " First-Name" is first_name."""
    squeezed = re.sub(r"[\s_-]+", "", name).casefold()
    return next((column for column in columns if column.replace("_", "") == squeezed), None)


def columns_taken(
    header: Sequence[str], columns: tuple[str, ...] = COLUMNS, required: tuple[str, ...] = REQUIRED_COLUMNS
) -> dict[str, int]:
    """Position of each of our columns in `header`.

    Raises:
        SourceError: a column is missing or there twice. It names no column of the file that is not ours: a
            file without a header begins with somebody's name.
    """
    taken: dict[str, int] = {}
    for position, name in enumerate(header):
        column = column_of(name, columns)
        if column in taken:
            raise SourceError(f"its column {column} is there twice")
        if column is not None:
            taken[column] = position
    missing = [column for column in required if column not in taken]
    if missing:
        raise SourceError(
            f"it lacks the columns {', '.join(missing)}: the names of {len(header)} columns were read from its start"
        )
    ignored = [name for position, name in enumerate(header) if position not in taken.values()]
    named = [name for name in ignored if name.strip()]
    if len(set(named)) < len(named):
        raise SourceError("it has two columns of the same name")
    if ignored:
        log.info("Ignored %d other columns: %s", len(ignored), ", ".join(ascii(name[:50]) for name in ignored[:50]))
    return taken
