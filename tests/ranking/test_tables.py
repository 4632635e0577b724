"""The three layouts of vote tables, the round trip, and every way in which a table can be wrong."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.errors import DiscernError
from pipelines.ranking import tables
from pipelines.ranking.counts import Votes, count_matrix, number_of_votes, pairs, votes_by_group

SHARES = "sr_pair_names,group,name1_column,name2_column,score1_column,score2_column"
TRIALS = "observer,session_id,scene,condition_A,condition_B,is_A_selected,criterion"


@pytest.fixture
def table(tmp_path: Path) -> "Table":
    return Table(tmp_path / "votes.csv")


class Table:
    """Writes text to a file and reads it as votes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, *lines: str, votes_per_pair: int | None = None) -> Votes:
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tables.read(self.path, votes_per_pair=votes_per_pair)

    def refused(self, *lines: str, votes_per_pair: int | None = None) -> str:
        with pytest.raises(DiscernError) as caught:
            self.read(*lines, votes_per_pair=votes_per_pair)
        assert str(self.path) in str(caught.value)
        return str(caught.value)


def listed(votes: Votes) -> list[tuple[str, ...]]:
    """Each row in words: winner, loser, and where known image, subject and group."""
    columns = [[votes.methods[i] for i in votes.winner], [votes.methods[i] for i in votes.loser]]
    if votes.images is not None and votes.image is not None:
        columns.append([votes.images[i] for i in votes.image])
    if votes.subjects is not None and votes.subject is not None:
        columns.append([votes.subjects[i] for i in votes.subject])
    if votes.groups is not None and votes.group is not None:
        columns.append([votes.groups[i] for i in votes.group])
    return list(zip(*columns, strict=True))


def test_plain_with_everything(table: Table) -> None:
    votes = table.read(
        "time,loser,winner,subject,image,group,simulated",
        "9,b, a ,p,x,r,TRUE",
        '10,a,c,q,"y, or z", m ,true',
        "",
        "11,c,b,p,x,r,True",
    )
    assert listed(votes) == [("a", "b", "x", "p", "r"), ("c", "a", "y, or z", "q", "m"), ("b", "c", "x", "p", "r")]
    assert votes.groups == ("m", "r")
    assert votes.methods == ("a", "b", "c")
    assert votes.count.tolist() == [1, 1, 1]
    assert votes.simulated


def test_plain_with_two_columns_has_no_clusters(table: Table) -> None:
    votes = table.read("winner,loser", "b,a", "b,a")
    assert listed(votes) == [("b", "a")] * 2
    unknown = (votes.images, votes.image, votes.subjects, votes.subject, votes.groups, votes.group)
    assert all(field is None for field in unknown)
    assert not votes.simulated
    assert not table.read("winner,loser,simulated", "b,a,false").simulated


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(table: Table) -> None:
    table.path.write_bytes("\ufeffwinner,loser\r\nä,b\r\n".encode())
    assert listed(tables.read(table.path)) == [("ä", "b")]


def test_shares(table: Table) -> None:
    votes = table.read(
        SHARES,
        "A_B,mad,my_photo_A.png,my_photo_B-2.png,0.25,0.75",
        "A_B,mid,other_B-2.png,other_A.PNG,1,0",
    )
    assert votes.methods == ("A", "B-2")
    assert votes.images == ("my_photo", "other")
    assert votes.subjects is None
    assert listed(votes) == [
        ("A", "B-2", "my_photo", "mad"),
        ("B-2", "A", "my_photo", "mad"),
        ("B-2", "A", "other", "mid"),
    ]
    assert votes.count.tolist() == [1, 3, 4]


def test_a_group_that_stands_in_no_row_is_not_known(table: Table) -> None:
    assert table.read("winner,loser,group", "a,b,", "b,a, ").groups is None
    assert table.read(SHARES, "A_B,,x_A.png,x_B.png,1,0").groups is None
    assert table.read(SHARES.replace("group,", ""), "A_B,x_A.png,x_B.png,1,0").groups is None


@pytest.mark.parametrize("panel", [1, 2, 7, 23, 197, 200])
def test_the_number_of_votes_is_inferred(table: Table, panel: int) -> None:
    lines = [f",,{k}_a.png,{k}_b.png,{k / panel:.7f},{1 - k / panel:.7f}" for k in range(panel + 1)]
    tallies = pairs(table.read(SHARES, *lines))
    order = np.argsort(np.array(sorted(map(str, range(panel + 1))), dtype=int))
    assert tallies.wins_first[order].tolist() == list(range(panel + 1))
    assert tallies.wins_second[order].tolist() == list(range(panel, -1, -1))


def test_the_number_of_votes_can_be_stated(table: Table) -> None:
    line = ",,x_a.png,x_b.png,0.5,0.5"
    assert number_of_votes(table.read(SHARES, line)) == 2
    assert number_of_votes(table.read(SHARES, line, votes_per_pair=24)) == 24
    assert number_of_votes(table.read(SHARES, line, votes_per_pair=1000)) == 1000
    assert "0.5 is no multiple of 1/23" in table.refused(SHARES, line, votes_per_pair=23)
    with pytest.raises(DiscernError, match="votes_per_pair must be at least 1, got 0"):
        table.read(SHARES, line, votes_per_pair=0)


def test_trials(table: Table) -> None:
    votes = table.read(TRIALS, "M01,1,window,tmo,ferw,1,perceptual", "F01,2,corridor,tmo,ferw,0,perceptual")
    assert listed(votes) == [("tmo", "ferw", "window", "M01"), ("ferw", "tmo", "corridor", "F01")]
    assert votes.count.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["winner,losr", "a,b"],
            "line 1: not a known table of votes: its columns are winner, losr; expected winner, l",
        ),
        (["winner;loser", "a;b"], "its columns are winner;loser"),
        (["winner,loser"], "no votes"),
        (["winner,loser,winner", "a,b,c"], "stands twice"),
        (["winner,loser", "a,b", "a"], "line 3: 1 values for 2 columns"),
        (["winner,loser", "a,b,c"], "line 2: 3 values for 2 columns"),
        (["winner,loser", "", "a,b", "a, "], "line 4, column loser: '': a value is missing"),
        (["winner,loser,image", "a,b,x", "a,b,"], "line 3, column image: ''"),
        (["winner,loser,subject", "a,b,"], "line 2, column subject: ''"),
        (["winner,loser,simulated", "a,b,"], "line 2, column simulated: ''"),
        (["winner,loser,group", "a,b,mad", "b,a,"], "line 3, column group: '': a value is missing"),
        ([SHARES, "p,mad,x_a.png,x_b.png,1,0", "p,,x_a.png,x_b.png,1,0"], "line 3, column group: '': a value is miss"),
        (["winner,loser", "a,b", "b,b"], "line 3, column winner: 'b': a method cannot be compared with itself"),
        (["winner,loser,simulated", "a,b,yes"], "'yes': write true or false"),
        (["winner,loser,simulated", "a,b,true", "b,a,false"], "line 3, column simulated: 'false': people and simul"),
        (["winner,loser", '"a\nb",c'], "line breaks"),
        (["winner,loser", 'a,"b'], "not CSV"),
        ([TRIALS, "M,1,w,a,b,2,p"], "line 2, column is_A_selected: '2'"),
        ([TRIALS, "M,1,w,a,b,1,p", "M,1,w,a,b,1,q"], "line 3, column criterion: 'q': two questions"),
        ([TRIALS, "M,1,w,a,a,1,p"], "compared with itself"),
        ([TRIALS, ",1,w,a,b,1,p"], "column observer: ''"),
        ([SHARES, "p,g,x_a.png,x_b.png,1.5,-0.5"], "line 2, column score1_column: '1.5': write a share"),
        ([SHARES, "p,g,x_a.png,x_b.png,0.5,-0.5"], "column score2_column: '-0.5'"),
        ([SHARES, "p,g,x_a.png,x_b.png,nan,0.5"], "column score1_column: 'nan'"),
        ([SHARES, "p,g,x_a.png,x_b.png,half,0.5"], "'half'"),
        ([SHARES, "p,g,x_a.png,x_b.png,,1"], "column score1_column: '': a value is missing"),
        (
            [SHARES, "p,g,x_a.png,x_b.png,1,0", "p,g,x_a.png,x_b.png,.5,.4"],
            "line 3, column score2_column: '.4': the two",
        ),
        ([SHARES, "p,g,x_a.png,y_b.png,1,0"], "column name2_column: 'y_b.png': both files must show the same image"),
        ([SHARES, "p,g,x_a.png,x_a.png,1,0"], "compared with itself"),
        ([SHARES, "p,g,xa.png,x_b.png,1,0"], "column name1_column: 'xa.png': name the files"),
        ([SHARES, "p,g,x_a.png,x_b.txt,1,0"], "column name2_column: 'x_b.txt'"),
        ([SHARES, "p,g,x_a.png,x_b.png,0.7071,0.2929"], "no 1/n up to n = 200"),
    ],
)
def test_bad_tables(table: Table, lines: list[str], message: str) -> None:
    assert message in table.refused(*lines)


def test_votes_per_pair_needs_shares(table: Table) -> None:
    assert "tables of shares" in table.refused("winner,loser", "a,b", votes_per_pair=3)


def test_lines_are_counted_through_quoted_line_breaks(table: Table) -> None:
    assert "line 4, column loser: ''" in table.refused("winner,loser,note", 'a,b,"two', 'lines"', "a,,short")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8"),
        ("winner,loser\na,b\n".encode("utf-16"), "not UTF-8"),
        (b"\x00\x01\x02", "not a known table"),
    ],
)
def test_files_that_are_no_tables(table: Table, content: bytes, message: str) -> None:
    table.path.write_bytes(content)
    with pytest.raises(DiscernError, match=message):
        tables.read(table.path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DiscernError, match=r"absent\.csv: cannot be read \(No such file"):
        tables.read(tmp_path / "absent.csv")
    with pytest.raises(DiscernError, match=r"cannot be read \(Is a directory"):
        tables.read(tmp_path)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name == name.strip() and len(name.splitlines()) == 1
)


@st.composite
def any_votes(draw: st.DrawFn) -> Votes:
    methods, images, subjects, groups = (
        tuple(draw(st.lists(names, min_size=size, max_size=4, unique=True))) for size in (2, 1, 1, 1)
    )
    rows = draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    winner = random.integers(0, len(methods), rows)
    has_images, has_subjects, has_groups = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return Votes(
        methods,
        winner,
        (winner + random.integers(1, len(methods), rows)) % len(methods),
        random.integers(1, 4, rows),
        images=images if has_images else None,
        image=random.integers(0, len(images), rows) if has_images else None,
        subjects=subjects if has_subjects else None,
        subject=random.integers(0, len(subjects), rows) if has_subjects else None,
        groups=groups if has_groups else None,
        group=random.integers(0, len(groups), rows) if has_groups else None,
        simulated=draw(st.booleans()),
    )


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_votes())
def test_the_round_trip_keeps_every_vote(tmp_path: Path, votes: Votes) -> None:
    path = tmp_path / "round.csv"
    tables.write(path, votes)
    back = tables.read(path)
    expected = [row for row, count in zip(listed(votes), votes.count, strict=True) for _ in range(count)]
    assert listed(back) == expected
    assert (back.images is None) == (votes.images is None)
    assert (back.subjects is None) == (votes.subjects is None)
    assert (back.groups is None) == (votes.groups is None)
    assert back.simulated == votes.simulated


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_else(table: Table, tmp_path: Path) -> None:
    votes = table.read("winner,loser,image", "b,a,x", "a,b,x")
    tables.write(table.path, votes)
    assert table.path.read_bytes() == b"winner,loser,image,simulated\nb,a,x,false\na,b,x,false\n"
    tables.write(tmp_path / "copy.csv", tables.read(table.path))
    assert (tmp_path / "copy.csv").read_bytes() == table.path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.csv", "votes.csv"]


def test_a_failed_write_leaves_the_old_file(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = table.read("winner,loser", "b,a")
    before = table.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiscernError, match=r"cannot be written \(No space left"):
        tables.write(table.path, votes)
    assert table.path.read_bytes() == before
    assert list(table.path.parent.iterdir()) == [table.path]


def test_no_votes_are_not_written(tmp_path: Path) -> None:
    none = np.empty(0, dtype=np.int64)
    with pytest.raises(DiscernError, match="no votes to write"):
        tables.write(tmp_path / "none.csv", Votes(("a", "b"), none, none, none))


def test_realsr_1k(sample_data: Path) -> None:
    votes = tables.read(sample_data / "realsr1k" / "votes.csv")
    tallies = pairs(votes)
    assert len(votes.methods) == 12
    assert votes.images is not None
    assert len(votes.images) == 570
    assert number_of_votes(votes) == 1056 * 23
    assert votes_by_group(votes) == {"mad": 528 * 23, "mid": 528 * 23}
    assert (tallies.wins_first + tallies.wins_second).tolist() == [23] * 1056
    counts = count_matrix(votes)
    # Two cells of the published matrix, row beats column.
    assert counts[votes.methods.index("SeeSR"), votes.methods.index("RGT")] == 356
    assert counts[votes.methods.index("RGT"), votes.methods.index("SeeSR")] == 12


def test_trials_with_observers(sample_data: Path) -> None:
    votes = tables.read(sample_data / "pairwise_with_observers.csv")
    assert votes.images is not None
    assert votes.subjects is not None
    assert [len(votes.methods), len(votes.images), len(votes.subjects), number_of_votes(votes)] == [7, 5, 18, 1213]
