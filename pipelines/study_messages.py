"""What is wrong with a study file, in words: one line for each mistake, with the key as it stands in the file."""

import difflib
from collections.abc import Mapping

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pipelines.protocol import LANGUAGE_PATTERN, REFERENCE_PATTERN, RETURN_PATTERN, Question
from pipelines.study_methods import ID_PATTERN, KINDS, SHA256_PATTERN

Location = tuple[int | str, ...]

_IN_WORDS = {
    ID_PATTERN: "an id: letters, digits and _ . + - alone, a letter or digit first",
    SHA256_PATTERN: "a sha256: 64 hexadecimal digits, in small letters",
    LANGUAGE_PATTERN: "a language, such as en or zh",
    REFERENCE_PATTERN: "none, interpolation:nearest (bilinear, bicubic, lanczos), or method: and the id of one",
    RETURN_PATTERN: "an address that begins with https://",
}
LONGEST_VALUE = 100  # characters of a value that are shown


def describe(problem: ErrorDetails, sections: Mapping[str, type[BaseModel]]) -> str:
    """One line: the key, what is wrong, and what came.

    Args:
        problem: one of pydantic's.
        sections: the model of each section of the file, the whole file's under "".
    """
    key = ".".join(_key_parts(problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{_did_you_mean(problem['loc'], sections)}; correct or remove it"
        case "missing":
            return f"{key}: missing; add it"
        case "union_tag_invalid":
            return f"{key}.kind: unknown kind {_shown(problem['input'].get('kind'))}; choose {_kinds()}"
        case "union_tag_not_found":
            return f"{key}.kind: missing; add kind = {_kinds()}, or preset = an id that `discern methods` lists"
        case "model_type":
            return f"{key}: {_shown(problem['input'])} is not a table; write it as [{_table(problem['loc'])}]"
        case "tuple_type":
            return f"{key}: {_shown(problem['input'])} is not a list; write it as [...]"
        case "string_pattern_mismatch":
            return f"{key}: {_shown(problem['input'])} is not {_IN_WORDS[problem['ctx']['pattern']]}; correct the value"
        case "value_error":
            return f"{key}: {message}" if key else message
        case _:
            return f"{key}: {message[0].lower()}{message[1:]}, got {_shown(problem['input'])}; correct the value"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _table(location: Location) -> str:
    """The heading of a section, or, in brackets of its own, of one in a list of tables."""
    name = ".".join(step for step in location if isinstance(step, str))
    return f"[{name}]" if isinstance(location[-1], int) else name


def _kinds() -> str:
    *most, last = map(repr, KINDS)
    return f"{', '.join(most)} or {last}"


def _key_parts(location: Location) -> list[str]:
    """`("methods", 2, "folder", "pattern")` -> `["methods[2]", "pattern"]`: list indices joined, union tags dropped."""
    parts: list[str] = []
    for position, step in enumerate(location):
        if isinstance(step, int):
            parts[-1] += f"[{step}]"
        elif not (position == 2 and location[0] == "methods"):
            parts.append(step)
    return parts


def _did_you_mean(location: Location, sections: Mapping[str, type[BaseModel]]) -> str:
    if len(location) == 1:
        model = sections[""]
    elif location[0] == "methods":
        model = KINDS[str(location[2])]
    elif location[:2] == ("protocol", "questions"):
        model = Question
    else:
        model = sections[str(location[0])]
    close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
