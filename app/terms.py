"""The terms of a study: versions of its protocol and of what subjects agree to. A version never changes."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import models
from app.models import Consent, Study
from pipelines.errors import DiscernError
from pipelines.protocol import Protocol

CONSENTS = {
    "en": """\
You will see pairs of images, and choose in each pair the one that looks better to you. There are no right answers.

Your choices, the time they take, and the size of your window and screen are stored, and so is what you answer or do \
on the pages before them. Your name and your address are not. If a recruitment service has sent you, the id that you \
have there is kept apart from your choices, for your payment or credit alone.

Taking part is voluntary. You may stop at any time by closing the page; the choices made until then are kept.""",
    "zh": """\
您将看到一对一对的图像，请在每一对中选出您觉得更好看的一幅。答案没有对错之分。

我们会保存您的选择、作出选择所用的时间、窗口和屏幕的大小，以及您在此前各页面上的回答和操作；不会保存您的姓名和地址。\
如果您由招募平台介绍而来，您在该平台上的编号将与您的选择分开保存，仅用于支付报酬或计算学分。

参加完全自愿。您可以随时关闭页面退出；在此之前所作的选择会保留。""",
}


def newest(db: Session, study: Study) -> models.Protocol:
    """The version of the protocol that new subjects go by."""
    query = select(models.Protocol).where(models.Protocol.study_id == study.id)
    return db.scalars(query.order_by(models.Protocol.id.desc()).limit(1)).one()


def protocol(db: Session, study: Study) -> Protocol:
    """What new subjects go by."""
    return Protocol.model_validate(newest(db, study).settings)


def set_protocol(db: Session, study: Study, wanted: Protocol) -> bool:
    """Let new subjects go by a protocol, and agree to its consent where that is another; returns whether it is new."""
    query = select(models.Protocol.settings).where(models.Protocol.study_id == study.id)
    settings = db.scalar(query.order_by(models.Protocol.id.desc()).limit(1))
    # Not the settings as they were written: a later version of the code may know further ones, at their defaults.
    earlier = None if settings is None else Protocol.model_validate(settings)
    is_new = earlier != wanted
    if is_new:
        db.add(models.Protocol(study_id=study.id, settings=wanted.model_dump(mode="json")))
        db.flush()
    rewritten = earlier is not None and wanted.consent not in (None, earlier.consent)
    for language, text in _first_texts(wanted).items():
        if rewritten or _newest_in(db, study, language) is None:
            db.add(Consent(study_id=study.id, language=language, text=text.strip()))
    db.flush()
    return is_new


def consent(db: Session, study: Study, language: str | None = None) -> Consent:
    """What subjects agree to at present: in a language, or else in the first of the protocol's that has a text.

    Its `language` tells which one it is.
    """
    offered = protocol(db, study).languages
    texts = (_newest_in(db, study, one) for one in (language, *offered) if one is not None)
    query = select(Consent).where(Consent.study_id == study.id).order_by(Consent.id.desc()).limit(1)
    return next(filter(None, texts), None) or db.scalars(query).one()


def consents(db: Session, study: Study) -> dict[str, str]:
    """The texts in the protocol's languages, in their order; an empty one where there is none yet."""
    found = {language: _newest_in(db, study, language) for language in protocol(db, study).languages}
    return {language: "" if row is None else row.text for language, row in found.items()}


def set_consent(db: Session, study: Study, text: str, language: str | None = None) -> None:
    """Ask for another consent from now on; the earlier text stays for those who agreed to it.

    Args:
        db: its transaction.
        study: whose subjects are asked.
        text: with an empty line between paragraphs.
        language: that it is in; by default, the protocol's first one.

    Raises:
        DiscernError: the text is empty, or the protocol does not offer the language.
    """
    offered = protocol(db, study).languages
    language = language or offered[0]
    if language not in offered:
        raise DiscernError(f"consent: the protocol does not offer {language!r}; it offers {', '.join(offered)}")
    if not text.strip():
        raise DiscernError("consent: the text is empty; subjects must know what they agree to")
    current = _newest_in(db, study, language)
    if current is None or text.strip() != current.text:
        db.add(Consent(study_id=study.id, language=language, text=text.strip()))
        db.flush()


def _first_texts(wanted: Protocol) -> dict[str, str]:
    """What is asked before an admin changes it."""
    if isinstance(wanted.consent, str):
        return {wanted.languages[0]: wanted.consent}
    texts: Mapping[str, str] = wanted.consent or CONSENTS
    return {one: texts[one] for one in wanted.languages if one in texts} or {"en": CONSENTS["en"]}


def _newest_in(db: Session, study: Study, language: str) -> Consent | None:
    query = select(Consent).where(Consent.study_id == study.id, Consent.language == language)
    return db.scalar(query.order_by(Consent.id.desc()).limit(1))
