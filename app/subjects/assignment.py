"""Which trials make up a subject's next block, on which sides, in which order: pure functions of what was before.

What is asked of an assignment can conflict. What stands earlier here comes first:

1. No pair comes twice for a subject, and the trials handed out of a pair, first method on the left and on the right,
   differ by at most one. Where they do not differ, the side with fewer votes and trials that await one is next: so
   trials that were given up are made up for.
2. Pairs with the fewest votes and trials that await one come first.
3. Where pairs that are due alike leave a choice, those are taken with which "first method on the left" is balanced to
   one within the block, and over the subject's blocks; then those with which no LR image has more than half of them.
4. The order is random, with as few trials as possible that follow one of the same LR image.

So a block is off balance only where pairs that are due first all owe the same side.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import floor
from typing import Literal

from app.subjects.order import alike_if_inserted, arranged, majority

Kind = Literal["training", "warm_up", "test", "gold", "identical", "repeat"]
# Trials of one image alone leave no good place for a repetition: so many are tried before the best of them is taken.
TRIES = 8


@dataclass(frozen=True)
class Candidate:
    """A pair that this subject has not been asked about.

    Attributes:
        pair: its key.
        content: its LR image.
        issued_left, issued_right: trials handed out with the first method on that side.
        voted_left, voted_right: those with a vote.
        live_left, live_right: those without one whose subject has not been silent for too long.
    """

    pair: int
    content: str
    issued_left: int = 0
    issued_right: int = 0
    voted_left: int = 0
    voted_right: int = 0
    live_left: int = 0
    live_right: int = 0

    @property
    def level(self) -> int:
        """Votes that are there or on their way."""
        return self.voted_left + self.live_left + self.voted_right + self.live_right

    @property
    def side(self) -> bool | None:
        """Whether the first method must be on the left now; None where either side will do."""
        left, right = self.issued_left, self.issued_right
        if left == right:
            left, right = self.voted_left + self.live_left, self.voted_right + self.live_right
        return None if left == right else left < right


@dataclass(frozen=True)
class Probe:
    """Two images that are shown for another purpose than to compare methods."""

    key: int
    kind: Kind
    content: str


@dataclass(frozen=True)
class Planned:
    """A trial: of the pair or probe of a key, showing outputs of an LR image."""

    kind: Kind
    key: int
    content: str
    first_on_left: bool


@dataclass(frozen=True)
class Terms:
    """What a block is to hold.

    Attributes:
        tests: trials that count.
        opening: of what kind those before all others are.
        opening_size: how many.
        gold_rate, identical_rate, repeat_rate: of the trials that count, over all blocks of the subject.
        repeat_distance: the fewest trials between a trial and its repetition.
    """

    tests: int
    opening: Kind = "warm_up"
    opening_size: int = 0
    gold_rate: float = 0
    identical_rate: float = 0
    repeat_rate: float = 0
    repeat_distance: int = 1


def plan(
    terms: Terms,
    candidates: Sequence[Candidate],
    probes: Sequence[Probe],
    history: Sequence[Planned],
    *,
    seed: int,
    block: int,
) -> list[Planned]:
    """The trials of a block, in order.

    Args:
        terms: what is asked for; of what there is not enough, there is less. Probes may come again.
        candidates: pairs that this subject has not been asked about.
        probes: of the study.
        history: all trials of this subject so far, in order.
        seed: the subject's.
        block: its number, from 1.
    """
    draw = random.Random(f"{seed}:{block}")  # noqa: S311 - an order that can be repeated, not a secret
    tests = _tests(candidates, terms.tests, _lead(history, "test"), draw)
    asked = sum(shown.kind == "test" for shown in history) + len(tests)
    golds = _probes(probes, "gold", _due(terms.gold_rate, asked, "gold", history), history, draw)
    identical = _probes(probes, "identical", _due(terms.identical_rate, asked, "identical", history), history, draw)
    opening = _probes(probes, terms.opening, terms.opening_size, history, draw)
    row = _ordered(opening, [*tests, *golds, *identical], history[-1].content if history else None, draw)
    for _ in range(_due(terms.repeat_rate, asked, "repeat", history)):
        _repeat(row, len(opening), history, terms.repeat_distance, draw)
    return row


def _tests(candidates: Sequence[Candidate], size: int, lead: int, draw: random.Random) -> list[Planned]:
    # Sorted, so that the order in which the database lists them changes nothing.
    listed = sorted(candidates, key=lambda candidate: candidate.pair)
    size = min(size, len(listed))
    if not size:
        return []
    aim = size % 2 * (_sign(-lead) or _sign(_debt(listed)) or draw.choice((-1, 1)))
    chosen = _chosen(listed, size, aim, draw)
    free = sum(candidate.side is None for candidate in chosen)
    lefts = min(max((size + aim) // 2 - sum(candidate.side is True for candidate in chosen), 0), free)
    sides = iter(draw.sample([True] * lefts + [False] * (free - lefts), free))
    return [Planned("test", c.pair, c.content, next(sides) if c.side is None else c.side) for c in chosen]


def _chosen(listed: Sequence[Candidate], size: int, aim: int, draw: random.Random) -> list[Candidate]:
    """Those of the lowest levels; of the last level that some are taken of, those that suit the others."""
    last = sorted(candidate.level for candidate in listed)[size - 1]
    sure = [candidate for candidate in listed if candidate.level < last]
    equal = _spread([candidate for candidate in listed if candidate.level == last], draw)
    drawn, others = equal[: size - len(sure)], equal[size - len(sure) :]
    _balance(sure, drawn, others, aim)
    _mix(sure, drawn, others)
    return [*sure, *drawn]


def _spread(candidates: Sequence[Candidate], draw: random.Random) -> list[Candidate]:
    """A random order, whose beginning and whose rest have about the same part of each LR image."""
    size = Counter(candidate.content for candidate in candidates)
    met: Counter[str] = Counter()
    place = {}
    for candidate in draw.sample(candidates, len(candidates)):
        place[candidate.pair] = (met[candidate.content] + draw.random()) / size[candidate.content]
        met[candidate.content] += 1
    return sorted(candidates, key=lambda candidate: place[candidate.pair])


def _balance(sure: Sequence[Candidate], drawn: list[Candidate], others: list[Candidate], aim: int) -> None:
    """Exchange drawn candidates until the sides that they must have are as balanced as can be.

    A difference of one is made up for by a side that is free: the block's size says that there is one.
    """
    while abs(excess := _debt([*sure, *drawn]) - aim) >= 2:
        many = excess > 0
        if not any(_exchange(drawn, others, (many, None), (side, None)) for side in (not many, None)):
            return


def _mix(sure: Sequence[Candidate], drawn: list[Candidate], others: list[Candidate]) -> None:
    """Exchange drawn candidates for others of the same side while one LR image has more places than there are."""
    while True:
        ((image, most),) = Counter(candidate.content for candidate in (*sure, *drawn)).most_common(1)
        if 2 * most <= len(sure) + len(drawn) + 1:
            return
        if not any(_exchange(drawn, others, (side, image), (side, image)) for side in (True, False, None)):
            return


def _exchange(
    drawn: list[Candidate],
    others: list[Candidate],
    goes: tuple[bool | None, str | None],
    comes: tuple[bool | None, str | None],
) -> bool:
    """One of a side for one of a side, and of an LR image for another, if one is named; False if none is there."""
    outgoing = (i for i, c in enumerate(drawn) if c.side is goes[0] and goes[1] in (None, c.content))
    incoming = (i for i, c in enumerate(others) if c.side is comes[0] and comes[1] != c.content)
    there, here = next(outgoing, None), next(incoming, None)
    if there is None or here is None:
        return False
    drawn[there], others[here] = others[here], drawn[there]
    return True


def _debt(candidates: Sequence[Candidate]) -> int:
    """How many more of them must have the first method on the left than on the right."""
    return sum(1 if candidate.side else -1 for candidate in candidates if candidate.side is not None)


def _due(rate: float, asked: int, kind: Kind, history: Sequence[Planned]) -> int:
    """How many trials of a kind are missing from its rate, over all blocks up to this one."""
    return max(0, floor(rate * asked + 0.5) - sum(shown.kind == kind for shown in history))


def _probes(
    probes: Sequence[Probe], kind: Kind, size: int, history: Sequence[Planned], draw: random.Random
) -> list[Planned]:
    """Those that the subject has seen least often, sides balanced over all that they have seen of the kind."""
    listed = sorted((probe for probe in probes if probe.kind == kind), key=lambda probe: probe.key)
    if not listed or not size:
        return []
    seen = Counter(shown.key for shown in history if shown.kind == kind)
    draw.shuffle(listed)
    odd_one = [_lead(history, kind) < 0 if _lead(history, kind) else draw.random() < 0.5] * (size % 2)
    made = []
    for side in draw.sample([*odd_one, *[True, False] * (size // 2)], size):
        probe = min(listed, key=lambda probe: seen[probe.key])
        seen[probe.key] += 1
        made.append(Planned(kind, probe.key, probe.content, side))
    return made


def _ordered(
    opening: Sequence[Planned], others: Sequence[Planned], last: str | None, draw: random.Random
) -> list[Planned]:
    contents = [trial.content for trial in others]
    order = arranged([trial.content for trial in opening], draw, after=last, before=majority(contents))
    row = [opening[place] for place in order]
    order = arranged(contents, draw, after=row[-1].content if row else last)
    return [*row, *(others[place] for place in order)]


def _repeat(row: list[Planned], opening: int, history: Sequence[Planned], distance: int, draw: random.Random) -> None:
    """Insert a repetition of a random trial at a random place that is far enough from it, if there is one."""
    shown = [*history, *row]
    repeated = {trial.key for trial in shown if trial.kind == "repeat"}
    # The first place in the row where each may be repeated.
    first = {
        trial: max(opening, place + distance - len(history))
        for place, trial in enumerate(shown)
        if trial.kind == "test" and trial.key not in repeated
    }
    possible = [trial for trial in first if first[trial] <= len(row)]
    draw.shuffle(possible)
    contents, last = [trial.content for trial in row], history[-1].content if history else None
    found: list[tuple[int, int, Planned]] = []
    for trial in islice(possible, TRIES):
        slots = draw.sample(range(first[trial], len(row) + 1), len(row) + 1 - first[trial])
        costs = [alike_if_inserted(contents, slot, trial.content, last) for slot in slots]
        found.append((min(costs), slots[costs.index(min(costs))], trial))
        if min(costs) <= 0:
            break
    if found:
        _, slot, trial = min(found, key=lambda one: one[0])
        row.insert(slot, Planned("repeat", trial.key, trial.content, not trial.first_on_left))


def _lead(history: Sequence[Planned], kind: Kind) -> int:
    return sum(1 if shown.first_on_left else -1 for shown in history if shown.kind == kind)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
