"""Compile the search where the image is built, by using it: a batch that meets people, and itself."""

from common import sources
from common.linkage.model import STARTING_MODEL
from common.linkage.search import candidate_pairs
from common.linkage.standardise import STANDARDISED, standardise

PEOPLE, RECORDS = 20_000, 1_000

people = standardise(sources.fake_people(PEOPLE, seed=0)).select(STANDARDISED)
records = standardise(sources.fake_people(RECORDS, seed=1)).select(STANDARDISED)
for at in (STARTING_MODEL.review_at, 0.5, 0.95):  # other cut-offs have other plans
    found = [len(candidate_pairs(records, right, STARTING_MODEL, at)) for right in (people, None)]
    print(f"compiled: {found} pairs reach {at:.2f}", flush=True)
