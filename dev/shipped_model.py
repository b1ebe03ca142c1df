"""How the shipped model came to be: it is fitted anew, and printed as dags/common/linkage/model.py holds it.

    .venv/bin/python dev/shipped_model.py
    .venv/bin/python dev/shipped_model.py --today today.json
    make quality ARGS="--beside today.json"

It was fitted to pairs of invented people alone, the same ones everywhere, by the training as it was at one commit of
this repository; that code is taken from git, and run with the libraries of today.

`--today` fits the training of today to the same people, and writes the model for `make quality`. Faker's people bear no
name more often than another, so that rarity has nothing to learn: which names are common differs from table to table,
and a model learns it from the first thousand people of its own. Twins, relatives whose first names begin alike, come
as often as other relatives in it, as they did then: with fewer, the model trusts an equal address so much that its
cut-offs, which stay above neighbours, miss more people.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from launch import ROOT

sys.path.insert(0, str(ROOT / "dags"))

from common import settings, sources
from common.linkage import training
from common.linkage.model import SIMILARITIES, Curve, LinkageModel
from common.linkage.training.lookalikes import LOOKALIKES, household_member, twin

COMMIT = "d9a7b62d61a73de206cfb5c351e4e229ee0fd938"
"""Its training made the shipped model."""

PEOPLE, TABLE_SIZE, SEED = 10_000, 10_000, 0
"""Invented people, people of the table that it is made for, and the seed of both the people and the pairs."""

MAX_DROPPED, MAX_REVIEWED = 0.005, 0.01
"""Shares of mistakes that its cut-offs kept to."""

FORMULA = "... + address parts"
DIGITS = 4

THEN = f"""
import json
from common import source
from common.linkage import training

pairs = training.generated_pairs(source.fake_people({PEOPLE}, {SEED}), {SEED}, {TABLE_SIZE})
formula = next(formula for formula in training.FORMULAS if formula.name == {FORMULA!r})
model = training.with_cut_offs(training.fit(formula, pairs), pairs, {MAX_DROPPED}, {MAX_REVIEWED})
print(json.dumps(model.to_dict()))
"""
"""What is run with the code of that commit."""


def shipped_model() -> LinkageModel:
    """The shipped model, made anew.

    Raises:
        subprocess.CalledProcessError: this is no clone with the whole history, or the code of then does not run.
    """
    git = ["git", "-C", str(ROOT), "archive", COMMIT, "dags"]
    archive = subprocess.run(git, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as code:
            code.extractall(folder, filter="data")
        run = [sys.executable, "-c", THEN]  # finds the code of then first, in its folder
        fitted = subprocess.run(run, cwd=f"{folder}/dags", stdout=subprocess.PIPE, check=True)
    return rounded(LinkageModel.from_dict(json.loads(fitted.stdout.splitlines()[-1])))


def model_of_today() -> LinkageModel:
    """What the training of today makes of the same people."""
    lookalikes = LOOKALIKES | {twin: LOOKALIKES[household_member]}
    people = sources.fake_people(PEOPLE, SEED)
    pairs = training.generated_pairs(people, SEED, TABLE_SIZE, lookalikes=lookalikes)
    formula = next(formula for formula in training.FORMULAS if formula.name == FORMULA)
    costs = training.Costs(
        settings.COST_REINSERTED,
        settings.COST_DROPPED,
        settings.COST_REVIEWED,
        settings.MAX_DROPPED,
        settings.MAX_REVIEWED,
    )
    return rounded(training.with_cut_offs(training.fit(formula, pairs), [training.Sample(pairs)], costs))


def rounded(model: LinkageModel) -> LinkageModel:
    """The same with fewer digits."""
    content = json.loads(json.dumps(model.to_dict()), parse_float=lambda text: round(float(text), DIGITS))
    return LinkageModel.from_dict(content)


def as_literal(model: LinkageModel) -> str:
    """The model as it stands in the code."""
    numbers = {name: getattr(model, name) for name in ("swapped", "accept_at", "review_at", "margin")}
    return "\n".join(
        [
            "STARTING_MODEL = LinkageModel(",
            f"    intercept={model.intercept},",
            "    curves={",
            *(f'        "{name}": {_literal(model.curves[name])},' for name in SIMILARITIES),
            "    },",
            *(f"    {name}={value}," for name, value in numbers.items()),
            ")",
        ]
    )


def _literal(curve: Curve) -> str:
    return f"Curve({curve.similarities}, {curve.log_odds}, missing={curve.missing})"


def main() -> None:
    """Print the one, or write the other."""
    parser = argparse.ArgumentParser(description="Make the shipped model anew.")
    parser.add_argument("--today", type=Path, help="where to write what the training of today makes, as JSON")
    if file := parser.parse_args().today:
        file.write_text(json.dumps(model_of_today().to_dict()))
    else:
        print(as_literal(shipped_model()))


if __name__ == "__main__":
    main()
