"""Networks from their checkpoints: whatever spandrel recognises, and the two that it does not know, USRNet and DASR.

spandrel finds the architecture from the keys of the state dict. Architectures under licences that forbid commercial
use are in a package of their own, spandrel_extra_arches, and are used only where the study accepts the licence.
"""

import textwrap
import warnings
from collections.abc import Collection
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import spandrel
import torch

from pipelines import weights
from pipelines.errors import WeightsError
from pipelines.super_resolution import dasr, usrnet
from pipelines.super_resolution.network import Loaded, Network, Settings
from pipelines.super_resolution.tiling import Forward


def recognised(
    method_id: str, file: Path, settings: Settings, *, sha256: str | None = None, accepted: Collection[str] = ()
) -> Network:
    """A network that spandrel recognises.

    Args:
        method_id: its name in the study.
        file: its checkpoint.
        settings: how it is run.
        sha256: that the file must have.
        accepted: architectures, in small letters, whose non-commercial licence is accepted; "*" for whichever it is.

    Raises:
        WeightsError: the file is not there, or not the expected one. When it is loaded: it is no checkpoint, of an
            unknown architecture, under a licence that is not accepted, or not an RGB super-resolver by the scale.
    """
    digest = weights.local_file(file, sha256)
    facts = {"kind": "checkpoint", "weights_sha256": digest, "spandrel": metadata.version("spandrel")}
    load = partial(_load_recognised, file, digest, settings.scale, frozenset(accepted))
    return Network(method_id, facts, load, settings)


def _load_recognised(file: Path, sha256: str, scale: int, accepted: frozenset[str]) -> Loaded:
    # Perhaps on another host, or after the file was replaced: what the provenance says is what is run.
    state = weights.load_state(file, sha256)
    network = _recognise(file, state, accepted)
    if not isinstance(network, spandrel.ImageModelDescriptor):
        raise WeightsError(f"{file}: {network.architecture.name} takes more than an image; give another file")
    if network.scale != scale or network.input_channels != 3 or network.output_channels != 3:
        raise WeightsError(
            f"{file}: {network.architecture.name} x{network.scale} with {network.input_channels} input and "
            f"{network.output_channels} output channels; the study needs an RGB network x{scale}: give another file"
        )
    supported = {"float16": network.supports_half, "bfloat16": network.supports_bfloat16}
    # The descriptor pads to the sizes that the network can take, crops, and clamps.
    return Loaded(network.model, lambda _: network, frozenset(name for name, works in supported.items() if works))


def _recognise(file: Path, state: dict[str, torch.Tensor], accepted: frozenset[str]) -> Any:
    for registry in (spandrel.MAIN_REGISTRY, _extra_registry()):
        try:
            with warnings.catch_warnings():
                # Some architectures in spandrel call torch functions in a deprecated way; nothing a user can mend.
                warnings.filterwarnings("ignore", category=UserWarning)
                network = registry.load(state)
        except spandrel.UnsupportedModelError:
            continue
        except Exception as error:  # a few keys decide on the architecture; without the others, anything may happen
            reason = textwrap.shorten(str(error), 200, placeholder=" ...")
            raise WeightsError(
                f"{file}: the weights do not fit their architecture ({reason}); fetch it again"
            ) from error
        if registry is not spandrel.MAIN_REGISTRY:
            _check_accepted(file, network.architecture.name, accepted)
        return network
    others = ", or, for those under non-commercial licences such as FeMaSR: pip install 'discern[noncommercial]'"
    raise WeightsError(
        f"{file}: spandrel {metadata.version('spandrel')} knows no architecture with these weights; give another file"
        f"{'' if find_spec('spandrel_extra_arches') else others}"
    )


def _extra_registry() -> spandrel.ArchRegistry:
    """The architectures under non-commercial licences; none where their package is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # it compiles with a deprecated part of torch
            import spandrel_extra_arches
    except ModuleNotFoundError:
        return spandrel.ArchRegistry()
    return spandrel_extra_arches.EXTRA_REGISTRY


def _check_accepted(file: Path, architecture: str, accepted: frozenset[str]) -> None:
    name = architecture.lower()
    if name not in accepted and "*" not in accepted:
        raise WeightsError(
            f"{file}: {architecture} comes with spandrel_extra_arches, under a licence that may forbid commercial use; "
            f"if that suits you, add accept_licences = [{name!r}] at the top of the study file"
        )


def usr(
    method_id: str,
    file: Path,
    settings: Settings,
    *,
    kernel_width: float,
    noise_level: float,
    sha256: str | None = None,
) -> Network:
    """USRNet or USRGAN, for a given blur and noise: see `usrnet.restore`.

    Raises:
        WeightsError: the file is not there, or not the expected one; when it is loaded, its weights are others.
    """
    digest = weights.local_file(file, sha256)
    parameters = {"kernel_width": kernel_width, "noise_level": noise_level}
    facts = {"kind": "usrnet", "weights_sha256": digest, **parameters}
    load = partial(_load_usr, file, digest, settings.scale, kernel_width, noise_level)
    return Network(method_id, facts, load, settings)


def _load_usr(file: Path, sha256: str, scale: int, kernel_width: float, noise_level: float) -> Loaded:
    if scale > usrnet.LARGEST_SCALE:
        raise WeightsError(
            f"{file}: USRNet enlarges by {usrnet.LARGEST_SCALE} at most, the study by {scale}; leave it out"
        )
    state = weights.load_state(file, sha256)
    try:
        network = usrnet.from_state(state)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    forward = partial(usrnet.restore, network, scale=scale, kernel_width=kernel_width, noise_level=noise_level)
    return Loaded(network, lambda _: forward)


def adaptive(
    method_id: str,
    generator: Path,
    predictor: Path,
    settings: Settings,
    *,
    generator_sha256: str | None = None,
    predictor_sha256: str | None = None,
) -> Network:
    """DASR: the predictor sees the whole image, the generator its tiles.

    Raises:
        WeightsError: a file is not there, or not the expected one; when they are loaded, their weights are others.
    """
    digests = {
        "generator_sha256": weights.local_file(generator, generator_sha256),
        "predictor_sha256": weights.local_file(predictor, predictor_sha256),
    }
    load = partial(_load_adaptive, generator, predictor, settings.scale, **digests)
    return Network(method_id, {"kind": "dasr", **digests}, load, settings)


def _load_adaptive(
    generator: Path, predictor: Path, scale: int, *, generator_sha256: str, predictor_sha256: str
) -> Loaded:
    if scale != 4:
        raise WeightsError(f"{generator}: DASR enlarges by 4, the study by {scale}; leave it out")
    states = weights.load_state(generator, generator_sha256), weights.load_state(predictor, predictor_sha256)
    try:
        enlarge, predict = dasr.from_states(*states)
    except WeightsError as error:
        wrong = predictor if dasr.PREDICTOR in str(error) else generator
        raise WeightsError(f"{wrong}: {error}") from error

    def for_image(low: torch.Tensor) -> Forward:
        _, experts = predict(low)
        return partial(enlarge, weights=experts)

    return Loaded(torch.nn.ModuleList([enlarge, predict]), for_image)
