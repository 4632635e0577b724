"""What is filled in on the page of questions: read, checked, and made ready to be stored."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipelines.protocol import Protocol, Question, in_language

LONGEST_TEXT = 500
SOURCE = "en"

# Why an answer cannot be taken; the page has the words.
Problem = Literal["missing", "not_an_option", "not_a_number", "out_of_range", "too_long", "unreadable"]
Value = str | int


@dataclass
class Filled:
    """What was filled in.

    Attributes:
        entered: as it was, by question, to be shown again.
        answers: that can be taken: an option's text, a number, or a text; none for what was left empty.
        problems: with those that cannot.
    """

    entered: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Value] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)


class _NotTakenError(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def read(protocol: Protocol, form: Mapping[str, object]) -> Filled:
    """Read a form whose fields are called as the questions are.

    Of a choice the form says the option's number, from 0; what is stored is the option's text in English, or in the
    language that it is given in first, whichever language the subject reads.
    """
    filled = Filled()
    for question in protocol.questions:
        sent = form.get(question.id, "")
        entered = sent.strip() if isinstance(sent, str) else ""
        filled.entered[question.id] = entered
        try:
            value = _value(question, entered)
        except _NotTakenError as refused:
            filled.problems[question.id] = refused.problem
        else:
            if value is not None:
                filled.answers[question.id] = value
    return filled


def _value(question: Question, entered: str) -> Value | None:
    if not entered:
        if question.required:
            raise _NotTakenError("missing")
        return None
    match question.kind:
        case "choice":
            return _option(question, entered)
        case "number":
            return _number(question, entered)
        case "text":
            return _text(entered)


def _option(question: Question, entered: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}", entered) or int(entered) >= len(question.options):
        raise _NotTakenError("not_an_option")
    return in_language(question.options[int(entered)], SOURCE)


def _number(question: Question, entered: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,12}", entered):  # digits of any script, as keyboards of some languages write them
        raise _NotTakenError("not_a_number")
    if not question.least <= int(entered) <= question.most:
        raise _NotTakenError("out_of_range")
    return int(entered)


def _text(entered: str) -> str:
    if len(entered) > LONGEST_TEXT:
        raise _NotTakenError("too_long")
    if "\0" in entered or any(0xD800 <= ord(letter) <= 0xDFFF for letter in entered):
        raise _NotTakenError("unreadable")  # no database can hold it
    return entered
