"""`[protocol]` of a study file: how people are asked. What it leaves out is left out of a subject's session.

Rates and durations follow custom in subjective quality assessment: sessions of at most half an hour, random order,
dummy presentations first (ITU-R BT.500).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, ValidationInfo, field_validator, model_validator

from pipelines.study_methods import ID_PATTERN, Section, Whole

LANGUAGE_PATTERN = r"^[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?$"
REFERENCE_PATTERN = r"^(none|interpolation:(nearest|bilinear|bicubic|lanczos)|method:[A-Za-z0-9][A-Za-z0-9_.+-]*)$"
RETURN_PATTERN = r"^https://[^\s]+$"


def _words(value: Any) -> Any:
    """Of a union, pydantic tells what is wrong by every member of it; this tells it once."""
    texts = list(value.values()) if isinstance(value, dict) else [value]
    if not texts or not all(isinstance(one, str) for one in texts):
        raise ValueError(f"{value!r} is neither a text nor one for each language, {{en = '...', zh = '...'}}")
    if not all(one.strip() for one in texts):
        raise ValueError("the text is empty; write one, or remove it")
    wrong = [] if isinstance(value, str) else [key for key in value if not re.fullmatch(LANGUAGE_PATTERN, key)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a language, such as en or zh; correct the key")
    return value


Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN)]
# A text, or one for each language, such as {en = "Age", zh = "年龄"}.
Words = Annotated[str | dict[str, str], PlainValidator(_words)]
Rate = Annotated[float, Field(ge=0, le=0.5, strict=True)]
Display = Literal["side_by_side", "flip"]


def in_language(words: Words, language: str) -> str:
    """A text in a language; in the first one that there is where that is missing."""
    if isinstance(words, str):
        return words
    return words.get(language) or next(iter(words.values()))


class Question(Section):
    """What subjects are asked before they begin.

    Attributes:
        id: its name in tables.
        text: the question.
        kind: how it is answered: one of `options`, a whole number from `least` to `most`, or a line of text.
        options: to choose from.
        required: whether an answer must be given.
    """

    id: Annotated[str, Field(pattern=ID_PATTERN)]
    text: Words
    kind: Literal["choice", "number", "text"] = "choice"
    options: tuple[Words, ...] = ()
    least: Whole = 0
    most: Whole = 150
    required: bool = True

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        if (self.kind == "choice") != bool(self.options):
            raise ValueError("options: a question of kind choice needs them, and no other has any")
        if self.least > self.most:
            raise ValueError(f"least: {self.least} is more than most, which is {self.most}")
        return self


class Protocol(Section):
    """How people are asked; the defaults ask for nothing but consent, a device check, training and the trials.

    Attributes:
        languages: that subjects may choose from, the first one where their browser asks for none of them.
        consent: what subjects agree to; by default, a text of ours, and on the server an admin may change it.
        questions: asked once.
        device_check: whether screen, zoom and window are checked on a page of their own before the trials; on each
            trial they are checked in any case.
        phones: whether small touch screens are let in.
        acuity: whether visual acuity is screened with a chart of tumbling E.
        colour_vision: whether colour vision is screened with plates.
        training: trials with obvious answers and feedback, never counted.
        warm_up: ordinary trials at the start of a subject's first sitting, never counted.
        warm_up_later: likewise, of each later one.
        display: both images beside each other, or in the same place, where a key flips between them.
        reference: shown with them: "none", "interpolation:nearest" (or bilinear, bicubic, lanczos: the LR image
            enlarged), or "method:ID" (the output of a method).
        pan: whether images that do not fit are shown in windows that move together; otherwise the page waits for a
            larger window.
        zoom: integer factors that subjects may choose from; the first one is where a trial begins.
        not_sure: whether subjects may answer that they see no difference.
        undo: whether the last vote can be taken back.
        block: trials between two breaks.
        break_seconds: the least that a break lasts.
        sitting_minutes: after which a subject is asked to come back later.
        rest_minutes: the least between two sittings.
        gold_rate: trials with an obvious answer, for each trial that counts.
        identical_rate: trials that show one image twice, likewise.
        repeat_rate: trials that are shown again with sides swapped, likewise.
        repeat_distance: the fewest trials between a trial and its repetition.
        lease_minutes: how long trials that were handed out wait for a silent subject before others get their pairs too.
        fastest_ms: faster votes are flagged.
        return_url: where the last page leads; {participant}, {study}, {session} and {code} are filled in.
    """

    languages: tuple[Language, ...] = ("en", "zh")
    consent: Words | None = None
    questions: tuple[Question, ...] = ()
    device_check: bool = True
    phones: bool = False
    acuity: bool = False
    colour_vision: bool = False
    training: Whole = Field(default=4, ge=0, le=50)
    warm_up: Whole = Field(default=5, ge=0, le=50)
    warm_up_later: Whole = Field(default=3, ge=0, le=50)
    display: Display = "side_by_side"
    reference: str = Field(default="none", pattern=REFERENCE_PATTERN)
    pan: bool = False
    zoom: tuple[Annotated[int, Field(strict=True, ge=1, le=16)], ...] = (1,)
    not_sure: bool = False
    undo: bool = True
    block: Whole = Field(default=100, ge=1, le=1000)
    break_seconds: Whole = Field(default=30, ge=0, le=3600)
    sitting_minutes: Whole = Field(default=25, ge=1)
    rest_minutes: Whole = Field(default=15, ge=0)
    gold_rate: Rate = 0.0
    identical_rate: Rate = 0.0
    repeat_rate: Rate = 0.0
    repeat_distance: Whole = Field(default=20, ge=1)
    lease_minutes: Whole = Field(default=120, ge=1)
    fastest_ms: Whole = Field(default=200, ge=0)
    return_url: str | None = Field(default=None, pattern=RETURN_PATTERN)

    @field_validator("languages", "zoom", "questions")
    @classmethod
    def _are_given_once(cls, given: Sequence[Any], info: ValidationInfo) -> Sequence[Any]:
        if not given and info.field_name != "questions":
            raise ValueError("the list is empty; give one at least, or remove it")
        names = [one.id if isinstance(one, Question) else str(one) for one in given]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{repeated[0]} is given more than once")
        return given

    @model_validator(mode="after")
    def _texts_are_in_every_language(self) -> Self:
        texts: dict[str, Words | None] = {"consent": self.consent}
        for question in self.questions:
            texts[f"questions: {question.id}: text"] = question.text
            texts |= {f"questions: {question.id}: option {n}": words for n, words in enumerate(question.options, 1)}
        for key, words in texts.items():
            if isinstance(words, Mapping) and (missing := [name for name in self.languages if name not in words]):
                raise ValueError(f"{key}: not in {missing[0]!r}, which `languages` offers; add it")
        return self

    @property
    def reference_method(self) -> str | None:
        """The method whose outputs are the reference, if one is."""
        kind, _, name = self.reference.partition(":")
        return name if kind == "method" else None
