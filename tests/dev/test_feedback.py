"""Ten batches and a reviewer who answers truly: what retraining does to the work and to the errors.

Measured with `dev/feedback.py` (see there): most questions to the shipped model are about relatives. A model that was
retrained on the table's own people no longer asks about them, and misses fewer people besides. The answers add little
to that here, where people are misspelt just as training misspells them.
"""

import pytest
from feedback import BATCHES, Learning, Played, play
from launch import people_db_connection
from postgres import Server
from quality_worlds import world


@pytest.fixture(scope="module")
def played(postgres: Server) -> dict[Learning, list[Played]]:
    """The same ten batches with the shipped model, and with retraining when the DAG would retrain."""
    outcome = {}
    for learning in (Learning.NOTHING, Learning.ANSWERS):
        database = f"feedback_{learning.name.lower()}"
        postgres.create_database(database)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRFLOW_CONN_PEOPLE_DB", people_db_connection(postgres.socket_folder, database))
            outcome[learning] = list(play(world("full-address"), learning))
    return outcome


def test_retraining_lets_the_work_of_review_go_down(played: dict[Learning, list[Played]]) -> None:
    shipped, retrained = played[Learning.NOTHING], played[Learning.ANSWERS]
    assert len(shipped) == len(retrained) == BATCHES
    assert retrained[0] == shipped[0], "the first batch is decided by the shipped model"
    later = [sum(batch.load for batch in batches[1:]) for batches in (shipped, retrained)]
    assert later[1] < later[0] / 2
    assert all(batch.load < retrained[0].load for batch in retrained[1:])


def test_the_errors_go_down_with_it(played: dict[Learning, list[Played]]) -> None:
    errors = [sum(batch.errors for batch in played[learning][1:]) for learning in (Learning.NOTHING, Learning.ANSWERS)]
    assert errors[1] < errors[0] / 2
