"""A run as one piece: what its stages share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import runs
from pipelines.progress import silent

ray = pytest.importorskip("ray", reason="the Ray engine is an optional extra")


@pytest.mark.slow
def test_the_stages_of_a_run_start_one_ray_and_end_it(
    make_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, start = [], ray.init

    def counted(*arguments: Any, **options: Any) -> Any:
        starts.append(arguments)
        return start(*arguments, **options)

    monkeypatch.setattr(ray, "init", counted)
    assert runs.run(make_study(images=2), silent, engine="ray").end.pairs.pairs == 6
    assert len(starts) == 1
    assert not ray.is_initialized()
