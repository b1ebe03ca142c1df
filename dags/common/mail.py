"""A mail as people read it: one content, shown as text and as HTML, at the width of a phone and of a desk."""

import base64
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import jinja2

TEXT_WIDTH = 78

SEVEN_BIT = default.clone(cte_type="7bit")
"""Policy of messages that every server takes and that are the same when written down and read again."""

_HTML = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("mail.html")


@dataclass(frozen=True)
class Number:
    """A line of the table of numbers: a count and the colour (#rrggbb) that stands for it."""

    label: str
    count: int
    colour: str


@dataclass(frozen=True)
class Picture:
    """A plot that stands in the text of the mail.

    `png` is the image in base64; `alt` says what it shows where images are not.
    """

    name: str
    png: str
    alt: str


@dataclass(frozen=True)
class Mail:
    """What a mail says.

    Attributes:
        subject: of the mail; line breaks become spaces.
        headline: the mail in one line.
        lead: sentences below the headline.
        warnings: sentences that must not be overlooked.
        to_do: what the reader should do now.
        link: label and address of the button, if there is one.
        numbers: a table of counts, with bars.
        facts: a table of names and values.
        pictures: plots.
        attachments: HTML pages by file name.
    """

    subject: str
    headline: str
    lead: Sequence[str] = ()
    warnings: Sequence[str] = ()
    to_do: Sequence[str] = ()
    link: tuple[str, str] | None = None
    numbers: Sequence[Number] = ()
    facts: Mapping[str, str] | None = None
    pictures: Sequence[Picture] = ()
    attachments: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The mail as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Mail":
        """The mail that `to_dict` made this of."""
        numbers = [Number(**number) for number in content["numbers"]]
        pictures = [Picture(**picture) for picture in content["pictures"]]
        return cls(**{**content, "numbers": numbers, "pictures": pictures})

    def text(self) -> str:
        """The mail as plain text."""
        blocks = [self.headline, *self.lead, *(f"Warning: {warning}" for warning in self.warnings)]
        blocks = [_filled(block) for block in blocks]
        blocks += [_filled(step, initial_indent="- ", subsequent_indent="  ") for step in self.to_do]
        if self.link:
            blocks.append("{}: {}".format(*self.link))
        if self.numbers:
            blocks.append("\n".join(f"{number.count:>12,}  {number.label}" for number in self.numbers))
        if self.facts:
            blocks.append("\n".join(f"{name}: {value}" for name, value in self.facts.items()))
        return "\n\n".join(blocks) + "\n"

    def html(self) -> str:
        """The mail as an HTML page; its pictures are parts of the mail."""
        largest = max((number.count for number in self.numbers), default=0)
        return _HTML.render(mail=self, facts=self.facts or {}, largest=max(largest, 1))

    def message(self) -> EmailMessage:
        """The mail without sender and recipient."""
        message = EmailMessage(policy=SEVEN_BIT)
        message["Subject"] = " ".join(self.subject.split())
        message.set_content(self.text())
        message.add_alternative(self.html(), subtype="html")
        shown = message.get_payload()[-1]  # type: ignore[index]
        for picture in self.pictures:
            png = base64.b64decode(picture.png)
            shown.add_related(png, "image", "png", cid=f"<{picture.name}>", disposition="inline")  # type: ignore[union-attr]
        for name, page in (self.attachments or {}).items():
            message.add_attachment(page, subtype="html", filename=name)
        return message


def _filled(text: str, **indents: str) -> str:
    """Lines of `TEXT_WIDTH`; a path or an address is never broken, so that it can be copied."""
    return textwrap.fill(text, TEXT_WIDTH, break_long_words=False, break_on_hyphens=False, **indents)  # type: ignore[arg-type]
