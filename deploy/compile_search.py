"""Compile the search where the image is built, by using it: a batch meets people, some of them known, and itself."""

from common import sources
from common.linkage.model import STARTING_MODEL
from common.linkage.search import candidate_pairs
from common.linkage.standardise import STANDARDISED, standardise

PEOPLE, RECORDS, KNOWN = 20_000, 1_000, 0.3

known = sources.fake_people(PEOPLE, seed=0)
batch = sources.fake_records(RECORDS, KNOWN, known.append_column("person_id", [list(range(PEOPLE))]), seed=1)
people, records = (standardise(table).select(STANDARDISED) for table in (known, batch))
for at in (0.05, STARTING_MODEL.review_at, 0.95):  # each has a plan of its own; low ones compare the words of addresses
    found = [len(candidate_pairs(records, right, STARTING_MODEL, at)) for right in (people, None)]
    print(f"compiled: {found} pairs reach {at:.2f}", flush=True)
    if not found[0]:
        raise SystemExit("no pair was found: what follows on a candidate was not compiled")
