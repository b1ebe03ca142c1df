"""Speed and memory of the search for candidate pairs, beside other ways to find them: one table.

    make bench                                     small sizes, a few minutes
    make bench ARGS="--full"                       the large sizes, ours alone, and what 10^8 people would take
    make bench ARGS="--sizes 10000x1000000 sweep:1000000 --at .9 --variety realistic"
    make bench ARGS="--run 10000x1000000"          whole runs of the DAG, task by task: see bench_run.py

Every measurement runs in a process of its own, so that its peak memory is its own, and gets its tables from a file.
Our search is measured cold, where the call encodes both tables, and warm, where the people come from a segment that
was encoded and saved before. The threshold is one on a weighted mean of the similarities (.3 first name, .3 last name,
.4 address), or `review`: the starting model at its review_at. The jellyfish loop and the rapidfuzz matrix are measured
on a slice and scaled to the whole; the slice of rapidfuzz is also compared with what the search found for those
records, by which the table says how many pairs were missed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather

HERE = Path(__file__).resolve().parent
PEERS = Path(sys.prefix) / "bench-peers"
sys.path += [str(HERE.parent / "dags"), str(HERE), str(PEERS)]

from bench_data import VARIETIES, case, with_duplicates  # noqa: E402
from common.linkage.model import STARTING_MODEL, Curve, LinkageModel  # noqa: E402

SMALL = ["1000x100000", "10000x100000", "sweep:100000"]
BLOCK, LARGE, SWEEP, FEW = FULL = ["10000x1000000", "10000x10000000", "sweep:1000000", "100x10000000"]
"""A block of a batch with a segment, with ten times as many people, and a segment with itself; and a small batch."""

MANY, SEGMENT = 100_000_000, 1_000_000
"""People of the forecast, and of a segment (`settings.SHARD_PEOPLE`)."""

NAMES = ("first_name_std", "last_name_std", "address_std")


def model_at(at: str) -> tuple[LinkageModel, float]:
    """The model and the match score for a threshold: a weighted mean, or `review`."""
    if at == "review":
        return STARTING_MODEL, STARTING_MODEL.review_at
    weights = {"first_name": 0.3, "last_name": 0.3, "address": 0.4}
    curves = {name: Curve((0.0, 1.0), (0.0, 40 * weight)) for name, weight in weights.items()}
    return LinkageModel(-40 * float(at), curves, swapped=-2.0, accept_at=0.9, review_at=0.5, margin=0.0), 0.5


def make(folder: Path, size: str, variety: str) -> None:
    """Write the tables of a case."""
    left, _, right = size.partition("x")
    tables = (
        with_duplicates(int(size.split(":")[1]), variety)
        if size.startswith("sweep")
        else case(int(left), int(right), variety)
    )
    feather.write_feather(tables.incoming, folder / "incoming")
    feather.write_feather(tables.people, folder / "people")
    np.save(folder / "true_pairs.npy", tables.true_pairs)


def ours(folder: Path, size: str, at: str, slice_rows: int) -> dict[str, Any]:
    """This project's search, cold: both tables are encoded by the call."""
    return searched(folder, size, at, kept=False)


def ours_warm(folder: Path, size: str, at: str, slice_rows: int) -> dict[str, Any]:
    """This project's search, warm: the people come from a segment that was saved, and is mapped into memory."""
    return searched(folder, size, at, kept=True)


def searched(folder: Path, size: str, at: str, kept: bool) -> dict[str, Any]:
    """One call of the search, after one that compiles it or loads what was compiled."""
    begin = time.perf_counter()
    from common.linkage.search import Budget, Segment, candidate_pairs

    model, score = model_at(at)
    left, right, true_pairs = read(folder, size)
    few = left.slice(0, 5), None if right is None else right.slice(0, 5)
    candidate_pairs(*few, model, score)
    if kept:
        if not (folder / "segment").exists():
            Segment.of(left if right is None else right).save(folder / "segment")
        segment = Segment.open(folder / "segment")
        left, right = (segment, None) if right is None else (left, segment)
    ready = time.perf_counter()
    used = time.process_time()
    pairs = candidate_pairs(left, right, model, score, Budget(pairs=50_000_000))
    seconds, used = time.perf_counter() - ready, time.process_time() - used
    feather.write_feather(pairs.select(["left_row", "right_row"]), folder / f"found{at}")
    found = np.column_stack([pairs["left_row"].to_numpy(), pairs["right_row"].to_numpy()])
    true = share_of(true_pairs, found)
    return {"seconds": seconds, "cpu": used, "start": ready - begin, "pairs": len(pairs), "true": true}


def jellyfish_loop(folder: Path, size: str, at: str, slice_rows: int) -> dict[str, Any]:
    """The reference in a Python loop over a few pairs, scaled."""
    from common.linkage.comparison import address_similarity, name_similarity

    left, right, _ = read(folder, size)
    right = left if right is None else right
    count = 20_000
    random = np.random.default_rng(0)
    one, other = left.take(random.integers(0, len(left), count)), right.take(random.integers(0, len(right), count))
    rows = list(zip(*(side[name].to_pylist() for side in (one, other) for name in NAMES), strict=True))
    begin, used = time.perf_counter(), time.process_time()
    for first, last, address, other_first, other_last, other_address in rows:
        if None not in (first, last, other_first, other_last):
            name_similarity(first, other_first)
            name_similarity(last, other_last)
            name_similarity(first, other_last)
            name_similarity(last, other_first)
        if address is not None and other_address is not None:
            address_similarity(address, other_address)
    scale = all_pairs(left, right, size) / count
    return {"seconds": (time.perf_counter() - begin) * scale, "cpu": (time.process_time() - used) * scale}


def rapidfuzz_cdist(folder: Path, size: str, at: str, slice_rows: int) -> dict[str, Any]:
    """Whole similarity matrices for a few left records on all cores, scaled; and what the search missed of them."""
    from common.linkage.comparison import comparison_vectors, sort_tokens
    from rapidfuzz.distance.JaroWinkler import similarity
    from rapidfuzz.process import cdist

    model, score = model_at(at)
    left, right, _ = read(folder, size)
    right = left if right is None else right
    rows = np.sort(np.random.default_rng(0).choice(len(left), min(slice_rows, len(left)), replace=False))
    values = {name: (left[name].take(rows).to_pylist(), right[name].to_pylist()) for name in NAMES}
    one, other = values["address_std"]
    values["ordered"] = [text and sort_tokens(text) for text in one], [text and sort_tokens(text) for text in other]
    begin, used = time.perf_counter(), time.process_time()

    def matrix(one: str, other: str) -> Any:
        sides = [["" if text is None else text for text in side] for side in (values[one][0], values[other][1])]
        result = cdist(*sides, scorer=similarity, dtype=np.float64, workers=-1)
        result[[text is None for text in values[one][0]], :] = np.nan
        result[:, [text is None for text in values[other][1]]] = np.nan
        return result

    def log_odds(first: str, last: str) -> Any:
        return model.curve("first_name")(matrix("first_name_std", first)) + model.curve("last_name")(
            matrix("last_name_std", last)
        )

    names = log_odds("first_name_std", "last_name_std")
    crossed = log_odds("last_name_std", "first_name_std") + model.swapped
    address = model.curve("address")(np.fmax(matrix("address_std", "address_std"), matrix("ordered", "ordered")))
    # words and numbers are compared only where they could make the difference, by the reference
    parts = (model.curve(name) for name in ("address_words", "address_numbers"))
    most = model.intercept + sum(max(*curve.log_odds, curve.missing) for curve in parts)
    close = np.nonzero(np.maximum(names, crossed) + address + most >= np.log(score / (1 - score)) - 1e-9)
    compared = comparison_vectors(left, right, rows[close[0]], close[1], model)
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    reached = compared["score"].to_numpy() >= score
    expected = {(int(rows[i]), int(j)) for i, j in zip(close[0][reached], close[1][reached], strict=True)}
    found = feather.read_table(folder / f"found{at}")
    ends = list(zip(found["left_row"].to_pylist(), found["right_row"].to_pylist(), strict=True))
    if size.startswith("sweep"):
        expected, ends = {pair for pair in expected if pair[0] != pair[1]}, ends + [(j, i) for i, j in ends]
    here = {pair for pair in ends if pair[0] in set(rows.tolist())}
    scale = all_pairs(left, right, size) / names.size
    differ = {"missed": len(expected ^ here), "checked": len(expected)}
    return {"seconds": seconds * scale, "cpu": used * scale, **differ}


def splink(folder: Path, size: str, at: str, slice_rows: int) -> dict[str, Any]:
    """Splink with blocking rules in the style of its examples: exact names, or one name and a part of the address."""
    import logging

    import splink.comparison_library as comparisons
    from splink import Linker, SettingsCreator, block_on
    from splink.backends.duckdb import DuckDBAPI

    logging.disable()
    left, right, true_pairs = read(folder, size)
    begin = time.perf_counter()
    database = DuckDBAPI()

    def register(table: pa.Table, name: str) -> Any:
        table = table.append_column("unique_id", pa.array(np.arange(len(table))))
        return database.register(table, table_name=name, dataset_display_name=name)

    tables = [register(left, "a_incoming")] + ([] if right is None else [register(right, "b_people")])
    settings = SettingsCreator(
        link_type="dedupe_only" if right is None else "link_only",
        comparisons=[
            comparisons.NameComparison("first_name_std"),
            comparisons.NameComparison("last_name_std"),
            comparisons.JaroWinklerAtThresholds("address_std", [0.95, 0.9, 0.8]),
        ],
        blocking_rules_to_generate_predictions=[
            block_on("first_name_std", "last_name_std"),
            block_on("last_name_std", "substr(address_std, 1, 4)"),
            block_on("first_name_std", "substr(address_std, 1, 4)"),
        ],
        retain_matching_columns=False,
    )
    linker = Linker(tables, settings)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("first_name_std", "last_name_std"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("address_std"))
    trained, used = time.perf_counter(), time.process_time()
    predicted = linker.inference.predict(threshold_match_probability=0.01)
    seconds, used = time.perf_counter() - trained, time.process_time() - used
    pairs = predicted.as_pyarrow_table()
    found = np.column_stack([pairs["unique_id_l"].to_numpy(), pairs["unique_id_r"].to_numpy()])
    found = np.sort(found, axis=1) if right is None else found
    true = share_of(true_pairs, found)
    return {"seconds": seconds, "cpu": used, "start": trained - begin, "pairs": len(found), "true": true}


ENGINES: dict[str, Callable[[Path, str, str, int], dict[str, Any]]] = {
    "ours": ours,
    "ours, warm": ours_warm,
    "rapidfuzz cdist*": rapidfuzz_cdist,
    "jellyfish loop*": jellyfish_loop,
    "splink": splink,
}


def read(folder: Path, size: str) -> tuple[pa.Table, pa.Table | None, Any]:
    """The tables of a case; None for the right one of a sweep."""
    left = feather.read_table(folder / "incoming")
    right = None if size.startswith("sweep") else feather.read_table(folder / "people")
    return left, right, np.load(folder / "true_pairs.npy")


def all_pairs(left: pa.Table, right: pa.Table, size: str) -> float:
    """How many pairs there are."""
    return len(left) * (len(left) - 1) / 2 if size.startswith("sweep") else len(left) * len(right)


def share_of(true_pairs: Any, found: Any) -> float:
    """The share of the true pairs that were found."""
    return len(set(map(tuple, true_pairs.tolist())) & set(map(tuple, found.tolist()))) / max(len(true_pairs), 1)


def measured(task: str, folder: Path, size: str, at: str, slice_rows: int, variety: str) -> dict[str, Any]:
    """Run one task in a process of its own; adds its peak memory in GB."""
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder), "--sizes", size, "--at", at]
    command += ["--slice", str(slice_rows), "--variety", variety]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        output = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        return {"failed": child.returncode}
    return {**json.loads(output.splitlines()[-1]), "memory": usage.ru_maxrss / 1e6}


def line(row: dict[str, Any], ours_seconds: float) -> str:
    """One row of the table."""
    if "failed" in row:
        return f"failed with {row['failed']}"
    seconds = row["seconds"]
    cells = [
        f"{seconds:>12,.2f}",
        f"{row['cpu']:>12,.2f}",
        f"{seconds / ours_seconds:>9,.1f}",
        f"{row['start']:>7.1f}" if "start" in row else " " * 7,
        f"{row['memory']:>6.2f}",
        f"{row['pairs']:>10,}" if "pairs" in row else " " * 10,
        f"{row['true']:>7.1%}" if "true" in row else " " * 7,
        f"{row['missed']} of {row['checked']:,} missed" if "missed" in row else "",
    ]
    return " ".join(cells)


def forecast(core_seconds: dict[tuple[str, str], float]) -> str:
    """What `MANY` people would take, and from what that is reckoned.

    Args:
        core_seconds: of `FULL`, by size and engine.
    """
    segments, hour = MANY // SEGMENT, 3600
    block, sweep = core_seconds[BLOCK, "ours, warm"], core_seconds[SWEEP, "ours, warm"]
    encoding = core_seconds[BLOCK, "ours"] - block
    growth = core_seconds[LARGE, "ours, warm"] / block
    squares = segments * segments
    return "\n".join(
        [
            f"10,000 x 10,000,000 takes {growth:.1f} times the core seconds of 10,000 x 1,000,000, warm",
            f"a block of 10,000 records x a segment of {SEGMENT:,} people: {block:.1f} core s;"
            f" encoding the segment once: {encoding:.1f} core s",
            f"a batch of 10,000 against {MANY:,} people: {segments} segments x {block:.1f} core s ="
            f" {segments * block / hour:.2f} core hours",
            f"encoding {MANY:,} people, once: {segments} x {encoding:.1f} core s = {segments * encoding / hour:.2f}"
            " core hours",
            f"a sweep of {SEGMENT:,}: {sweep:.0f} core s; of {MANY:,}: {squares:,} times as many pairs ="
            f" {squares * sweep / hour:,.0f} core hours",
        ]
    )


def install_peers() -> None:
    """Put the peers into a folder of their own, where they change no version of ours."""
    if not PEERS.exists():
        requirements = str(HERE / "requirements-bench.txt")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            str(PEERS),
            "-r",
            requirements,
        ]
        subprocess.run(command, check=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", help="LEFTxRIGHT or sweep:ROWS")
    parser.add_argument("--at", nargs="+", default=["review", ".95", ".9", ".85"], help="thresholds")
    parser.add_argument("--variety", nargs="+", default=list(VARIETIES), choices=VARIETIES)
    parser.add_argument("--full", action="store_true", help="the large sizes, by the shipped model")
    parser.add_argument("--no-peers", action="store_true", help="only this project's search")
    parser.add_argument("--slice", type=int, default=10, help="left records in the slice for rapidfuzz")
    parser.add_argument("--run", metavar="RECORDSxPEOPLE", help="measure whole runs instead")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:  # the child process
        size, at, variety = options.sizes[0], options.at[0], options.variety[0]
        if options.task == "make":
            make(options.folder, size, variety)
            print("{}")
        else:
            print(json.dumps(ENGINES[options.task](options.folder, size, at, options.slice)))
        return
    if options.run:
        import bench_run

        bench_run.measure(options.run, options.variety[-1])
        return
    if options.full:
        options.sizes, options.at, options.variety, options.no_peers = FULL, ["review"], ["realistic"], True
    if not options.no_peers:
        install_peers()
    print(f"{os.cpu_count()} cores; core s: of all cores; ratio: of seconds, to ours; start: imports, training")
    print("*: measured on a slice and scaled")
    heads = f"{'size':<16} {'variety':<10} {'at':<7} {'engine':<17} {'seconds':>12} {'core s':>12} {'ratio':>9}"
    print(f"{heads} {'start':>7} {'GB':>6} {'pairs':>10} {'true':>7} identical to exhaustive")
    core_seconds = {}
    for size in options.sizes or SMALL:
        for variety in options.variety:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                measured("make", folder, size, "0", 0, variety)
                for at in options.at:
                    seconds = math.nan
                    for engine in ENGINES:
                        # the peers do the same work at every threshold; the check is worth it each time
                        if not engine.startswith("ours") and (
                            options.no_peers or (at != ".9" and "cdist" not in engine)
                        ):
                            continue
                        if options.full and engine == "ours" and size in (SWEEP, FEW):
                            continue  # cold differs from warm by the encoding, which the others show
                        row = measured(engine, folder, size, at, options.slice, variety)
                        core_seconds[size, engine] = row.get("cpu", math.nan)
                        seconds = row.get("seconds", math.nan) if engine == "ours" else seconds
                        print(f"{size:<16} {variety:<10} {at:<7} {engine:<17} {line(row, seconds)}", flush=True)
    if options.full:
        print(forecast(core_seconds))


if __name__ == "__main__":
    main()
