"""The workspace: content addresses, manifests in parts, writes that are complete or not there."""

import multiprocessing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

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


def test_a_manifest_grows_in_parts_and_the_later_row_of_a_key_counts(tmp_path: Path) -> None:
    manifest = Workspace(tmp_path).manifest("things", SCHEMA, ["key"])
    assert rows(manifest) == {}
    manifest.append([{"key": "b", "value": 1}, {"key": "a", "value": 2}])
    manifest.append([])
    manifest.append([{"key": "b", "value": 3}])
    assert rows(manifest) == {"a": 2, "b": 3}
    assert len(list(manifest.folder.iterdir())) == 2
    manifest.compact()
    assert rows(manifest) == {"a": 2, "b": 3}
    assert len(list(manifest.folder.iterdir())) == 1
    manifest.replace([{"key": "c", "value": 4}])
    assert rows(manifest) == {"c": 4}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def _hold(root: Path, held: "multiprocessing.synchronize.Event", release: "multiprocessing.synchronize.Event") -> None:
    with Workspace(root).lock():
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


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"content")


def test_damaged_records_are_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    manifest = workspace.manifest("things", SCHEMA, ["key"])
    manifest.append([{"key": "a", "value": 1}])
    (part,) = manifest.folder.iterdir()
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(WorkspaceError, match=r"damaged.*delete it and run"):
        manifest.read()
    workspace.write_provenance("stage", {})
    (tmp_path / "provenance" / "stage.json").write_text("{")
    with pytest.raises(WorkspaceError, match=r"damaged.*delete it and run"):
        workspace.read_provenance("stage")


def test_a_lock_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(WorkspaceError, match="cannot be used as a lock"), Workspace(tmp_path).lock():
        pass


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
