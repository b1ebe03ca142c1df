"""Settings for the tests of the DAG and its modules."""

from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("dags", deadline=None)
settings.load_profile("dags")
