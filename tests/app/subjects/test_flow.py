"""The order of the steps: each once, whatever the protocol asks for and wherever a subject comes back."""

from hypothesis import given
from hypothesis import strategies as st

from app.subjects import flow
from app.subjects.flow import Step
from pipelines.protocol import Protocol, Question

ORDER = ["questions", "device", "acuity", "colour_vision", "instructions"]
QUESTION = Question(id="age", text="How old are you?", kind="number")

protocols = st.builds(
    Protocol,
    questions=st.sampled_from([(), (QUESTION,)]),
    device_check=st.booleans(),
    acuity=st.booleans(),
    colour_vision=st.booleans(),
    training=st.sampled_from([0, 1, 4]),
)
done_sets = st.frozensets(st.sampled_from(ORDER))


def on(protocol: Protocol) -> set[str]:
    asked = {
        "questions": protocol.questions != (),
        "device": protocol.device_check,
        "acuity": protocol.acuity,
        "colour_vision": protocol.colour_vision,
        "instructions": protocol.training > 0,
    }
    return {step for step, is_on in asked.items() if is_on}


def do(step: Step, done: set[str], checked: bool) -> tuple[set[str], bool]:
    return done | {step}, checked or step == "device"


@given(protocols, done_sets, st.booleans())
def test_every_step_that_is_on_and_not_done_comes_once_in_order_and_then_the_trials(
    protocol: Protocol, done: frozenset[str], checked: bool
) -> None:
    missing = on(protocol) - (done - {"device"}) - ({"device"} if checked else set())
    taken: list[Step] = []
    now, is_checked = set(done), checked
    while (step := flow.next_step(protocol, now, device_checked=is_checked, is_over=False)) != "trial":
        taken.append(step)
        now, is_checked = do(step, now, is_checked)
        assert len(taken) <= len(ORDER)
    assert taken == [step for step in ORDER if step in missing]


@given(protocols, done_sets, st.booleans())
def test_whoever_has_finished_is_asked_nothing_more(protocol: Protocol, done: frozenset[str], checked: bool) -> None:
    assert flow.next_step(protocol, done, device_checked=checked, is_over=True) == "thanks"


@given(protocols)
def test_another_computer_is_asked_for_its_device_and_nothing_else(protocol: Protocol) -> None:
    at_another = flow.next_step(protocol, set(ORDER), device_checked=False, is_over=False)
    assert at_another == ("device" if protocol.device_check else "trial")


@given(protocols)
def test_the_steps_of_a_protocol_are_those_that_are_on(protocol: Protocol) -> None:
    assert list(flow.steps(protocol)) == [step for step in ORDER if step in on(protocol)]


def test_every_step_has_a_page() -> None:
    assert set(flow.PATHS) == {*ORDER, "trial", "thanks"}
    assert len(set(flow.PATHS.values())) == len(flow.PATHS)
