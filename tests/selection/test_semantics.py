"""D2: what an embedding must be, against networks written out by hand and open_clip's own way of running its models."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import functional as transforms

from pipelines import clip_models, pretrained
from pipelines.errors import DiscernError, WeightsError
from pipelines.selection import semantics
from pipelines.study import Weights
from tests.conftest import textured

# Configuration D of Simonyan and Zisserman (2015), Table 1: channels of convolutions, and max-pools.
LAYERS: list[int | None] = [64, 64, None, 128, 128, None]
LAYERS += [256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None]


def vgg_state(batch_norm: bool) -> dict[str, torch.Tensor]:
    """Random weights by torchvision's names, of a size that keeps the features' size."""
    random = torch.Generator().manual_seed(3)
    state, index, before = {}, 0, 3
    for channels in LAYERS:
        if channels is not None:
            scale = (2 / (9 * before)) ** 0.5
            state[f"features.{index}.weight"] = torch.randn(channels, before, 3, 3, generator=random) * scale
            state[f"features.{index}.bias"] = torch.randn(channels, generator=random) * 0.1
            before = channels
            if batch_norm:
                index += 1
                for name, least in (("weight", 0.5), ("bias", 0.0), ("running_mean", -0.1), ("running_var", 0.7)):
                    state[f"features.{index}.{name}"] = torch.rand(channels, generator=random) + least
                state[f"features.{index}.num_batches_tracked"] = torch.tensor(7)
            index += 1
        index += 1
    return state


def vgg_by_hand(state: dict[str, torch.Tensor], pixels: np.ndarray) -> np.ndarray:
    image = transforms.to_tensor(transforms.center_crop(transforms.resize(Image.fromarray(pixels), 256), 224))
    values = (
        (image - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    )[None]
    index = 0
    for channels in LAYERS:
        if channels is None:
            values, index = functional.max_pool2d(values, 2), index + 1
            continue
        values = functional.conv2d(
            values, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1
        )
        index += 1
        if f"features.{index}.running_mean" in state:
            mean, var, weight, bias = (
                state[f"features.{index}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
            )
            values, index = functional.batch_norm(values, mean, var, weight, bias), index + 1
        values, index = functional.relu(values), index + 1
    return values.numpy().reshape(512 * 7 * 7)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Files of random weights without classifiers, 59 MB each."""
    folder = tmp_path_factory.mktemp("vgg")
    for name in semantics.VGG:
        torch.save(vgg_state(name == "vgg16_bn"), folder / f"{name}.pth")
    return Weights(vgg16=folder / "vgg16.pth", vgg16_bn=folder / "vgg16_bn.pth")


@pytest.fixture(scope="module")
def embed(vgg: Weights) -> semantics.Embedding:
    return semantics.get("vgg16", vgg)


@pytest.fixture(autouse=True)
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights but those that a test brings, and no network."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "huggingface"))
    monkeypatch.setenv("DISCERN_OFFLINE", "1")


def refusal(name: str, weights: Weights = Weights()) -> str:  # noqa: B008 - frozen
    with pytest.raises(WeightsError) as caught:
        semantics.get(name, weights)(textured(0))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# colour_gradient


def test_the_descriptor_tells_colours_and_edges_apart() -> None:
    embed = semantics.get("colour_gradient")
    red = np.full((40, 60, 3), (200, 20, 20), dtype=np.uint8)
    blue = np.full((40, 60, 3), (20, 20, 200), dtype=np.uint8)
    stripes = red.copy()
    stripes[::4] = 0
    vectors = [embed(image) for image in (red, blue, stripes, stripes.transpose(1, 0, 2))]
    assert all(v.shape == (176,) and v.dtype == np.float32 and (v >= 0).all() and (v <= 1).all() for v in vectors)
    assert np.abs(vectors[0] - vectors[1])[:48].max() > 0.5
    assert np.abs(vectors[2] - vectors[3])[48:].max() > 0.5
    np.testing.assert_array_equal(vectors[0], embed(red))


def test_the_descriptor_is_a_function_too() -> None:
    image = textured(1)
    np.testing.assert_array_equal(semantics.colour_gradient(image), semantics.get("colour_gradient")(image))


# VGG


@pytest.mark.parametrize("name", semantics.VGG)
@pytest.mark.parametrize("size", [(90, 301), (300, 280)])
def test_vgg_is_what_the_papers_say(vgg: Weights, name: str, size: tuple[int, int]) -> None:
    pixels = textured(4, *size)
    vector = semantics.get(name, vgg)(pixels)
    expected = vgg_by_hand(vgg_state(name == "vgg16_bn"), pixels)
    assert (vector.shape, vector.dtype) == ((25_088,), np.float32)
    assert expected.std() > 0.01
    np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


def test_different_contents_are_further_apart_than_a_content_and_its_copy(embed: semantics.Embedding) -> None:
    image, other = textured(5, 90, 120), textured(6, 90, 120)
    noisy = np.clip(image.astype(int) + np.random.default_rng(0).integers(-3, 4, image.shape), 0, 255).astype(np.uint8)
    vectors = [embed(one) for one in (image, noisy, other)]
    near, far = (float(np.mean((vectors[0] - one) ** 2)) for one in vectors[1:])
    assert 0 < near < far / 2


def test_the_classifier_is_not_needed_and_not_minded(vgg: Weights, embed: semantics.Embedding, tmp_path: Path) -> None:
    torch.save(vgg_state(False) | {"classifier.0.weight": torch.zeros(3, 3)}, tmp_path / "whole.pth")
    whole = semantics.get("vgg16", Weights(vgg16=tmp_path / "whole.pth"))
    np.testing.assert_array_equal(whole(textured(7)), embed(textured(7)))


def test_weights_from_before_batches_were_counted_give_the_same(vgg: Weights, tmp_path: Path) -> None:
    old = {key: value for key, value in vgg_state(True).items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    embeddings = [semantics.get("vgg16_bn", one) for one in (vgg, Weights(vgg16_bn=tmp_path / "old.pth"))]
    np.testing.assert_array_equal(*(embed(textured(8)) for embed in embeddings))


def test_wrong_weights_are_one_clear_error(vgg: Weights, tmp_path: Path) -> None:
    text = refusal("vgg16", Weights(vgg16=vgg.vgg16_bn))
    assert text.startswith(f"{vgg.vgg16_bn}: these are not weights of torchvision's vgg16: ")
    assert "not known" in text
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    assert "25 missing" in refusal("vgg16", Weights(vgg16=tmp_path / "part.pth"))
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    assert "26 missing" in refusal("vgg16", Weights(vgg16=tmp_path / "other.pth"))
    (tmp_path / "no.pth").write_text("no checkpoint")
    assert "fetch it again" in refusal("vgg16", Weights(vgg16=tmp_path / "no.pth"))


def test_another_host_looks_in_its_own_cache(
    vgg: Weights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embed: semantics.Embedding
) -> None:
    assert vgg.vgg16 is not None
    digest = pretrained.resolve("vgg16", vgg.vgg16).sha256
    monkeypatch.setattr(pretrained, "url_of", lambda name: f"https://example.org/vgg16-{digest[:8]}.pth")
    cached = tmp_path / "hub" / "checkpoints" / f"vgg16-{digest[:8]}.pth"
    cached.parent.mkdir(parents=True)
    os.link(vgg.vgg16, cached)
    sent = pickle.dumps(semantics.get("vgg16"))
    (tmp_path / "hub").rename(tmp_path / "there")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "there"))
    np.testing.assert_array_equal(pickle.loads(sent)(textured(7)), embed(textured(7)))


@pytest.mark.parametrize("name", ["vgg16", "clip:tiny"])
def test_of_a_very_long_image_the_centre_is_embedded(vgg: Weights, architectures: dict[str, Path], name: str) -> None:
    embed = semantics.get(name, vgg.model_copy(update={"clip": architectures["tiny"]}))
    image = textured(11, 10, 400)
    np.testing.assert_array_equal(embed(image), embed(image[:, 120:280]))
    np.testing.assert_array_equal(embed(image.transpose(1, 0, 2)), embed(image[:, 120:280].transpose(1, 0, 2)))


def test_a_file_that_was_replaced_is_not_loaded(tmp_path: Path) -> None:
    torch.save(vgg_state(False), tmp_path / "vgg16.pth")
    embed = semantics.get("vgg16", Weights(vgg16=tmp_path / "vgg16.pth"))
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    with pytest.raises(WeightsError, match=r"vgg16\.pth: sha256 is \w+, expected \w+"):
        embed(textured(0))


def test_without_weights_the_error_comes_before_the_first_image() -> None:
    with pytest.raises(WeightsError, match=r'weights\.vgg16: vgg16-397923af\.pth is not .* \[weights\] vgg16 = "PATH"'):
        semantics.get("vgg16")


def test_values_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    state = vgg_state(False)
    state["features.28.bias"][0] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(DiscernError, match="vgg16: the embedding of an image is not finite"):
        semantics.get("vgg16", Weights(vgg16=tmp_path / "nan.pth"))(textured(0))


def test_a_device_that_is_not_there_is_named(vgg: Weights) -> None:
    with pytest.raises(DiscernError, match=r"execution\.device: 'cuda:99' cannot be used"):
        semantics.get("vgg16", vgg, "cuda:99")(textured(0))


# CLIP

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
}
ARCHITECTURES = {
    "tiny": TINY,
    "tiny-quickgelu": TINY | {"quick_gelu": True},
    "tiny-resnet": TINY | {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}},
    "tiny-timm": TINY
    | {"vision_cfg": {"timm_model_name": "test_vit", "timm_model_pretrained": True, "timm_pool": "", "image_size": 96}},
    "tiny-coca": TINY
    | {
        "vision_cfg": TINY["vision_cfg"] | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "multimodal_cfg": {"context_length": 8, "width": 32, "heads": 2, "layers": 1},
        "custom_text": True,
    },
}


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Small models that open_clip knows in this module, and a file of random weights of each."""
    folder, known = tmp_path_factory.mktemp("clip"), dict(open_clip.factory._MODEL_CONFIGS)
    for name, config in ARCHITECTURES.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    for seed, name in enumerate(ARCHITECTURES):
        torch.manual_seed(seed)
        torch.save(open_clip.create_model(name).state_dict(), folder / f"{name}.pt")
    yield {name: folder / f"{name}.pt" for name in ARCHITECTURES}
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    open_clip.factory._MODEL_CONFIGS = known


def as_open_clip_does(name: str, weights: Path, pixels: np.ndarray, **options: Any) -> np.ndarray:
    model, _, prepare = open_clip.create_model_and_transforms(name, pretrained=str(weights), **options)
    with torch.no_grad():
        return model.eval().encode_image(prepare(Image.fromarray(pixels))[None], normalize=True)[0].numpy()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_clip_is_what_open_clip_says(architectures: dict[str, Path], name: str) -> None:
    embed = semantics.get(f"clip:{name}", Weights(clip=architectures[name]))
    pixels = textured(1, 50, 70)
    vector = embed(pixels)
    assert (vector.shape, vector.dtype) == ((16,), np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(vector, as_open_clip_does(name, architectures[name], pixels), atol=1e-6)
    assert embed.provenance["quick_gelu"] is (name == "tiny-quickgelu")
    assert embed.provenance["weights"][0]["published"] is False


def test_clip_reads_safetensors_and_an_image_tower_alone(architectures: dict[str, Path], tmp_path: Path) -> None:
    state = torch.load(architectures["tiny"], weights_only=True)
    visual = {key: value.half() for key, value in state.items() if key.startswith("visual.")}
    safetensors.torch.save_file(visual, tmp_path / "visual.safetensors")
    files = architectures["tiny"], tmp_path / "visual.safetensors"
    whole, half = (semantics.get("clip:tiny", Weights(clip=file))(textured(2)) for file in files)
    np.testing.assert_allclose(half, whole, atol=5e-3)
    assert half.dtype == np.float32


def publish(monkeypatch: pytest.MonkeyPatch, name: str, **tags: dict[str, Any]) -> None:
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, tags)


def tag(**settings: Any) -> dict[str, Any]:
    return open_clip.pretrained._pcfg(hf_hub="somebody/tiny/", **settings)


def test_a_tag_brings_its_activation_and_preprocessing(
    architectures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = (0.2, 0.3, 0.4)
    publish(monkeypatch, "tiny", openai=tag(quick_gelu=True), other=tag(mean=mean, resize_mode="squash"))
    file, pixels = architectures["tiny"], textured(3, 40, 90)
    embeddings = {one: semantics.get(f"clip:tiny{one}", Weights(clip=file)) for one in ("", "/openai", "/other")}
    plain, quick, other = (embed(pixels) for embed in embeddings.values())
    np.testing.assert_allclose(plain, as_open_clip_does("tiny", file, pixels), atol=1e-6)
    np.testing.assert_allclose(quick, as_open_clip_does("tiny", file, pixels, force_quick_gelu=True), atol=1e-6)
    settings = {"image_mean": mean, "image_resize_mode": "squash"}
    np.testing.assert_allclose(other, as_open_clip_does("tiny", file, pixels, **settings), atol=1e-6)
    assert np.abs(plain - quick).max() > 1e-3
    assert [embed.provenance["quick_gelu"] for embed in embeddings.values()] == [False, True, False]
    assert [embed.provenance["tag"] for embed in embeddings.values()] == [None, "openai", "other"]
    assert "squash" in embeddings["/other"].provenance["preprocessing"]
    assert len({embed.fingerprint for embed in embeddings.values()}) == 3


@pytest.mark.parametrize("address", ["https://example.org/{}/tiny.pt", "https://example.org/tiny-openai-{:.8}.pt"])
def test_a_file_whose_hash_is_published_is_recognised(
    architectures: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    safetensors.torch.save_file(torch.load(architectures["tiny"], weights_only=True), tmp_path / "a.safetensors")
    digest = hashlib.sha256(architectures["tiny-quickgelu"].read_bytes()).hexdigest()
    publish(monkeypatch, "tiny", laion=tag(), published=tag(url=address.format(digest), quick_gelu=True))
    known = semantics.get("clip:tiny", Weights(clip=architectures["tiny-quickgelu"])).provenance
    assert (known["tag"], known["quick_gelu"], known["weights"][0]["published"]) == ("published", True, True)
    unknown = semantics.get("clip:tiny", Weights(clip=tmp_path / "a.safetensors")).provenance
    assert (unknown["tag"], unknown["quick_gelu"], unknown["weights"][0]["published"]) == (None, False, False)
    text = refusal("clip:tiny/laion", Weights(clip=architectures["tiny-quickgelu"]))
    assert "these are the weights 'published', not 'laion'" in text


class Traced(torch.nn.Module):
    """An image tower as OpenAI published theirs."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.visual(image)


def test_a_program_is_read_only_where_its_whole_hash_is_that_of_openai(
    architectures: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = architectures["tiny-quickgelu"]
    model = open_clip.create_model("tiny-quickgelu", pretrained=str(file)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(
            torch.jit.trace(Traced(model.visual), torch.zeros(1, 3, 32, 32), check_trace=False),
            str(tmp_path / "tiny.pt"),
        )
    given = Weights(clip=tmp_path / "tiny.pt")
    digest = hashlib.sha256((tmp_path / "tiny.pt").read_bytes()).hexdigest()
    assert "TorchScript" in refusal("clip:tiny", given)
    publish(monkeypatch, "tiny", openai=tag(url=f"https://example.org/tiny-{digest[:8]}.pt", quick_gelu=True))
    assert "TorchScript" in refusal("clip:tiny", given)
    publish(monkeypatch, "tiny", openai=tag(url=f"https://example.org/{digest}/tiny.pt", quick_gelu=True))
    pixels = textured(4)
    expected = as_open_clip_does("tiny-quickgelu", file, pixels)
    np.testing.assert_allclose(semantics.get("clip:tiny", given)(pixels), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["clip:tiny", "clip:tiny/openai"])
@pytest.mark.parametrize("hub", ["somebody/tiny/", "somebody/tiny/net.bin"])
def test_the_cache_of_the_hub_is_used(
    architectures: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, hub: str
) -> None:
    publish(monkeypatch, "tiny", openai=open_clip.pretrained._pcfg(hf_hub=hub))
    revision = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "huggingface" / "models--somebody--tiny"
    snapshot = folder / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    kept = snapshot / ("net.bin" if hub.endswith("bin") else "open_clip_model.safetensors")
    state = torch.load(architectures["tiny"], weights_only=True)
    if kept.suffix == ".bin":
        torch.save(state, kept)
    else:
        safetensors.torch.save_file(state, kept)
    embed = semantics.get(name)
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert embed.provenance["weights"][0] == {
        "name": "clip:tiny/openai",
        "path": str(kept),
        "sha256": digest,
        "origin": "cache",
        "published": True,
    }
    expected = semantics.get("clip:tiny", Weights(clip=architectures["tiny"]))(textured(1))
    np.testing.assert_array_equal(embed(textured(1)), expected)


def test_what_is_not_cached_is_downloaded_by_open_clip(
    architectures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "tiny", openai=tag())
    monkeypatch.delenv("DISCERN_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: str(architectures["tiny"]))
    found = clip_models.find("tiny").found
    assert (found.path, found.origin, found.published) == (architectures["tiny"], "download", True)


def assert_says_what_to_do(text: str) -> None:
    assert text.startswith("clip:tiny/openai: its weights are not in the cache")
    assert "somebody/tiny" in text
    assert '[weights] clip = "PATH"' in text


def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "tiny", openai=tag())
    monkeypatch.setattr(open_clip, "download_pretrained", None)
    text = refusal("clip:tiny")
    assert_says_what_to_do(text)
    assert "DISCERN_OFFLINE" in text


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "tiny", openai=tag())
    monkeypatch.delenv("DISCERN_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # the client's own refusal
    text = refusal("clip:tiny")
    assert_says_what_to_do(text)
    assert "Failed to download" in text


def test_weights_of_another_model_are_one_clear_error(architectures: dict[str, Path], tmp_path: Path) -> None:
    text = refusal("clip:tiny", Weights(clip=architectures["tiny-resnet"]))
    assert text.startswith(
        f"{architectures['tiny-resnet']}: these are not weights of the image tower of open_clip's tiny"
    )
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pt")
    assert "missing" in refusal("clip:tiny", Weights(clip=tmp_path / "other.pt"))
    (tmp_path / "no.pt").write_text("no checkpoint")
    assert "fetch it again" in refusal("clip:tiny", Weights(clip=tmp_path / "no.pt"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clip:ViT-B/32", ["open_clip has no model 'ViT-B'", "ViT-B-32"]),
        ("clip:vit-b-32", ["'vit-b-32'", "did you mean", "ViT-B-32"]),
        ("clip:ViT-B-32/open-ai", ["no weights 'open-ai' of ViT-B-32", "openai", "laion2b_s34b_b79k"]),
        ("clip:qqqqqqqq", ["'qqqqqqqq'", "among others"]),
        ("clip:ViT-B-32-256", ["no weights 'openai'", "datacomp_s34b_b86k"]),
        ("clip:ViT-M-16", ["no weights 'openai'", '[weights] clip = "PATH"']),
        ("clip:ViT-M-16/x", ["no weights 'x'", '[weights] clip = "PATH"']),
    ],
)
def test_unknown_models_and_tags_are_named_beside_what_there_is(name: str, words: list[str]) -> None:
    text = refusal(name)
    assert all(word in text for word in words), text


@pytest.mark.parametrize("name", ["nothing", "vgg", "clip", "clip:", "VGG16", ""])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(
        DiscernError, match=f"unknown semantics {name!r}; choose colour_gradient or vgg16 or vgg16_bn or"
    ):
        semantics.get(name)


# All of them


@pytest.fixture(params=["colour_gradient", "vgg16", "clip:tiny", "clip:tiny-resnet"])
def any_embedding(request: pytest.FixtureRequest, vgg: Weights, architectures: dict[str, Path]) -> semantics.Embedding:
    file = architectures.get(request.param.removeprefix("clip:"))
    return semantics.get(request.param, vgg.model_copy(update={"clip": file}))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 200, 3), dtype=np.uint8),
        np.full((300, 5, 3), 255, dtype=np.uint8),
        np.full((64, 64, 3), 127, dtype=np.uint8),
        np.zeros((1, 1, 3), dtype=np.uint8),
        textured(0, 1, 20_000),
        textured(0, 20_000, 2),
    ],
    ids=["black", "white", "grey", "one pixel", "wide", "tall"],
)
def test_any_image_can_be_embedded(any_embedding: semantics.Embedding, image: np.ndarray) -> None:
    vector = any_embedding(image)
    assert vector.ndim == 1
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()


def test_an_image_is_not_changed_and_may_be_a_view(any_embedding: semantics.Embedding) -> None:
    image = textured(9, 60, 80)
    image.flags.writeable = False
    np.testing.assert_array_equal(any_embedding(image[:, ::-1]), any_embedding(image[:, ::-1].copy()))


def test_the_provenance_is_json_and_the_fingerprint_a_hash(any_embedding: semantics.Embedding) -> None:
    facts = any_embedding.provenance
    assert json.loads(json.dumps(facts)) == facts
    assert facts["name"] == any_embedding.name
    assert facts["device"] == "cpu"
    assert {"preprocessing", "libraries"} <= facts.keys()
    assert len(any_embedding.fingerprint) == 64
    assert any_embedding.fingerprint == any_embedding.fingerprint


def test_it_travels_without_its_network_and_gives_the_same(any_embedding: semantics.Embedding) -> None:
    image = textured(10)
    before = pickle.dumps(any_embedding)
    expected = any_embedding(image)
    sent = pickle.dumps(any_embedding)
    assert len(sent) == len(before) < 4000
    copy = pickle.loads(sent)
    assert (copy.provenance, copy.fingerprint) == (any_embedding.provenance, any_embedding.fingerprint)
    np.testing.assert_array_equal(copy(image), expected)


def test_threads_get_the_same(any_embedding: semantics.Embedding) -> None:
    fresh = pickle.loads(pickle.dumps(any_embedding))
    images = [textured(seed, 30, 40) for seed in range(2)]
    barrier = threading.Barrier(4)

    def work(_: int) -> list[np.ndarray]:
        barrier.wait()
        return [fresh(image) for image in images]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    expected = [any_embedding(image) for image in images]
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("name", ["vgg16", "clip:tiny"])
def test_the_fingerprint_follows_the_weights_and_not_their_place(
    vgg: Weights, architectures: dict[str, Path], tmp_path: Path, name: str
) -> None:
    key = name.partition(":")[0]
    file = vgg.vgg16 if key == "vgg16" else architectures["tiny"]
    assert file is not None
    copy = tmp_path / "elsewhere.pt"
    os.link(file, copy)
    changed = tmp_path / "changed.pt"
    torch.save({"visual.x": torch.zeros(1)}, changed)
    here, there, other = (semantics.get(name, Weights(**{key: one})) for one in (file, copy, changed))
    assert here.provenance != there.provenance
    assert here.fingerprint == there.fingerprint
    assert here.fingerprint != other.fingerprint
    assert here.fingerprint != semantics.get(name, Weights(**{key: file}), "cuda:1").fingerprint
    devices = [semantics.get(name, Weights(**{key: file}), device).fingerprint for device in ("cuda:0", "cuda:1")]
    assert devices[0] == devices[1]


def test_fingerprints_of_different_embeddings_differ(vgg: Weights) -> None:
    prints = {semantics.get(name, vgg).fingerprint for name in ("colour_gradient", *semantics.VGG)}
    assert len(prints) == 3


def test_finding_an_embedding_loads_no_network(vgg: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.weights.load_state", None)
    embed = semantics.get("vgg16", vgg)
    assert embed.provenance["weights"] == [pretrained.resolve("vgg16", vgg.vgg16).provenance]
    with pytest.raises(TypeError):
        embed(textured(0))


def test_open_clip_is_not_imported_where_it_is_not_used() -> None:
    program = "import sys; from pipelines.selection import semantics; semantics.get('colour_gradient'); " + (
        "print([name for name in ('open_clip', 'timm', 'torchvision') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
