"""The routes behind the page for clerical review. The page itself is files of its own, in `files/`.

Names stand in full in what these routes answer, so each of them, also those that only read, asks for the right to
change the DAG. Every POST besides needs a header that no form of another site can send: Airflow's cookie alone would
let such a form in.
"""

import logging
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from common import review, upkeep
from common.newcomers import Alike
from common.people_db import Asked, QuestionKey, Reviewer
from common.settings import DAG_ID, PEOPLE_CONN_ID, REVIEW_LOCK_TIMEOUT

log = logging.getLogger(__name__)

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


class Seen(BaseModel):
    """Somebody who came meanwhile, and whom the reviewer has seen: one of the two is null."""

    person_id: int | None
    question_id: int | None


class Verdict(About):
    """What is answered: the person that the record belongs to; null if it is somebody new.

    `seen` and `together`: see `review.answer`.
    """

    person_id: int | None
    seen: Annotated[list[Seen], Field(max_length=1_000)] = []
    together: Annotated[list[int], Field(max_length=1_000)] = []


class Part(BaseModel):
    """A record, as a part of a person."""

    of_batch: Key
    record_key: Key


class Parts(BaseModel):
    """What is to be a person of its own: rows of the table that a sweep marked, and records."""

    rows: Annotated[list[int], Field(max_length=1_000)] = []
    records: Annotated[list[Part], Field(max_length=1_000)] = []


class Approval(BaseModel):
    """Whether a model shall decide."""

    approve: bool


class Sought(BaseModel):
    """Whom somebody looks up."""

    first_name: Text = None
    last_name: Text = None
    address: Text = None


@router.post("/next", dependencies=[from_this_page])
def next_question(wanted: Wanted, user: GetUserDep) -> dict[str, Any]:
    """The most useful question, and how far review is."""
    return _next(wanted, user.get_name())


@router.post("/answer", dependencies=[from_this_page])
def answer(verdict: Verdict, user: GetUserDep) -> dict[str, Any]:
    """Store an answer; what the question is answered with, and the next one.

    Others may have answered it already; or, of somebody new, others came meanwhile: the answer is null then.
    """
    name = user.get_name()
    seen = [Alike(one.person_id, one.question_id) for one in verdict.seen]
    outcome = review.answer(Reviewer(name, verdict.screen), verdict.key(), verdict.person_id, seen, verdict.together)
    if outcome.answer is None:
        return {"ours": False, "answer": None, "newcomers": outcome.newcomers}
    told = {"ours": outcome.ours, "answer": outcome.answer, "dissent": outcome.dissent}
    return {**told, **_next(verdict, name)}


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


@router.get("/promotions")
def promotions() -> dict[str, Any]:
    """The model that asks to decide, and how others were answered."""
    return review.promotions()


@router.post("/promotions/{version}", dependencies=[from_this_page])
def answer_promotion(version: str, said: Approval, user: GetUserDep) -> dict[str, Any]:
    """Approve or reject a model. Whoever may review may run the DAG too, and promote any model by its params."""
    return review.answer_promotion(version, said.approve, user.get_name())


@router.get("/people/{person_id}")
def person(person_id: int, user: GetUserDep) -> dict[str, Any]:
    """One person with spellings, decisions and judgements, and whether the user may erase them."""
    return {**review.person(person_id), "may_erase": _may_erase(user)}


@router.post("/people/{person_id}/split", dependencies=[from_this_page])
def split(person_id: int, parts: Parts, user: GetUserDep) -> dict[str, str]:
    """Make two people of one; what was done, in words."""
    records = [f"{about.of_batch}/{about.record_key}" for about in parts.records]
    return {"done": upkeep.split(person_id, parts.rows, records, user.get_name(), REVIEW_LOCK_TIMEOUT)}


@router.post("/people/{person_id}/erase", dependencies=[from_this_page])
def erase(person_id: int, user: GetUserDep) -> dict[str, str]:
    """Remove every trace of a person; the proof, in words. Only for who may change the connection to the people."""
    if not _may_erase(user):
        raise HTTPException(403, f"That needs the right to change connection {PEOPLE_CONN_ID}, which you do not have.")
    done = upkeep.erase(person_id, patience=REVIEW_LOCK_TIMEOUT)
    log.info("person %d was erased by user %s", person_id, user.get_name())
    return {"done": done}


def _may_erase(user: GetUserDep) -> bool:
    # Nothing brings an erased person back: it is for those who could delete the whole table as well.
    details = ConnectionDetails(conn_id=PEOPLE_CONN_ID)
    return get_auth_manager().is_authorized_connection(method="PUT", details=details, user=user)


@router.get("/")
@router.get("/{file}")
def page(file: str = "") -> Response:
    """The page and its files."""
    if file not in FILES:
        raise HTTPException(404)
    name, media_type = FILES[file]
    content = (Path(__file__).parent / "files" / name).read_bytes()
    return Response(content, media_type=media_type)


def _next(wanted: Wanted, name: str) -> dict[str, Any]:
    question = review.next_question(Reviewer(name, wanted.screen), wanted.asked())
    return {"question": question, "progress": review.progress(wanted.asked(), name), "user": name}
