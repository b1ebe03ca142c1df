"""One content, as text and as HTML, in a message that survives being written down."""

import base64
from email import message_from_string

from common.mail import SEVEN_BIT, Mail, Number, Picture

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n picture").decode()
MAIL = Mail(
    subject="2 new\npeople: 敏",
    headline="2 new people <b>",
    lead=["A sentence of 周."],
    warnings=["Look here."],
    to_do=["Do this."],
    link=("Open the report", "https://airflow.example/x?a=1&b=2"),
    numbers=[Number("New, inserted", 2_000, "#0072b2"), Number("Known", 0, "#009e73")],
    facts={"run": "run 1"},
    pictures=[Picture("scores", PNG, "Histogram of scores")],
    attachments={"page.html": "<p>敏</p>\n"},
)


def test_text_and_html_say_the_same() -> None:
    for said in (MAIL.text(), MAIL.html().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")):
        for part in ("2 new people <b>", "A sentence of 周.", "Look here.", "Do this.", "Open the report", "2,000"):
            assert part in said
        assert "https://airflow.example/x?a=1&b=2" in said
        assert "run 1" in said
    assert "<b>" not in MAIL.html()


def test_the_message_has_text_html_pictures_and_pages_and_can_be_written_down() -> None:
    message = MAIL.message()
    again = message_from_string(message.as_string(), policy=SEVEN_BIT)
    assert again.as_bytes() == message.as_bytes()
    assert message.as_string().isascii()
    assert again["Subject"] == "2 new people: 敏"
    assert [part.get_content_type() for part in again.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/html",
    ]
    picture, page = list(again.walk())[-2:]
    assert picture["Content-ID"] == "<scores>"
    assert 'src="cid:scores" alt="Histogram of scores"' in again.get_body(["html"]).get_content()
    assert page.get_filename() == "page.html"
    assert page.get_content_disposition() == "attachment"
    assert page.get_content() == "<p>敏</p>\n"


def test_a_mail_can_be_stored_as_json() -> None:
    assert Mail.from_dict(MAIL.to_dict()) == MAIL


def test_what_can_be_copied_stays_in_one_piece() -> None:
    path = "/a-folder-with-hyphens/" * 10
    mail = Mail("s", "h", lead=[f"SourceError: there is no file {path} at all"])
    assert path in mail.text()
    assert max(len(line) for line in mail.text().splitlines() if path not in line) <= 78
