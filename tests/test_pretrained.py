"""Published weights: what is given, cached, fetched or packaged; one clear error where there is none; never a part."""

import hashlib
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from pipelines import pretrained
from pipelines.errors import WeightsError

CONTENT = b"weights " * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = f"vgg16-{SHA256[:8]}.pth"
DISTS = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"


class Publisher:
    """A server on this machine; counts what is asked for, and can answer badly."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str]] = []
        self.content, self.announced, self.status = CONTENT, len(CONTENT), 200
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.answers.append((self.path, self.headers["User-Agent"]))
                self.send_response(publisher.status)
                self.send_header("Content-Length", str(publisher.announced))
                self.end_headers()
                self.wfile.write(publisher.content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/models/{FILE}"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    one = Publisher()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and downloads allowed."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("DISCERN_OFFLINE", raising=False)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def served(publisher: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(pretrained, "url_of", lambda name: publisher.url)
    return publisher


def refusal(name: str = "vgg16", given: Path | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        pretrained.resolve(name, given)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def left_in(cache: Path) -> list[str]:
    """What is in the cache apart from locks."""
    return sorted(path.name for path in cache.glob("*") if path.suffix != ".lock")


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", pretrained.TORCHVISION)
def test_torchvision_says_where_its_weights_are_and_how_their_hash_begins(name: str) -> None:
    stem, _, digits = Path(pretrained.url_of(name)).stem.rpartition("-")
    assert stem.startswith(name)
    assert len(digits) == 8
    int(digits, 16)


def test_a_file_that_is_given_comes_first_and_is_marked(served: Publisher, cache: Path, tmp_path: Path) -> None:
    put(cache / FILE, CONTENT)
    own = put(tmp_path / "own.pth", b"own weights")
    found = pretrained.resolve("vgg16", own)
    digest = hashlib.sha256(b"own weights").hexdigest()
    assert found == pretrained.Found("vgg16", own, digest, "local file", published=False)
    copy = put(tmp_path / "copy.pth", CONTENT)
    assert pretrained.resolve("vgg16", copy) == pretrained.Found("vgg16", copy, SHA256, "local file", published=True)
    assert not served.answers


def test_a_given_file_that_is_not_there_is_named_and_not_replaced(served: Publisher, tmp_path: Path) -> None:
    assert refusal(given=tmp_path / "gone.pth").startswith(f"{tmp_path / 'gone.pth'}: weights cannot be read")
    assert not served.answers


def test_what_is_found_can_be_recorded_and_sent(tmp_path: Path) -> None:
    found = pretrained.Found("vgg16", tmp_path / FILE, SHA256, "cache", published=True)
    assert found.provenance == {
        "name": "vgg16",
        "path": str(tmp_path / FILE),
        "sha256": SHA256,
        "origin": "cache",
        "published": True,
    }
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_cache_of_torchvision_is_used(served: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache / FILE, CONTENT)
    monkeypatch.setenv("DISCERN_OFFLINE", "1")
    assert pretrained.resolve("vgg16") == pretrained.Found("vgg16", cache / FILE, SHA256, "cache", published=True)
    assert not served.answers


def test_a_damaged_file_in_the_cache_is_an_error_and_stays(served: Publisher, cache: Path) -> None:
    put(cache / FILE, CONTENT[:-1])
    text = refusal()
    assert text.startswith(f"{cache / FILE}: sha256 is {hashlib.sha256(CONTENT[:-1]).hexdigest()}")
    assert f"expected {SHA256[:8]}" in text
    assert "delete it" in text
    assert not served.answers
    assert left_in(cache) == [FILE]


def test_what_is_missing_is_downloaded_once(served: Publisher, cache: Path) -> None:
    assert pretrained.resolve("vgg16") == pretrained.Found("vgg16", cache / FILE, SHA256, "download", published=True)
    assert (cache / FILE).read_bytes() == CONTENT
    assert pretrained.resolve("vgg16").origin == "cache"
    assert served.answers == [(f"/models/{FILE}", "torch.hub")]
    assert left_in(cache) == [FILE]


def test_torchvision_finds_what_was_downloaded(served: Publisher, cache: Path) -> None:
    path = pretrained.resolve("vgg16").path
    served.status = 404
    state = {"features.0.bias": torch.ones(2)}
    torch.save(state, path)  # torch.hub looks at the name alone
    loaded = torch.hub.load_state_dict_from_url(served.url, weights_only=True)
    assert torch.equal(loaded["features.0.bias"], state["features.0.bias"])


def assert_says_what_to_do(text: str, served: Publisher, cache: Path, reason: str) -> None:
    assert text.startswith(f"weights.vgg16: {FILE} ")
    assert served.url in text
    assert str(cache / FILE) in text
    assert '[weights] vgg16 = "PATH"' in text
    assert reason in text


@pytest.mark.parametrize(
    ("content", "announced", "status", "reason"),
    [
        (b"another" * 1000, 7000, 200, "invalid hash value"),
        (CONTENT[:1000], 1000, 200, "invalid hash value"),
        (CONTENT[:1000], len(CONTENT), 200, "invalid hash value"),
        (b"", 0, 200, "invalid hash value"),
        (b"not found", 9, 404, "404"),
        (b"try later", 9, 503, "503"),
    ],
    ids=["another file", "a part", "cut off", "nothing", "not found", "not available"],
)
def test_a_bad_download_leaves_nothing(
    served: Publisher, cache: Path, content: bytes, announced: int, status: int, reason: str
) -> None:
    served.content, served.announced, served.status = content, announced, status
    assert_says_what_to_do(refusal(), served, cache, reason)
    assert left_in(cache) == []
    served.content, served.announced, served.status = CONTENT, len(CONTENT), 200
    assert pretrained.resolve("vgg16").origin == "download"


def test_a_server_that_is_not_there(served: Publisher, cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        served.url = f"http://127.0.0.1:{free.getsockname()[1]}/{FILE}"
        assert_says_what_to_do(refusal(), served, cache, "refused")
    assert left_in(cache) == []


@pytest.mark.parametrize("variable", ["DISCERN_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("value", ["1", "true", "YES", "On"])
def test_offline_asks_nobody(
    served: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert_says_what_to_do(refusal(), served, cache, variable)
    assert not served.answers
    assert not cache.exists()


@pytest.mark.parametrize("value", ["", "0", "false", "no", "off"])
def test_a_variable_that_says_no_forbids_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DISCERN_OFFLINE", value)
    assert not pretrained.offline()


def test_a_cache_that_cannot_be_written_is_named(served: Publisher, cache: Path) -> None:
    put(cache.parent, b"a file where the folder should be")
    text = refusal()
    assert str(cache / FILE) in text
    assert '[weights] vgg16 = "PATH"' in text


def test_threads_at_once_download_once(served: Publisher, cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pretrained.resolve, ["vgg16"] * 16))
    assert {one.sha256 for one in found} == {SHA256}
    assert len(served.answers) == 1
    assert left_in(cache) == [FILE]


PROGRAM = """
import sys, torch
from pipelines import pretrained
torch.hub._hub_dir, url = sys.argv[1:]
pretrained.url_of = lambda name: url
print(pretrained.resolve("vgg16").sha256)
"""


def test_processes_at_once_download_once(served: Publisher, cache: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(cache.parent), served.url]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [program.communicate()[0].strip() for program in programs] == [SHA256] * 3
    assert len(served.answers) == 1
    assert left_in(cache) == [FILE]


def test_an_unknown_name_lists_the_known_ones() -> None:
    text = refusal("vgg19")
    assert "'vgg19'" in text
    assert all(name in text for name in ("vgg16", "vgg16_bn", "alexnet", "dists"))


def test_alpha_and_beta_come_with_their_package_which_is_not_run() -> None:
    program = "import sys; from pipelines import pretrained; f = pretrained.resolve('dists'); " + (
        "print(f.sha256, f.origin, f.published, f.path.name, 'DISTS_pytorch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split() == [DISTS, "package", "True", "weights.pt", "False"]


def test_alpha_and_beta_can_be_given(tmp_path: Path) -> None:
    own = put(tmp_path / "own.pt", b"own")
    assert pretrained.resolve("dists", own).published is False
    copy = put(tmp_path / "copy.pt", pretrained.resolve("dists").path.read_bytes())
    assert pretrained.resolve("dists", copy) == pretrained.Found("dists", copy, DISTS, "local file", published=True)


def test_a_package_that_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    text = refusal("dists")
    assert "pip install 'discern[pipelines]'" in text
    assert '[weights] dists = "PATH"' in text


def test_a_package_with_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "DISTS_pytorch" / "__init__.py", b"raise RuntimeError('was run')")
    path = put(tmp_path / "DISTS_pytorch" / "weights.pt", b"other")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "DISTS_pytorch", raising=False)
    text = refusal("dists")
    assert text.startswith(f"{path}: sha256 is ")
    assert DISTS in text
