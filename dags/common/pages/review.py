"""The routes behind the page for clerical review. The page itself is files of its own, in `files/`.

Names stand in full in what these routes answer, so each of them, also those that only read, asks for the right to
change the DAG. Every POST besides needs a header that no form of another site can send: Airflow's cookie alone would
let such a form in.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from common import review
from common.people_db import Asked, QuestionKey, Reviewer
from common.settings import DAG_ID

FILES = {
    "": ("review.html", "text/html; charset=utf-8"),
    "review.js": ("review.js", "text/javascript; charset=utf-8"),
    "review.css": ("review.css", "text/css; charset=utf-8"),
}
"""Files of the page and their types, by where they lie below the page."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

OWN_HEADER = "X-Dedupe-People"
"""Sent with every POST by the script of the page."""


def refuse_foreign_pages(request: Request) -> None:
    """Refuse what a page of another site has sent in the name of somebody who is logged in here."""
    foreign_fetch = request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
    origin = request.headers.get("Origin")
    foreign_origin = origin is not None and urlsplit(origin).netloc != request.headers.get("Host")
    if OWN_HEADER not in request.headers or foreign_fetch or foreign_origin:
        raise HTTPException(403, "Only the page for review itself may send this.")


may_judge = Depends(requires_access_dag("PUT", param_dag_id=DAG_ID))
from_this_page = Depends(refuse_foreign_pages)
router = APIRouter(prefix="/review", dependencies=[may_judge])
Text = Annotated[str | None, Field(max_length=1_000)]
Key = Annotated[str, Field(min_length=1, max_length=200)]


class Wanted(BaseModel):
    """Which questions the page asks for, and the name it has given itself."""

    screen: Annotated[str, Field(pattern="^[0-9a-f-]{8,64}$")]
    run_id: Text = None
    batch_id: Text = None
    reason: Text = None
    text: Text = None

    def asked(self) -> Asked:
        """The filters."""
        return Asked(self.run_id, self.batch_id, self.reason, self.text)


class About(Wanted):
    """One question."""

    of_batch: Key
    record_key: Key

    def key(self) -> QuestionKey:
        """Names it."""
        return QuestionKey(self.of_batch, self.record_key)


class Verdict(About):
    """What is answered: the person that the record belongs to; null if it is somebody new."""

    person_id: int | None


class Sought(BaseModel):
    """Whom somebody looks up."""

    first_name: Text = None
    last_name: Text = None
    address: Text = None


@router.get("/")
@router.get("/{file}")
def page(file: str = "") -> Response:
    """The page and its files."""
    if file not in FILES:
        raise HTTPException(404)
    name, media_type = FILES[file]
    content = (Path(__file__).parent / "files" / name).read_bytes()
    return Response(content, media_type=media_type)


@router.post("/next", dependencies=[from_this_page])
def next_question(wanted: Wanted, user: GetUserDep) -> dict[str, Any]:
    """The most useful question, and how far review is."""
    return _next(wanted, user.get_name())


@router.post("/answer", dependencies=[from_this_page])
def answer(verdict: Verdict, user: GetUserDep) -> dict[str, Any]:
    """Store an answer, unless somebody has answered already; what the question is answered with, and the next one."""
    name = user.get_name()
    ours, known = review.answer(Reviewer(name, verdict.screen), verdict.key(), verdict.person_id)
    return {"ours": ours, "answer": known, **_next(verdict, name)}


@router.post("/skip", dependencies=[from_this_page])
def skip(about: About, user: GetUserDep) -> dict[str, Any]:
    """Put a question last; the next one."""
    name = user.get_name()
    review.skip(Reviewer(name, about.screen), about.key())
    return _next(about, name)


@router.post("/undo", dependencies=[from_this_page])
def undo(wanted: Wanted, user: GetUserDep) -> dict[str, Any]:
    """Take the user's last answer back: its question, null if there is no answer to take back."""
    name = user.get_name()
    taken = review.take_back(Reviewer(name, wanted.screen))
    return {"question": taken, "progress": review.progress(wanted.asked(), name)}


@router.post("/release", dependencies=[from_this_page])
def release(wanted: Wanted) -> None:
    """The page was closed: others may get its question."""
    review.release(wanted.screen)


@router.post("/find", dependencies=[from_this_page])
def find(sought: Sought) -> dict[str, Any]:
    """The nearest people. A POST, since what stands in an address is written into logs."""
    return {"people": review.find(sought.first_name, sought.last_name, sought.address)}


@router.get("/people/{person_id}")
def person(person_id: int) -> dict[str, Any]:
    """One person with spellings, decisions and judgements."""
    return review.person(person_id)


def _next(wanted: Wanted, name: str) -> dict[str, Any]:
    question = review.next_question(Reviewer(name, wanted.screen), wanted.asked())
    return {"question": question, "progress": review.progress(wanted.asked(), name), "user": name}
