"""Keeps what is stored in standardised form up to date. Apart from `pipeline`, for commands that start in a second."""

from common import people_db
from common.linkage.standardise import standardise


def standardise_people(connection: people_db.Transaction) -> None:
    """Bring what is stored in standardised form up to date where this standardiser has not seen the row."""
    while _standardise_page(connection):
        pass


def standardise_in_pages() -> None:
    """The same, each page in a transaction of its own.

    However large an adopted table is, a try that is killed loses no more than a page, and nobody waits long for a row.
    """
    done = 1
    while done:
        with people_db.transaction() as connection:
            done = _standardise_page(connection)


def _standardise_page(connection: people_db.Transaction) -> int:
    """Standardise some rows; returns how many, and 0 where none is left."""
    if (people := people_db.unstandardised_people(connection)).num_rows:
        people_db.store_standardised(connection, standardise(people))
        return len(people)
    if (decided := people_db.unstandardised_decisions(connection)).num_rows:
        people_db.store_contents(connection, standardise(decided))
    return len(decided)
