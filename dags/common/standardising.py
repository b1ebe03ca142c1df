"""Keeps what is stored in standardised form up to date. Apart from `pipeline`, for commands that start in a second."""

from common import people_db
from common.linkage.standardise import standardise


def standardise_people(connection: people_db.Transaction) -> None:
    """Bring what is stored in standardised form up to date where this standardiser has not seen the row."""
    while (people := people_db.unstandardised_people(connection)).num_rows:
        people_db.store_standardised(connection, standardise(people))
    while (decided := people_db.unstandardised_decisions(connection)).num_rows:
        people_db.store_contents(connection, standardise(decided))
