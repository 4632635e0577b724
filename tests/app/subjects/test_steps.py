"""The steps over HTTP: what each page shows and stores, what it refuses, and that everybody goes on where they were."""

import json
import re
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app import studies, terms
from app.models import Answer, LoginSession, Subject, Vote
from app.security import sessions
from app.subjects import answers, flow, questions, screening
from pipelines.protocol import Protocol
from tests.app import seats
from tests.app.conftest import Site, next_trials, vote_on

OFF = {"device_check": False, "training": 0}
QUESTIONS = [
    {"id": "age", "text": {"en": "How old are you?", "zh": "您的年龄？"}, "kind": "number", "least": 18, "most": 99},
    {
        "id": "gender",
        "text": {"en": "Gender", "zh": "性别"},
        "options": [{"en": "female", "zh": "女"}, {"en": "male", "zh": "男"}, {"en": "another", "zh": "其他"}],
    },
    {"id": "field", "text": "What do you work in?", "kind": "text", "required": False},
]
DEVICE: dict[str, Any] = {
    "device_pixel_ratio": 1.25,
    "page_zoom": 1.0,
    "window_width": 1440,
    "window_height": 900,
    "screen_width": 1536,
    "screen_height": 960,
    "colour_depth": 24,
    "gamut": "srgb",
    "touch_points": 0,
    "coarse_pointer": False,
    "frame_ms": 16.7,
    "pixels": "verifiable",
    "storage": True,
    "notes": ["zoom"],
    "browser": "Firefox 140",
}
LETTER = {"logmar": 0.48, "stroke_px": 2, "direction": "up", "answer": "none", "ms": 900.5}
ACUITY: dict[str, Any] = {
    "px_per_mm": 3.8,
    "sized": True,
    "distance_cm": 60,
    "device_pixel_ratio": 1,
    "logmar": None,
    "limit_logmar": 0.18,
    "letters": [LETTER],
}
PLATES = [
    {"kind": "control", "direction": "up", "answer": "up", "ms": 500},
    {"kind": "protan", "direction": "left", "answer": "none", "ms": 800},
    {"kind": "protan", "direction": "left", "answer": "left", "ms": 800},
    {"kind": "deutan", "direction": "down", "answer": "up", "ms": 800},
]
COLOUR: dict[str, Any] = {"strength": 0.055, "gamut": "p3", "plates": PLATES}
GOOD = {"device": DEVICE, "acuity": ACUITY, "colour-vision": COLOUR}


@pytest.fixture
def take(site: Site) -> Callable[..., tuple[httpx.Client, int]]:
    """A new subject who goes by a protocol, and their browser."""

    def take(language: str = "en", **settings: Any) -> tuple[httpx.Client, int]:
        client = site.client()
        with site.sessions.begin() as db:
            subject = seats.take(db, **(OFF | settings))
            subject.language = language
            seats.sit(client, db, subject)
            return client, subject.id

    return take


def stored(site: Site, subject: int) -> list[tuple[str, dict[str, Any]]]:
    with site.sessions() as db:
        rows = db.scalars(select(Answer).where(Answer.subject_id == subject).order_by(Answer.id))
        return [(row.step, row.content) for row in rows]


def where(site: Site, client: httpx.Client) -> str:
    """The page at which a browser's subject goes on."""
    with site.sessions() as db:
        token = sessions.digest(client.cookies[sessions.SUBJECT])
        browser = db.get_one(LoginSession, token)
        return flow.next_page(db, db.get_one(Subject, browser.subject_id), browser)


def post(client: httpx.Client, step: str, **changes: Any) -> httpx.Response:
    return client.post(f"/api/subject/steps/{step}", json=GOOD[step] | changes)


def test_a_whole_session_goes_through_all_steps_in_order(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(questions=QUESTIONS, device_check=True, acuity=True, colour_vision=True, training=2)
    assert where(site, client) == "/questions"
    assert client.post("/questions", data={"age": "23", "gender": "0"}).headers["location"] == "/session"
    assert where(site, client) == "/device"
    assert post(client, "device").json() == {"stored": True, "next": "/acuity"}
    assert post(client, "acuity").json() == {"stored": True, "next": "/colour-vision"}
    assert post(client, "colour-vision").json() == {"stored": True, "next": "/instructions"}
    assert client.post("/instructions").headers["location"] == "/session"
    assert where(site, client) == "/trial"
    assert [step for step, _ in stored(site, subject)] == [
        "questions",
        "device",
        "acuity",
        "colour_vision",
        "instructions",
    ]


def test_pages_number_the_steps_that_the_protocol_has(take: Callable[..., Any]) -> None:
    client, _ = take(questions=QUESTIONS, acuity=True)
    assert "Step 1 of 2" in client.get("/questions").text
    client.post("/questions", data={"age": "23", "gender": "0"})
    assert "Step 2 of 2" in client.get("/acuity").text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_speak_the_language_of_the_subject(take: Callable[..., Any], language: str) -> None:
    client, _ = take(language, questions=QUESTIONS, device_check=True, acuity=True, colour_vision=True, training=2)
    texts = [client.get("/questions").text]
    client.post("/questions", data={"age": "23", "gender": "0"})
    for step in ("device", "acuity", "colour-vision"):
        texts.append(client.get(f"/{step}").text)
        post(client, step)
    texts.append(client.get("/instructions").text)
    headings = {
        "en": ["A few questions about you", "Your screen", "Small letters", "Coloured dots", "What you will do"],
        "zh": ["关于您的几个问题", "您的屏幕", "小字母", "彩色圆点", "您要做什么"],
    }
    for text, heading in zip(texts, headings[language], strict=True):
        assert f'<html lang="{language}"' in text
        assert heading in text
    assert ("您的年龄？" in texts[0]) == (language == "zh")


def test_a_page_out_of_turn_leads_to_where_the_subject_is(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(questions=QUESTIONS, device_check=True, acuity=True, training=1)
    for path in ("/device", "/acuity", "/colour-vision", "/instructions"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/session")
    for step in ("device", "acuity", "colour-vision"):
        assert post(client, step).json() == {"stored": False, "next": "/questions"}
    assert client.post("/instructions").headers["location"] == "/session"
    assert stored(site, subject) == []
    client.post("/questions", data={"age": "23", "gender": "0"})
    assert client.get("/questions").headers["location"] == "/session"
    assert client.post("/questions", data={"age": "77", "gender": "1"}).headers["location"] == "/session"
    assert [content for _, content in stored(site, subject)] == [{"age": 23, "gender": "female"}]


def test_nobody_gets_in_without_a_session(site: Site) -> None:
    client = site.client()
    for path in ("/questions", "/device", "/acuity", "/colour-vision", "/instructions"):
        assert client.get(path).status_code == 401
    for step in GOOD:
        assert post(client, step).status_code == 401
    assert client.post("/questions", data={}).status_code == 401


def test_answers_are_stored_in_english_whatever_the_language(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take("zh", questions=QUESTIONS)
    client.post("/questions", data={"age": "２３", "gender": "2", "field": " 摄影 "})
    assert stored(site, subject) == [("questions", {"age": 23, "gender": "another", "field": "摄影"})]


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ({"age": ""}, "Please answer this question."),
        ({"age": "   "}, "Please answer this question."),
        ({"age": "17"}, "Please write a number from 18 to 99."),
        ({"age": "100"}, "Please write a number from 18 to 99."),
        ({"age": "-20"}, "Please write a number from 18 to 99."),
        ({"age": "twenty"}, "Please write a whole number, in digits."),
        ({"age": "20.5"}, "Please write a whole number, in digits."),
        ({"age": "1" * 5000}, "Please write a whole number, in digits."),
        ({"gender": ""}, "Please choose one of these."),
        ({"gender": "3"}, "Please answer this question again."),
        ({"gender": "female"}, "Please answer this question again."),
        ({"gender": "-1"}, "Please answer this question again."),
        ({"field": "x" * 501}, "Please write a shorter text."),
        ({"field": "a\0b"}, "Please answer this question again."),
    ],
)
def test_a_wrong_answer_gets_one_message_beside_it_and_the_others_are_kept(
    site: Site, take: Callable[..., Any], sent: dict[str, str], problem: str
) -> None:
    client, subject = take(questions=QUESTIONS)
    good = {"age": "23", "gender": "1", "field": "photography"}
    page = client.post("/questions", data=good | sent)
    assert page.status_code == 422
    assert re.findall(r'<p class="problem" id="([^"]+)">\s*(.*?)\s*</p>', page.text, re.DOTALL) == [
        (f"{next(iter(sent))}-problem", problem)
    ]
    assert "1 answer still needs a look" in page.text
    assert page.text.count('aria-invalid="true"') == 1
    if "field" not in sent:
        assert 'value="photography"' in page.text
    if "gender" not in sent:
        assert re.search(r'value="1" checked', page.text)
    assert stored(site, subject) == []
    assert client.post("/questions", data=good).status_code == 303
    assert len(stored(site, subject)) == 1


def test_what_is_entered_is_shown_as_text(take: Callable[..., Any]) -> None:
    client, _ = take(questions=QUESTIONS)
    page = client.post("/questions", data={"field": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "2 answers still need a look" in page


def test_optional_questions_may_be_left_empty_and_unknown_fields_are_not_stored(
    site: Site, take: Callable[..., Any]
) -> None:
    client, subject = take(questions=QUESTIONS)
    client.post("/questions", data={"age": "23", "gender": "0", "field": "", "other": "x"})
    assert stored(site, subject) == [("questions", {"age": 23, "gender": "female"})]


def test_a_file_in_place_of_an_answer_is_no_answer(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(questions=QUESTIONS)
    answer = client.post("/questions", files={"age": ("age.txt", b"23")})
    assert answer.status_code in (400, 422)
    assert stored(site, subject) == []


def test_an_option_without_english_is_stored_in_its_first_language() -> None:
    protocol = Protocol.model_validate(
        {"languages": ["zh"], "questions": [{"id": "a", "text": {"zh": "?"}, "options": [{"zh": "是"}, {"zh": "否"}]}]}
    )
    assert questions.read(protocol, {"a": "1"}).answers == {"a": "否"}


def test_another_computer_is_checked_anew_and_asked_nothing_else_again(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(questions=QUESTIONS, device_check=True, training=1)
    client.post("/questions", data={"age": "23", "gender": "0"})
    post(client, "device")
    client.post("/instructions")
    assert where(site, client) == "/trial"
    elsewhere = site.client()
    with site.sessions.begin() as db:
        seats.sit(elsewhere, db, db.get_one(Subject, subject))
    assert where(site, elsewhere) == "/device"
    assert post(elsewhere, "device", window_width=1000).json() == {"stored": True, "next": "/trial"}
    assert where(site, client) == "/trial"
    widths = [content["window_width"] for step, content in stored(site, subject) if step == "device"]
    assert widths == [1440, 1000]


def test_a_step_that_is_sent_twice_at_once_is_stored_once(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(device_check=True, acuity=True)
    for step in ("device", "acuity"):
        barrier, results = Barrier(4), []

        def send(step: str = step, barrier: Barrier = barrier, results: list[Any] = results) -> None:
            with httpx.Client(base_url=site.url, cookies=client.cookies, trust_env=False, timeout=30) as own:
                barrier.wait()
                results.append(post(own, step).json())

        threads = [Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(result["stored"] for result in results) == [False, False, False, True]
    assert [step for step, _ in stored(site, subject)] == ["device", "acuity"]


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        ("device", {"device_pixel_ratio": 0}),
        ("device", {"window_width": -1}),
        ("device", {"screen_height": 10**9}),
        ("device", {"pixels": "perhaps"}),
        ("device", {"browser": "Mozilla/5.0 (X11; Linux x86_64) Gecko"}),
        ("device", {"notes": ["x" * 50]}),
        ("device", {"notes": ["a"] * 50}),
        ("device", {"gamut": "huge"}),
        ("acuity", {"letters": []}),
        ("acuity", {"letters": [LETTER] * 500}),
        ("acuity", {"letters": [LETTER | {"answer": "north"}]}),
        ("acuity", {"letters": [LETTER | {"stroke_px": 0}]}),
        ("acuity", {"logmar": 50}),
        ("acuity", {"px_per_mm": 0}),
        ("colour-vision", {"plates": []}),
        ("colour-vision", {"plates": [PLATES[0] | {"kind": "tritan"}]}),
        ("colour-vision", {"strength": 2}),
    ],
)
def test_facts_out_of_bounds_are_refused(
    site: Site, take: Callable[..., Any], step: str, changes: dict[str, Any]
) -> None:
    client, subject = take(
        device_check=step == "device", acuity=step == "acuity", colour_vision=step == "colour-vision"
    )
    assert post(client, step, **changes).status_code == 422
    assert stored(site, subject) == []
    assert post(client, step).json()["stored"]


def test_what_is_stored_of_a_device_tells_nobody_who_sits_there(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(device_check=True)
    client.headers["User-Agent"] = "Distinguishable/7.0"
    post(client, "device", user_agent="Distinguishable/7.0", address="127.0.0.1")
    ((_, content),) = stored(site, subject)
    assert content == DEVICE


def test_the_plates_are_counted_by_kind_and_turn_nobody_away(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(colour_vision=True)
    assert post(client, "colour-vision").json() == {"stored": True, "next": "/trial"}
    ((_, content),) = stored(site, subject)
    assert content["right"] == {
        "control": {"shown": 1, "right": 1},
        "protan": {"shown": 2, "right": 1},
        "deutan": {"shown": 1, "right": 0},
    }
    assert content["plates"] == PLATES


def test_no_acuity_at_all_turns_nobody_away(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(acuity=True)
    assert post(client, "acuity").json() == {"stored": True, "next": "/trial"}
    ((_, content),) = stored(site, subject)
    assert content == ACUITY


def test_an_answer_after_a_long_absence_loses_no_screening(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(acuity=True)
    letters = [LETTER | {"ms": 9 * 3_600_000}]
    assert post(client, "acuity", letters=letters).json()["stored"]
    ((_, content),) = stored(site, subject)
    assert content["letters"] == letters


def test_the_dots_follow_from_the_subject_and_do_not_tell_the_seed_of_the_trials(take: Callable[..., Any]) -> None:
    client, _ = take(colour_vision=True)
    pages = [re.findall(r'data-seed="(\d+)"', client.get("/colour-vision").text) for _ in range(2)]
    assert pages[0] == pages[1] == [str(screening.plates_seed(7))]
    assert len({screening.plates_seed(seed) for seed in range(100)}) == 100
    assert all(0 <= screening.plates_seed(seed) < 2**32 for seed in range(100))


def test_the_device_page_knows_the_largest_images_and_how_they_are_shown(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(device_check=True, display="flip", pan=True, phones=True)
    with site.sessions() as db:
        width, height = answers.largest_size(db, db.get_one(Subject, subject))
    page = client.get("/device").text
    assert f'data-width="{width}" data-height="{height}">' in page
    known = json.loads(re.findall(r'id="protocol">(.+)</script>', page)[0])
    assert known.items() >= {"display": "flip", "pan": True, "phones": True, "reference": None}.items()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"not_sure": True}, "you see no difference"),
        ({"undo": True}, "take back your last choice"),
        ({"display": "flip"}, "switch between the two images"),
        ({"pan": True}, "larger than their windows"),
        ({"zoom": [1, 2]}, "enlarge both images"),
        ({"reference": "interpolation:bicubic"}, "look at the reference"),
    ],
)
def test_the_instructions_say_what_the_protocol_has_and_nothing_else(
    take: Callable[..., Any], settings: dict[str, Any], words: str
) -> None:
    plain = {"training": 2, "undo": False}
    assert words in take(**(plain | settings))[0].get("/instructions").text
    assert words not in take(**plain)[0].get("/instructions").text


def test_the_instructions_announce_training_trials_and_breaks(take: Callable[..., Any]) -> None:
    client, _ = take(training=2, kinds=["test"] * 5, block=3)
    page = client.get("/instructions").text
    assert "In 2 easy comparisons" in page
    assert "There are 5 comparisons, with a break after every 3" in page
    assert "a break" not in take(training=1, kinds=["test"])[0].get("/instructions").text


def test_who_has_finished_is_asked_nothing(site: Site, take: Callable[..., Any]) -> None:
    client, subject = take(questions=QUESTIONS, kinds=["test"])
    with site.sessions.begin() as db:
        one = db.get_one(Subject, subject)
        one.voted = one.total
    assert where(site, client) == "/questions"  # a trial still waits for its vote
    with site.sessions.begin() as db:
        (trial,) = seats.trials(db, db.get_one(Subject, subject))
        db.add(Vote(trial_id=trial.id, **seats.FACTS))
    assert where(site, client) == "/thanks"


def test_no_trial_is_handed_out_before_the_steps_whoever_asks(site: Site, take: Callable[..., Any]) -> None:
    client, _ = take(device_check=True, training=0, acuity=False, colour_vision=False)
    early = client.post("/api/subject/trials", json={})
    assert (early.status_code, early.json()["detail"]) == (409, "a step before the trials is not done: /device")
    post(client, "device")
    assert client.post("/api/subject/trials", json={}).json()["trials"]


def test_a_study_that_closes_lets_those_go_who_have_no_trial_left(site: Site) -> None:
    with site.sessions.begin() as db:
        settings = Protocol(device_check=False, training=0, warm_up=0, warm_up_later=0, block=5, break_seconds=0)
        terms.set_protocol(db, studies.find(db, site.study), settings)
    client = site.subject()
    for trial in next_trials(client, 5):
        vote_on(client, trial)
    with site.sessions.begin() as db:
        studies.find(db, site.study).state = "closed"
    assert where(site, client) == "/thanks"
    page = client.get("/thanks").text
    assert "You compared 5 pairs" in page
    assert "before all 12 of your pairs were shown" in page
