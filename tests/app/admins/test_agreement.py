"""Whether a host would make the outputs that are asked for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.admins import agreement
from pipelines.errors import DiscernError
from pipelines.study import Study
from pipelines.super_resolution import methods, record
from pipelines.super_resolution.method import fingerprint
from pipelines.workspace import Workspace
from tests.conftest import save, textured

HERE = "the worker on box"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """An interpolation, a program with weights, and a folder of outputs."""
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "weights.pth").write_bytes(b"weights")
    save(tmp_path / "finished" / "a.png", textured(1))
    described: list[dict[str, Any]] = [
        {"id": "bicubic", "kind": "interpolation", "algorithm": "bicubic"},
        {"id": "finished", "kind": "folder", "folder": tmp_path / "finished"},
        {
            "id": "upstream",
            "kind": "external",
            "repository": tmp_path / "repository",
            "command": ["run.py"],
            "weights": [tmp_path / "repository" / "weights.pth"],
        },
    ]
    return Study.model_validate({"name": "x", "images": {"folder": tmp_path / "lr"}, "methods": described})


@pytest.fixture
def facts(study: Study, tmp_path: Path) -> dict[str, Any]:
    """What the preparation found, as it comes back from the database."""
    found = agreement.keep(study, Workspace(tmp_path / "workspace"), study.method_ids)
    return dict(json.loads(json.dumps(found)))


def refusal(study: Study, method: str, facts: dict[str, Any]) -> str:
    with pytest.raises(DiscernError) as refused:
        agreement.check(study, method, facts[method], HERE)
    return str(refused.value)


def test_the_same_host_agrees_and_the_facts_are_kept(study: Study, facts: dict[str, Any], tmp_path: Path) -> None:
    for described in study.methods:
        agreement.check(study, described.id, facts[described.id], HERE)
        output = {"fingerprint": fingerprint(methods.make(study, described))}
        kept = record.provenance_of(Workspace(tmp_path / "workspace"), output)
        assert kept["kind"] == described.kind


def test_other_weights_or_another_commit_are_named(study: Study, facts: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "repository" / "weights.pth").write_bytes(b"others")
    message = refusal(study, "upstream", facts)
    assert message.startswith("upstream: the worker on box would make other outputs than were asked for: weights is {")
    assert "commit" not in message
    assert message.endswith("install the same on every host, or resume the pre-run if it was changed on all of them")
    (tmp_path / "repository" / ".git").mkdir()
    (tmp_path / "repository" / ".git" / "HEAD").write_text("0123abc\n")
    assert "commit is '0123abc', not None; weights is" in refusal(study, "upstream", facts)


def test_another_version_of_a_library_is_named(study: Study, facts: dict[str, Any]) -> None:
    library = next(key for key, value in facts["bicubic"].items() if key not in ("kind", "algorithm", "scale"))
    here, facts["bicubic"][library] = facts["bicubic"][library], "0.1"
    assert f"asked for: {library} is {here!r}, not '0.1'; install" in refusal(study, "bicubic", facts)


def test_another_listing_of_finished_outputs_is_named(study: Study, facts: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path / "finished" / "b.png", textured(2))
    assert "asked for: listing_sha256 is " in refusal(study, "finished", facts)


@pytest.mark.parametrize(
    ("path", "method"),
    [("repository", "upstream"), ("repository/weights.pth", "upstream"), ("finished", "finished")],
)
def test_what_is_not_there_is_named(
    study: Study, facts: dict[str, Any], tmp_path: Path, path: str, method: str
) -> None:
    missing = tmp_path / path
    shutil.rmtree(missing) if missing.is_dir() else missing.unlink()
    assert refusal(study, method, facts) == (
        f"{missing}: the worker on box does not see this, which {method} needs; "
        "put it at the same path on every host that makes its outputs"
    )
