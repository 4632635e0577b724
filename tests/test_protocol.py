"""`[protocol]` of a study file: defaults, what is refused with one clear line, and the example that `init` writes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import study as studies
from pipelines.protocol import Protocol, in_language
from pipelines.study import StudyError

MakeStudy = Callable[..., Path]
TEMPLATE = Path(__file__).parents[1] / "templates" / "study.toml"
QUESTION = '[[protocol.questions]]\nid = "age"\n'


def test_the_example_shows_every_setting_and_its_default(make_study: MakeStudy) -> None:
    section = TEMPLATE.read_text(encoding="utf-8").partition("# [protocol]")[2].partition("# [execution]")[0]
    lines = [
        "[protocol]",
        *(line.removeprefix("# ") for line in section.splitlines()[1:] if not line.startswith("#  ")),
    ]
    shown = studies.load(make_study(extra="\n".join(lines))).protocol
    assert shown.model_fields_set == set(Protocol.model_fields)
    examples = {"consent", "questions", "return_url"}
    assert shown.model_dump(exclude=examples) == Protocol().model_dump(exclude=examples)
    (question,) = shown.questions
    assert in_language(question.text, "zh") == "您的年龄？"
    assert in_language(question.options[0], "zh") == "18-29"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("consent = 3", "protocol.consent: 3 is neither a text nor one for each language"),
        ('consent = " "', "protocol.consent: the text is empty"),
        ('consent = {en = "I agree"}', "protocol: consent: not in 'zh', which `languages` offers; add it"),
        ('consent = {EN = "x", zh = "y"}', "protocol.consent: 'EN' is not a language, such as en or zh"),
        ('languages = ["english"]', "protocol.languages[0]: 'english' is not a language, such as en or zh"),
        ("languages = []", "protocol.languages: the list is empty; give one at least"),
        ('languages = ["en", "en"]', "protocol.languages: en is given more than once"),
        ("zoom = [0]", "protocol.zoom[0]: input should be greater than or equal to 1, got 0"),
        ("zoom = [1, 1]", "protocol.zoom: 1 is given more than once"),
        ("traning = 3", "protocol.traning: unknown key (did you mean 'training'?)"),
        ("gold_rate = 0.9", "protocol.gold_rate: input should be less than or equal to 0.5, got 0.9"),
        ('reference = "bicubic"', "protocol.reference: 'bicubic' is not none, interpolation:nearest"),
        ('reference = "method:other"', "protocol.reference: the study has no method 'other'; it has nearest, bicubic"),
        ('return_url = "http://x"', "protocol.return_url: 'http://x' is not an address that begins with https://"),
        ('questions = ["age"]', "protocol.questions[0]: 'age' is not a table; write it as [[protocol.questions]]"),
        (f'{QUESTION}options = ["a"]', "protocol.questions[0].text: missing; add it"),
        (f'{QUESTION}text = 3\noptions = ["a"]', "protocol.questions[0].text: 3 is neither a text nor one for each"),
        (f'{QUESTION}text = "Age"\noptions = [3]', "protocol.questions[0].options[0]: 3 is neither a text"),
        (f'{QUESTION}text = "Age"', "protocol.questions[0]: options: a question of kind choice needs them"),
        (
            f'{QUESTION}text = "Age"\noption = ["a"]\noptions = ["a"]',
            "protocol.questions[0].option: unknown key (did you mean 'options'?)",
        ),
        (
            f'{QUESTION}text = "Age"\nkind = "number"\nleast = 9\nmost = 3',
            "protocol.questions[0]: least: 9 is more than most, which is 3",
        ),
        (
            f'{QUESTION}text = "Age"\nkind = "text"\n' * 2,
            "protocol.questions: age is given more than once",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(make_study: MakeStudy, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as caught:
        studies.read(make_study(extra=f"\n[protocol]\n{text}\n"))
    assert len(str(caught.value).splitlines()) == 1


def test_a_protocol_comes_back_from_what_is_stored_of_it() -> None:
    protocol = Protocol.model_validate(
        {"consent": {"en": "a", "zh": "b"}, "questions": [{"id": "age", "text": "Age", "options": ["1", "2"]}]}
    )
    assert Protocol.model_validate(protocol.model_dump(mode="json")) == protocol
    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol


def test_how_people_are_asked_changes_nothing_that_is_made(make_study: MakeStudy) -> None:
    plain = studies.read(make_study())
    assert studies.read(make_study(extra="\n[protocol]\nblock = 7\n")).fingerprint == plain.fingerprint
