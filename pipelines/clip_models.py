"""Image towers of open_clip: which weights, where they are, and how they want an image, known before they are loaded.

A model is named `MODEL` or `MODEL/TAG`, both as open_clip names them. The tag says whose weights they are, and with
that how images are prepared and which activation was used in training: OpenAI's, DFN's and most of MetaCLIP's want
QuickGELU, which nothing in a file of weights can tell. A local file takes the place of the tag's; it is recognised
where open_clip publishes its sha256. Of another one, only the name in the study can say what it is: add its `/TAG`, or
choose the `-quickgelu` sibling of MODEL, where it was trained with QuickGELU.
"""

import difflib
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import try_to_load_from_cache
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from torch import Tensor, nn

from pipelines import pretrained, weights
from pipelines.errors import WeightsError
from pipelines.pretrained import Found
from pipelines.super_resolution.state_dict import load_strictly

DEFAULT_TAG = "openai"
_PREFIX = "visual."


@dataclass(frozen=True)
class Model:
    """An image tower that is found, and not loaded.

    Attributes:
        architecture: open_clip's name.
        tag: whose preprocessing and activation are used; None for the architecture's own.
        found: the weights.
        quick_gelu: whether the activation is QuickGELU instead of GELU, in towers that have the choice.
        preprocessing: open_clip's settings of it.
    """

    architecture: str
    tag: str | None
    found: Found
    quick_gelu: bool
    preprocessing: PreprocessCfg

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides on the values, and where the weights were; JSON values."""
        image = asdict(self.preprocessing)
        return {
            "architecture": self.architecture,
            "tag": self.tag,
            "quick_gelu": self.quick_gelu,
            "preprocessing": f"resized to {image.pop('size')}, as open_clip does with "
            + ", ".join(f"{key} {value}" for key, value in image.items()),
            "weights": [self.found.provenance],
        }

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """From an RGB image to (3, h, w) float32, as the tower wants it."""
        return image_transform_v2(self.preprocessing, is_train=False)

    def load(self) -> nn.Module:
        """The tower on the CPU, for evaluation; from (n, 3, h, w) it makes (n, d), or a tuple that begins with that.

        Raises:
            WeightsError: the file is not a checkpoint, not the one that was found, or of another architecture.
        """
        state = _state(self.architecture, self.found)
        visual = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
        try:
            return load_strictly(self._empty(), visual, f"the image tower of open_clip's {self.architecture}")
        except WeightsError as error:
            raise WeightsError(f"{self.found.path}: {error}") from error

    def _empty(self) -> nn.Module:
        """The tower alone: the text tower would double the memory, and some ask the network for their configuration."""
        config = _config(self.architecture)
        tower = config["vision_cfg"] | {"timm_model_pretrained": False}  # or it would fetch weights to be overwritten
        return open_clip.model._build_vision_tower(config["embed_dim"], tower, self.quick_gelu)


def find(name: str, given: Path | None = None) -> Model:
    """Find a model's weights: the local file, the cache of the Hugging Face hub, or a download into it.

    Args:
        name: `MODEL` or `MODEL/TAG`.
        given: a local file of weights.

    Raises:
        WeightsError: open_clip does not know the model or the tag, the file cannot be read or is known to be of another
            tag, or the tag's weights cannot be had.
    """
    architecture, _, tag = name.partition("/")
    if architecture not in open_clip.list_models():
        raise WeightsError(f"clip:{name}: open_clip has no model {architecture!r}; {_close_to(name)}")
    if tag and not open_clip.is_pretrained_cfg(architecture, tag):
        raise WeightsError(f"clip:{name}: open_clip has no weights {tag!r} of {architecture}; {_tags(architecture)}")
    if given is not None:
        return _described(architecture, *_recognised(architecture, tag, given))
    return _described(architecture, tag or DEFAULT_TAG, _published(architecture, tag or DEFAULT_TAG))


def _close_to(name: str) -> str:
    known = open_clip.list_models()
    close = difflib.get_close_matches(name.replace("/", "-"), known, n=5)
    return f"did you mean {' or '.join(close)}?" if close else f"it has, among others, {', '.join(known[::20])}"


def _tags(architecture: str) -> str:
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    return f"choose {', '.join(tags)}" if tags else f"it has none: name a file in the study file: {_SETTING}"


_SETTING = '[weights] clip = "PATH"'


def _config(architecture: str) -> dict[str, Any]:
    config: dict[str, Any] = open_clip.get_model_config(architecture)
    return config


def _described(architecture: str, tag: str, found: Found) -> Model:
    config, published = _config(architecture), open_clip.get_pretrained_cfg(architecture, tag)
    # open_clip only warns where an architecture lacks the activation that the weights were trained with.
    quick_gelu = bool(config.get("quick_gelu") or published.get("quick_gelu"))
    own = {"size": config["vision_cfg"].get("image_size", open_clip.CLIPVisionCfg.image_size)}
    settings = merge_preprocess_dict(PreprocessCfg(), published | own)
    return Model(architecture, tag or None, found, quick_gelu, PreprocessCfg(**settings))


def _recognised(architecture: str, tag: str, given: Path) -> tuple[str, Found]:
    """A local file, and the tag that it is used as; that is empty where neither the study nor its sha256 says it."""
    digest = weights.local_file(given)
    known = [one for one in open_clip.list_pretrained_tags_by_model(architecture) if _is_of(architecture, one, digest)]
    if tag and known and open_clip.pretrained._clean_tag(tag) not in known:
        raise WeightsError(f"{given}: these are the weights {known[0]!r}, not {tag!r}; correct selection.semantics")
    tag = tag or next(iter(known), "")
    name = f"{architecture}/{tag}" if tag else architecture
    return tag, Found(f"clip:{name}", given, digest, "local file", published=bool(known))


def _is_of(architecture: str, tag: str, sha256: str) -> bool:
    """Whether a tag's URL promises that hash: `.../<64 digits>/ViT-B-32.pt`, or `...-<8 digits>.pt`."""
    promised = re.findall(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.\w+$", open_clip.get_pretrained_url(architecture, tag))
    return any(sha256.startswith(whole or first) for whole, first in promised)


def _published(architecture: str, tag: str) -> Found:
    config = open_clip.get_pretrained_cfg(architecture, tag)
    name = f"clip:{architecture}/{tag}"
    if not config:
        raise WeightsError(
            f"clip:{architecture}: open_clip has no weights {tag!r} of it; add the tag of others: {_tags(architecture)}"
        )
    if (path := _in_cache(config)) is not None:
        return Found(name, path, weights.sha256_of(path), "cache", published=True)
    path = _download(name, config)
    return Found(name, path, weights.sha256_of(path), "download", published=True)


def _in_cache(config: dict[str, Any]) -> Path | None:
    """Where the hub's client has kept a file; found without asking the hub, as offline it has to be."""
    repository, _, file = config["hf_hub"].rpartition("/")
    pickled = file or open_clip.constants.HF_WEIGHTS_NAME
    safe = str(Path(file).with_suffix(".safetensors")) if file else open_clip.constants.HF_SAFE_WEIGHTS_NAME
    kept = [try_to_load_from_cache(repository, one) for one in (safe, pickled)]
    return next((Path(one) for one in kept if isinstance(one, str)), None)


def _download(name: str, config: dict[str, Any]) -> Path:
    repository = config["hf_hub"].rpartition("/")[0]
    try:
        if pretrained.offline():
            raise OSError("DISCERN_OFFLINE or HF_HUB_OFFLINE forbids downloads")
        return Path(open_clip.download_pretrained(config))
    except Exception as error:  # the hub's client and its transport fail in many ways
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(
            f"{name}: its weights are not in the cache, and cannot be fetched from the repository {repository} of the "
            f"Hugging Face hub ({reason}); fetch them elsewhere, and name the file in the study file: {_SETTING}"
        ) from error


def _state(architecture: str, found: Found) -> dict[str, Tensor]:
    if _is_openai_archive(architecture, found.sha256):
        weights.local_file(found.path, found.sha256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; it is how OpenAI published them
            return dict(torch.jit.load(str(found.path), map_location="cpu").state_dict())
    return weights.load_state(found.path, found.sha256)


def _is_openai_archive(architecture: str, sha256: str) -> bool:
    """A program, not weights alone: it is read only where the whole hash says that it is the one that OpenAI made."""
    return f"/{sha256}/" in open_clip.get_pretrained_url(architecture, DEFAULT_TAG)
