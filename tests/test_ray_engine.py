"""Ray clusters: one that is not there, and one that several stages share."""

import socket

import pytest

from pipelines import executor
from pipelines.errors import DiscernError
from pipelines.study import Execution

ray = pytest.importorskip("ray", reason="the Ray engine is an optional extra")
ON_RAY = Execution(engine="ray", workers=2)


def node(item: int) -> str:
    """The node of the cluster that does an item; each start of Ray gives it a new name."""
    return str(ray.get_runtime_context().get_node_id())


def nodes() -> set[str | None]:
    """Where the items of one stage are done."""
    return {outcome.value for outcome in executor.map_items(node, range(2), engine="ray", workers=2)}


@pytest.mark.slow
def test_stages_share_the_ray_that_the_first_of_them_starts_until_the_last_one_ends() -> None:
    with executor.kept(ON_RAY):
        assert not ray.is_initialized(), "nothing needed it yet"
        with executor.kept(ON_RAY):
            first = nodes()
        assert nodes() == first
        assert len(first) == 1
    assert not ray.is_initialized()
    assert nodes() != first
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_ray_that_was_there_before_stays() -> None:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    try:
        with executor.kept(ON_RAY):
            inside = nodes()
        assert ray.is_initialized()
        assert nodes() == inside == {ray.get_runtime_context().get_node_id()}
    finally:
        ray.shutdown()


def test_a_ray_cluster_that_is_not_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(DiscernError, match=f"RAY_ADDRESS: no Ray cluster can be used at '{address}'"):
        nodes()
