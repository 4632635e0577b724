"""Who sent a subject: Prolific, Amazon Mechanical Turk or Sona put an id of their own into the address that they open.

What to enter there, with the link of a shared invitation:

- Prolific, as "study URL", with parameters in the URL:
  `https://HOST/i/TOKEN?PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}`;
  in the study file, with the completion code that Prolific shows,
  `return_url = "https://app.prolific.com/submissions/complete?cc=CODE"`.
- Sona, as "study URL": `https://HOST/i/TOKEN?survey_code=%SURVEY_CODE%` (`id=%SURVEY_CODE%` works too); in the study
  file, in one line, its client-side completion URL: `return_url = "https://SCHOOL.sona-systems.com/`
  `webstudy_credit.aspx?experiment_id=123&credit_token=4e48f9b638a&survey_code={participant}"`.
- Mechanical Turk: a HIT whose page opens the link in a window of its own (none of our pages lets itself be framed) and
  hands on `workerId`, `assignmentId`, `hitId` and `turkSubmitTo`; the worker pastes the completion code.

The ids are kept in a table of their own, for payment. They are no passwords: who knows another participant's id and the
link can go on in their place, which is what lets a participant change computers.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import RefusalError
from app.models import Invite, Recruit, Study, Subject

Platform = Literal["prolific", "mturk", "sona"]

PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"
NAMES: dict[Platform, str] = {"prolific": "Prolific", "mturk": "Mechanical Turk", "sona": "Sona"}
# The first parameter is the participant; in Sona's manual it is called id, and by most who follow it survey_code.
PARAMETERS: dict[Platform, tuple[str, ...]] = {
    "prolific": ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID"),
    "mturk": ("workerId", "assignmentId", "hitId", "turkSubmitTo"),
    "sona": ("survey_code", "id"),
}
VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
LONGEST_ADDRESS = 255
OF_PLATFORM = re.compile(r"\{(participant|study|session)\}")


@dataclass(frozen=True)
class Recruitment:
    """What a platform's link says.

    Attributes:
        platform: that sent somebody.
        participant: the id that they have there; empty in a preview.
        parameters: the others, by the names that the platform gives them.
        is_preview: whether somebody only looks at a HIT that they have not accepted.
    """

    platform: Platform
    participant: str
    parameters: Mapping[str, str]
    is_preview: bool = False


def read(query: Iterable[tuple[str, str]]) -> Recruitment | None:
    """What the parameters of an address say of who sent somebody; None where no platform did.

    Raises:
        RefusalError: one of them cannot be what the platform sends.
    """
    known = {name for names in PARAMETERS.values() for name in names}
    given: dict[str, str] = {}
    for name, value in query:
        if name in known and given.setdefault(name, value) != value:
            facts = {"name": name, "first": repr(given[name][:40]), "second": repr(value[:40])}
            raise RefusalError("{name}: given twice, as {first} and {second}", 422, **facts)
    platform = next((one for one, names in PARAMETERS.items() if given.keys() & set(names[:2])), None)
    return None if platform is None else _of_platform(platform, given)


def find(db: Session, invite: Invite, who: Recruitment) -> Subject | None:
    """The subject who came before with this invitation and this id, at whichever computer."""
    query = select(Subject).join(Recruit, Recruit.subject_id == Subject.id).where(Recruit.invite_id == invite.id)
    return db.scalar(query.where(Recruit.platform == who.platform, Recruit.participant == who.participant))


def record(db: Session, invite: Invite, subject: Subject, who: Recruitment) -> None:
    """Keep who sent a new subject."""
    facts = {"platform": who.platform, "participant": who.participant, "parameters": dict(who.parameters)}
    db.add(Recruit(subject_id=subject.id, invite_id=invite.id, **facts))


def way_back(db: Session, subject: Subject, return_url: str | None) -> tuple[str, str] | None:
    """Where the last page leads: the address, and the name of the platform, or "" where none has sent the subject.

    There is no way back that would need an id of a platform which the subject has not come from.

    Args:
        db: its transaction.
        subject: who has finished.
        return_url: of the protocol.
    """
    recruit = db.scalar(select(Recruit).where(Recruit.subject_id == subject.id))
    if return_url is not None and (recruit is not None or not OF_PLATFORM.search(return_url)):
        return fill(return_url, recruit, subject.completion_code), "" if recruit is None else _name(recruit)
    # Amazon's own pages are the only ones that a parameter of an address may lead to.
    submit_to = "" if recruit is None else recruit.parameters.get("turkSubmitTo", "")
    return (submit_to, NAMES["mturk"]) if submit_to else None


def fill(return_url: str, recruit: Recruit | None, code: str) -> str:
    """A return address with {participant}, {study}, {session} and {code} filled in; other braces stay."""
    values = parts(recruit) | {"code": code}
    return re.sub(r"\{(participant|study|session|code)\}", lambda found: quote(values[found[1]], safe=""), return_url)


def parts(recruit: Recruit | None) -> dict[str, str]:
    """The participant's id, and what the platform calls its study (Amazon: HIT) and session (Amazon: assignment)."""
    parameters = {} if recruit is None else recruit.parameters
    return {
        "participant": "" if recruit is None else recruit.participant,
        "study": parameters.get("STUDY_ID") or parameters.get("hitId") or "",
        "session": parameters.get("SESSION_ID") or parameters.get("assignmentId") or "",
    }


def everybody(db: Session, study: Study) -> list[tuple[Recruit, Subject]]:
    """Who was sent to a study by a platform, in the order of their coming."""
    query = select(Recruit, Subject).join(Subject, Recruit.subject_id == Subject.id)
    found = db.execute(query.where(Subject.study_id == study.id).order_by(Recruit.id))
    return [(recruit, subject) for recruit, subject in found]


def _of_platform(platform: Platform, given: Mapping[str, str]) -> Recruitment:
    values = {name: given[name] for name in PARAMETERS[platform] if name in given}
    submit_to = values.pop("turkSubmitTo", "")
    for name, value in values.items():
        if not VALUE.fullmatch(value):
            facts = {"name": name, "value": repr(value[:40]), "platform": NAMES[platform]}
            raise RefusalError("{name}: {value} is no id of {platform}, which has to fill it in", 422, **facts)
    is_preview = values.get("assignmentId") == PREVIEW
    first, *others = PARAMETERS[platform]
    participant = values.pop(first, "") or (values.pop("id", "") if platform == "sona" else "")
    if not participant and not is_preview:
        there = ", ".join(values)
        raise RefusalError("{name}: missing from the address, which has {others}", 422, name=first, others=there)
    if _is_of_amazon(submit_to):
        values["turkSubmitTo"] = submit_to
    return Recruitment(platform, participant, {name: values[name] for name in others if name in values}, is_preview)


def _is_of_amazon(address: str) -> bool:
    """Whether an address leads to Mechanical Turk or its sandbox, and nowhere else."""
    of_amazon = re.fullmatch(r"https://([a-z0-9-]+\.)*mturk\.com(/[A-Za-z0-9/_.-]*)?", address)
    return bool(of_amazon) and len(address) <= LONGEST_ADDRESS


def _name(recruit: Recruit) -> str:
    return next((name for platform, name in NAMES.items() if platform == recruit.platform), "")
