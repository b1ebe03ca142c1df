"""What is read from the environment."""

import pytest
from common.errors import SourceError
from common.settings import listed
from common.sources.places import located


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("/data/new", ["/data/new"]),
        ("/data/new, s3://bucket/new,gs://me@bucket/a:b", ["/data/new", "s3://bucket/new", "gs://me@bucket/a:b"]),
        ("/data/new,", ["/data/new"]),
        ("", []),
        (None, ["a", "b"]),
    ],
)
def test_several_values_are_separated_by_commas(
    text: str | None, values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEDUPE_TEST", raising=False)
    if text is not None:
        monkeypatch.setenv("DEDUPE_TEST", text)
    assert listed("DEDUPE_TEST", "a, b") == values


def test_a_url_below_one_of_the_roots_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUPE_TEST", "incoming, https://example.org/new")
    roots = listed("DEDUPE_TEST", "")
    assert located("https://example.org/new/a.csv", roots) == "https://example.org/new/a.csv"
    with pytest.raises(SourceError, match="outside of the allowed places: incoming, https://example"):
        located("https://example.org/newer.csv", roots)
