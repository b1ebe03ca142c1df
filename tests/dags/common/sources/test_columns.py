from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from common import sources
from common.errors import SourceError
from common.sources import Layout
from common.sources.columns import ADDRESS_PARTS, SYNONYMS, columns_taken

Columns = dict[str, str] | None


def read(folder: Path, content: str, name: str = "new.csv", columns: Columns = None) -> list[Any]:
    """Names and address of each record, or the problem of it."""
    (folder / name).write_text(content)
    table = sources.read_records(str(folder / name), Layout(columns), allowed_roots=[str(folder)])
    return [row["problem"] or (row["first_name"], row["last_name"], row["address"]) for row in table.to_pylist()]


@pytest.mark.parametrize(
    "header", ["First Name,Surname,Street", "given_name,FAMILY-NAME,Full Address", "Vorname,Nachname,Anschrift"]
)
def test_synonyms(tmp_path: Path, header: str) -> None:
    assert read(tmp_path, f"{header}\nAnn,Lee,x\n") == [("Ann", "Lee", "x")]


def test_every_synonym_means_one_thing() -> None:
    for column, others in SYNONYMS.items():
        for other in others:
            header = [other if name == column else name for name in ("first_name", "last_name", "address")]
            assert columns_taken(header)[column] == (header.index(other),)
    parts = [name for part, others in ADDRESS_PARTS.items() for name in (part, *others)]
    everything = [*parts, *(name for others in SYNONYMS.values() for name in others)]
    assert len(set(everything)) == len(everything)


def test_our_own_names_win_over_synonyms() -> None:
    header = ["given name", "street", "city", "first_name", "last_name", "address", "surname"]
    assert columns_taken(header) == {"first_name": (3,), "last_name": (4,), "address": (5,)}


def test_two_synonyms_are_a_question() -> None:
    header = ["forename", "given", "surname", "address"]
    with pytest.raises(SourceError, match="first_name is there twice: say in param columns"):
        columns_taken(header)
    assert columns_taken(header, (("first_name", ("Given",)),))["first_name"] == (1,)


def test_parts_of_an_address_are_joined_in_their_order(tmp_path: Path) -> None:
    content = "City,Zip,First,Last,Street\nSalem,01970,Ann,Lee,1 Elm Road\n,,Bob,Roe, 2 Oak Road \n,,Cy,Poe,\n"
    joined = [("Ann", "Lee", "1 Elm Road, 01970, Salem"), ("Bob", "Roe", "2 Oak Road"), ("Cy", "Poe", None)]
    assert read(tmp_path, content) == joined
    with pytest.raises(SourceError, match="lacks the columns address"):
        read(tmp_path, "First,Last,City,Zip\n")


def test_param_columns(tmp_path: Path) -> None:
    columns: Columns = {"first_name": "Rufname", "address": "wo + Land"}
    assert read(tmp_path, "rufname;surname;land;wo\nAnn;Lee;DE;x\n", columns=columns) == [("Ann", "Lee", "x, DE")]
    lines = '{"Rufname": "Ann", "surname": "Lee", "wo": "x"}\n{"surname": "Roe", "wo": ["x"], "land": "DE"}\n'
    assert read(tmp_path, lines, "new.jsonl", columns) == [("Ann", "Lee", "x"), "NESTED_VALUE"]
    table = pa.table(
        {"land": ["DE", None], "wo": ["x", b"\xff"], "rufname": ["Ann", "Bo"], "last_name": ["Lee", "Roe"]}
    )
    pq.write_table(table, tmp_path / "new.parquet")
    records = sources.read_records(str(tmp_path / "new.parquet"), Layout(columns), allowed_roots=[str(tmp_path)])
    assert records["address"].to_pylist() == ["x, DE", None]
    assert records["problem"].to_pylist() == [None, "NOT_UTF8"]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"first_name": "Rufname"}, "names 'Rufname', which is not in it; its columns are 'first_name'"),
        ({"name": "first_name"}, "has a key 'name'; its keys are source_key, first_name, last_name, address"),
        ({"address": "street +"}, "maps address to no column"),
        ({"address": ["street"]}, "maps address to no column"),
    ],
)
def test_param_columns_that_cannot_be_meant(tmp_path: Path, columns: Any, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read(tmp_path, "first_name,last_name,street\nAnn,Lee,x\n", columns=columns)


MISSING = [
    (
        "a letter missing",
        "first_name,last_nam,address\n",
        "lacks the columns last_name; its columns are 'first_name', 'last_nam', 'address'; perhaps 'last_nam' for "
        "last_name is meant",
    ),
    ("letters too many", "first,last,Adrress\nAnn,Lee,x\n", "perhaps 'Adrress' for address"),
    ("other columns", "customer_id,email,Birth Date\n1,a@b.c,x\n", "are 'customer_id', 'email', 'Birth Date'"),
    ("no header", "Wilhelmina,Secret,1 Elm Road\n", "none of its 3 columns has a name that is understood: is there a"),
    ("a header and somebody", "first_name,Wilhelmina,Secret\n", "its columns are 'first_name' and 2 more"),
]


@pytest.mark.parametrize("name", ["new.csv", "new.jsonl"])
@pytest.mark.parametrize(("content", "reason"), [pytest.param(*case, id=idea) for idea, *case in MISSING])
def test_errors_name_the_columns_and_nobody(tmp_path: Path, content: str, reason: str, name: str) -> None:
    if name == "new.jsonl":
        keys = content.splitlines()[0].split(",")
        content = "{" + ", ".join(f'"{key}": "x"' for key in keys) + "}\n"
    with pytest.raises(SourceError) as caught:
        read(tmp_path, content, name)
    assert reason in str(caught.value)
    assert "param columns" in str(caught.value)
    assert not {"Wilhelmina", "Secret", "Elm"} & set(str(caught.value).replace("'", " ").split())


def test_a_million_columns_are_refused_soon(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="lacks the columns"):
        read(tmp_path, ",".join(f"c{number}" for number in range(1_000_000)))
