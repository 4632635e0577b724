"""The workspace: content addresses, manifests in parts, writes that are complete or not there."""

import contextlib
import multiprocessing
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines import workspace as workspaces
from pipelines.workspace import Manifest, Workspace, WorkspaceError, write_atomically
from tests.conftest import save, textured

SCHEMA = pa.schema({"key": pa.string(), "value": pa.int64()})


def rows(manifest: Manifest) -> dict[str, int]:
    frame = manifest.read()
    return dict(zip(frame["key"], frame["value"], strict=True))


def test_an_image_comes_back_and_is_stored_once(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    sha256 = workspace.put_image(textured(0))
    written = workspace.image_path(sha256).stat().st_mtime_ns
    assert workspace.put_image(textured(0)) == sha256
    assert workspace.image_path(sha256).stat().st_mtime_ns == written
    np.testing.assert_array_equal(workspace.get_image(sha256), textured(0))


def test_an_image_that_was_changed_or_cut_short_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    sha256 = workspace.put_image(textured(0))
    save(workspace.image_path(sha256), textured(1))
    with pytest.raises(WorkspaceError, match="pixels were changed"):
        workspace.get_image(sha256)
    workspace.image_path(sha256).write_bytes(workspace.image_path(sha256).read_bytes()[:100])
    with pytest.raises(WorkspaceError, match="delete it and run"):
        workspace.get_image(sha256)


def test_a_manifest_grows_line_by_line_and_the_later_row_of_a_key_counts(tmp_path: Path) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    assert rows(manifest) == {}
    manifest.append([{"key": "b", "value": 1}, {"key": "a", "value": 2}])
    manifest.append([])
    manifest.append([{"key": "b", "value": 3}])
    assert rows(manifest) == {"a": 2, "b": 3}
    assert manifest.compact()
    assert rows(manifest) == {"a": 2, "b": 3}
    assert [file.suffix for file in manifest.folder.iterdir()] == [".parquet"]
    assert not manifest.compact()
    manifest.append([{"key": "a", "value": 5}])
    assert rows(manifest) == {"a": 5, "b": 3}
    manifest.replace([{"key": "c", "value": 4}])
    assert rows(manifest) == {"c": 4}


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_line_that_a_kill_cut_short_is_no_row_and_spoils_none(tmp_path: Path, cut: int) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    manifest.append([{"key": "a", "value": 1}])
    (journal,) = manifest.folder.iterdir()
    whole = journal.read_bytes()
    manifest.append([{"key": "b", "value": 22}])
    journal.write_bytes(journal.read_bytes()[: len(whole) + cut])
    assert rows(manifest) == {"a": 1}
    manifest.append([{"key": "c", "value": 3}])
    assert rows(manifest) == {"a": 1, "c": 3}


def test_rows_come_back_exactly_from_a_journal(tmp_path: Path) -> None:
    schema = pa.schema({"key": pa.string(), "value": pa.float64(), "vector": pa.list_(pa.float32())})
    manifest = Workspace(tmp_path).manifest("things", schema, ["key"])
    random = np.random.default_rng(0)
    value, vector = random.normal(), random.normal(size=9).astype(np.float32)
    manifest.append([{"key": "ä\n", "value": np.float64(value), "vector": vector}, {"key": "z", "value": None}])
    for _ in range(2):
        empty, second = manifest.rows()
        assert empty == {"key": "z", "value": None, "vector": None}
        assert (second["key"], second["value"]) == ("ä\n", value)
        np.testing.assert_array_equal(np.float32(second["vector"]), vector)
        manifest.compact()
    manifest.replace(manifest.rows())
    assert manifest.rows() == [empty, second]


def _add(root: Path, first: int) -> None:
    manifest = Workspace(root).manifest("things", SCHEMA, ["key"])
    for number in range(first, first + 200):
        manifest.append([{"key": str(number), "value": number}])


def test_many_processes_add_rows_at_the_same_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(tmp_path, first)) for first in (0, 200, 400)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert rows(Workspace(tmp_path).manifest("things", SCHEMA, ["key"])) == {str(n): n for n in range(600)}


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    manifest.folder.mkdir()
    (manifest.folder / f"{platform.node()}-{os.getpid()}.jsonl").symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match="No space left"):
        manifest.append([{"key": "a", "value": 1}])


def test_stored_images_are_listed_and_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    hashes = {workspace.put_image(textured(seed)) for seed in range(3)}
    folder = workspace.image_path(min(hashes)).parent
    places = [folder, tmp_path / "manifests" / "outputs", tmp_path / "provenance", tmp_path / "provenance" / "methods"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / ".writing-abc.tmp").write_bytes(b"half")
    assert workspace.stored_images() == hashes
    workspace.sweep()
    assert not list(tmp_path.rglob("*.tmp"))
    assert [file.suffix for file in folder.iterdir()] == [".png"] * len(list(folder.iterdir()))


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


Event = Any  # of the multiprocessing context


def _hold(root: Path, held: Event, release: Event, shared: bool = False) -> None:
    with Workspace(root).lock(shared=shared):
        held.set()
        release.wait(60)


def test_only_one_process_works_in_a_workspace_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    assert held.wait(60)
    workspace = Workspace(tmp_path)
    with pytest.raises(WorkspaceError, match="another run is working here"), workspace.lock():
        pass
    other.kill()
    other.join(60)
    with workspace.lock():
        assert True


def test_a_patient_process_waits_until_the_workspace_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    assert held.wait(60)
    workspace = Workspace(tmp_path)
    with pytest.raises(WorkspaceError, match="another run is working here"), workspace.lock(patience=0.2):
        pass
    release.set()
    with workspace.lock(patience=-1):
        assert True
    other.join(60)


def test_those_who_share_work_at_the_same_time_and_nobody_alone_beside_them(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release, True))
    other.start()
    assert held.wait(60)
    workspace = Workspace(tmp_path)
    with workspace.lock(shared=True):
        assert other.is_alive()
    with pytest.raises(WorkspaceError, match="another run is working here"), workspace.lock():
        pass
    release.set()
    other.join(60)
    with (
        workspace.lock(),
        pytest.raises(WorkspaceError, match="another run is working here"),
        Workspace(tmp_path).lock(shared=True),
    ):
        pass


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"content")


def test_damaged_records_are_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    manifest = workspace.manifest("things", SCHEMA, ["key"])
    manifest.replace([{"key": "a", "value": 1}])
    (part,) = manifest.folder.iterdir()
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(WorkspaceError, match=r"damaged.*delete it and run"):
        manifest.read()
    workspace.write_provenance("stage", {})
    (tmp_path / "provenance" / "stage.json").write_text("{")
    with pytest.raises(WorkspaceError, match=r"damaged.*delete it and run"):
        workspace.read_provenance("stage")


@pytest.mark.parametrize(
    "line",
    [
        '{"key": "a", "value": 10000000000000000000}',
        '{"key": "a", "value": "text"}',
        '{"key": "a", "value": {"more": [1]}}',
        '{"key": ["a"], "value": 1}',
        '{"key": "caf\\udce9", "value": 1}',
    ],
)
def test_a_row_that_does_not_fit_is_one_clear_error(tmp_path: Path, line: str) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    manifest.append([{"key": "b", "value": 1}])
    (journal,) = manifest.folder.iterdir()
    with journal.open("a") as file:
        file.write(f"\n{line}")
    with pytest.raises(WorkspaceError, match=r"\.jsonl: damaged.*delete it and run") as caught:
        manifest.read()
    assert str(journal) in str(caught.value)


Compact = Callable[[], object]


def _before_a_part_is_read(monkeypatch: pytest.MonkeyPatch, compact: Compact) -> None:
    _call_first(monkeypatch, workspaces.pq, "read_table", compact)


def _before_a_journal_is_read(monkeypatch: pytest.MonkeyPatch, compact: Compact) -> None:
    _call_first(monkeypatch, Path, "read_bytes", compact)


def _between_the_listings(monkeypatch: pytest.MonkeyPatch, compact: Compact) -> None:
    _call_first(monkeypatch, Manifest, "_journals", compact)


def _before_a_journals_age_is_asked_for(monkeypatch: pytest.MonkeyPatch, compact: Compact) -> None:
    _call_first(monkeypatch, Path, "stat", compact, suffix=".jsonl")


def _call_first(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, compact: Compact, suffix: str = "") -> None:
    """Let another process compact right before the first call of a function (for a file of some kind)."""
    original = getattr(owner, name)

    def function(*args: Any, **options: Any) -> Any:
        if str(args[0]).endswith(suffix):
            monkeypatch.undo()
            compact()
        return original(*args, **options)

    monkeypatch.setattr(owner, name, function)


@pytest.mark.parametrize("comes_back", [False, True])
@pytest.mark.parametrize(
    ("when", "with_part"),
    [
        (_before_a_part_is_read, True),
        (_before_a_journal_is_read, False),
        (_before_a_journal_is_read, True),
        (_between_the_listings, False),
        (_between_the_listings, True),
        (_before_a_journals_age_is_asked_for, False),
        (_before_a_journals_age_is_asked_for, True),
    ],
)
def test_a_reader_misses_no_row_while_another_process_compacts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: Callable[[pytest.MonkeyPatch, Compact], None],
    with_part: bool,
    comes_back: bool,
) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    if with_part:
        manifest.replace([{"key": "a", "value": 1}, {"key": "b", "value": 1}])
    manifest.append([{"key": "a", "value": 2}, {"key": "c", "value": 2}])
    before = rows(manifest)

    def compact() -> None:
        assert manifest.compact()
        if comes_back:  # its journal has the name of the one that is gone
            manifest.append([{"key": "new", "value": 3}])

    when(monkeypatch, compact)
    found = rows(manifest)
    found.pop("new", None)
    assert found == before


def test_a_compaction_that_was_killed_leaves_the_later_rows_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    manifest.replace([{"key": "a", "value": 1}])
    for value in (2, 3):
        manifest.append([{"key": "a", "value": value}])
        journal = manifest.folder / f"{platform.node()}-{os.getpid()}.jsonl"
        os.utime(journal, ns=(0, value))
        journal.rename(manifest.folder / f"host-{9 - value}.jsonl")  # names say nothing about age
    unlink = Path.unlink
    for removed in range(4):
        left = iter(range(removed))

        def dies(path: Path, missing_ok: bool = False, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", dies)
        with contextlib.suppress(KeyboardInterrupt):
            manifest.compact()
        assert rows(manifest) == {"a": 3}


def test_a_manifest_that_never_rests_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    manifest.replace([{"key": "a", "value": 1}])
    read_table = workspaces.pq.read_table

    def while_another_writes(*args: Any, **options: Any) -> pa.Table:
        table = read_table(*args, **options)
        manifest.replace([{"key": "a", "value": 1}])
        return table

    monkeypatch.setattr(workspaces.pq, "read_table", while_another_writes)
    with pytest.raises(WorkspaceError, match="things: another process rewrites it again and again; try again"):
        manifest.read()


def test_a_lock_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(WorkspaceError, match="cannot be used as a lock"), Workspace(tmp_path).lock():
        pass


def test_a_file_can_be_kept_from_others_from_its_first_byte_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def note(path: Path, target: Path) -> None:
        modes.append(path.stat().st_mode & 0o777)
        path.rename(target)

    monkeypatch.setattr("pipelines.workspace.Path.replace", note)
    write_atomically(tmp_path / "secret", b"secret", mode=0o600)
    write_atomically(tmp_path / "folder" / "secret", b"secret", mode=0o600)
    assert modes == [0o600, 0o600]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.workspace.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_workspace_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be used as a workspace"):
        Workspace(tmp_path / "file")


def test_provenance_is_absent_until_written_and_names_the_version(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.read_provenance("stage") is None
    workspace.write_provenance("stage", {"seconds": 1.5})
    facts = workspace.read_provenance("stage")
    assert facts is not None
    assert facts["seconds"] == 1.5
    assert facts["discern"]
