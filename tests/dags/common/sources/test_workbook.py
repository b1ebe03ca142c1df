import io
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from common import sources
from common.errors import SourceError

TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>'
)
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="r1" Type="{OFFICE}/{{kind}}" Target="{{target}}"/></Relationships>'
)


def workbook(cells: str) -> bytes:
    """An Excel workbook with one sheet, made of the XML of its rows."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("[Content_Types].xml", TYPES)
        parts.writestr("_rels/.rels", RELATIONS.format(kind="officeDocument", target="xl/workbook.xml"))
        parts.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets>'
            "</workbook>",
        )
        parts.writestr("xl/_rels/workbook.xml.rels", RELATIONS.format(kind="worksheet", target="worksheets/sheet1.xml"))
        sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{cells}</sheetData></worksheet>'
        parts.writestr("xl/worksheets/sheet1.xml", sheet)
    return file.getvalue()


def row(number: int, *values: Any) -> str:
    cells = ""
    for column, value in zip("ABCDEFG", values, strict=False):
        place = f'<c r="{column}{number}"'
        if isinstance(value, str):
            cells += f'{place} t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        elif value is not None:
            cells += f"{place}><v>{value}</v></c>"
    return f'<row r="{number}">{cells}</row>'


def read(folder: Path, content: bytes, **options: Any) -> list[Any]:
    (folder / "new.xlsx").write_bytes(content)
    table = sources.read_records(str(folder / "new.xlsx"), allowed_roots=[str(folder)], **options)
    return [row["problem"] or (row["first_name"], row["last_name"], row["address"]) for row in table.to_pylist()]


def test_workbook(tmp_path: Path) -> None:
    rows = [
        row(2, "First Name", "Surname", "Street", "Zip", None, "Note"),
        row(3, "Jos\u00e9", "Lee", "1 Elm Road", 1970, None, "a, b"),
        row(5, "Bob", None, '2 "Oak"; Road', 62701.5),
        row(6, " ", "Roe\nPoe"),
    ]
    found = read(tmp_path, workbook("".join(rows)))
    assert found == [
        ("Jos\u00e9", "Lee", "1 Elm Road, 1970"),
        ("Bob", None, '2 "Oak"; Road, 62701.5'),
        (" ", "Roe\nPoe", None),
    ]


HEADER = row(1, "first_name", "last_name", "address")
REFUSED = [
    ("no workbook", b"first_name,last_name,address\n", "not a whole Excel workbook"),
    ("nothing", b"", "not a whole Excel workbook"),
    ("cut", workbook(HEADER)[:-100], "not a whole Excel workbook"),
    ("empty sheet", workbook(""), "it is empty"),
    ("other columns", workbook(row(1, "Email", "Wilhelmina")), "its columns are 'Email' and 1 more"),
    (
        "a cell in the last corner",
        workbook(HEADER + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'),
        "too large",
    ),
    ("much text", workbook(HEADER + row(2, "x" * 100_000)), "too large"),
    ("a password", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "not a whole Excel workbook"),
]


@pytest.mark.parametrize(("content", "reason"), [pytest.param(*case, id=idea) for idea, *case in REFUSED])
def test_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        read(tmp_path, content, max_bytes=50_000)
    assert len(str(caught.value).splitlines()) == 1
    assert "Wilhelmina" not in str(caught.value)
