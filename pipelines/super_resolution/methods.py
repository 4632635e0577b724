"""From the study's description of a method to something that the stage can run."""

from pipelines import study_methods
from pipelines.errors import DiscernError
from pipelines.study import Study
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.folder import Folder
from pipelines.super_resolution.interpolation import Interpolation
from pipelines.super_resolution.method import Method


def make(study: Study, description: study_methods.Method) -> Method | Program:
    """Make a method ready; networks are loaded by their first image, or by `Method.prepare`.

    Raises:
        WeightsError: weights are not there, or not the expected ones.
        DiscernError: a naming rule or a template is wrong.
    """
    match description:
        case study_methods.Interpolation():
            return Interpolation(description.id, description.algorithm, study.scale)
        case study_methods.Folder():
            return Folder(description.id, description.folder, description.pattern, study.scale)
        case study_methods.External():
            return program(study, description)
        case _:
            return _network(study, description)


def program(study: Study, description: study_methods.External) -> Program:
    """The upstream program that a study describes."""
    given = description.model_dump(include=set(Program.__dataclass_fields__))
    return Program(**given, scale=study.scale, seed=study.seed)


def _network(study: Study, description: study_methods.Checkpoint | study_methods.Usrnet | study_methods.Dasr) -> Method:
    # torch takes seconds to import, and a study of finished folders does without.
    from pipelines.super_resolution import checkpoint
    from pipelines.super_resolution.network import Settings

    settings = Settings(
        study.scale, study.execution.device, description.precision, description.tile, description.overlap
    )
    match description:
        case study_methods.Checkpoint(id=name, file=file, sha256=sha256):
            accepted = {*study.accept_licences, *_own_acceptance(study, description)}
            return checkpoint.recognised(name, file, settings, sha256=sha256, accepted=accepted)
        case study_methods.Usrnet(id=name, file=file, sha256=sha256):
            width, noise = description.kernel_width, description.noise_level
            return checkpoint.usr(name, file, settings, kernel_width=width, noise_level=noise, sha256=sha256)
        case study_methods.Dasr(id=name, generator=generator, predictor=predictor):
            pins = {"generator_sha256": description.generator_sha256, "predictor_sha256": description.predictor_sha256}
            return checkpoint.adaptive(name, generator, predictor, settings, **pins)


def _own_acceptance(study: Study, description: study_methods.Checkpoint) -> set[str]:
    """Who accepts the licence of a method by its name in the study has accepted that of its architecture."""
    return {"*"} if (description.preset or description.id) in study.accept_licences else set()


def gpu_of(device: str, visible: str | None) -> str:
    """The one GPU that an external program may see, as a value of CUDA_VISIBLE_DEVICES.

    Args:
        device: the study's `execution.device`; "cuda:1" is the second of the visible ones, anything else the first.
        visible: CUDA_VISIBLE_DEVICES of this process; None where it is not set, empty where all are hidden.

    Raises:
        DiscernError: there are not so many.
    """
    _, _, number = device.partition(":")
    index = int(number) if device.startswith("cuda:") and number.isdigit() else 0
    if visible is None:
        return str(index)
    if not visible.strip():
        return ""
    names = [name.strip() for name in visible.split(",")]
    if index >= len(names):
        raise DiscernError(
            f"execution.device: {device!r}, but CUDA_VISIBLE_DEVICES is {visible!r}; correct one of them"
        )
    return names[index]
