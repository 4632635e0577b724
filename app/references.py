"""The reference that a protocol shows beside two outputs: the LR image, enlarged, or the output of a method."""

from collections.abc import Mapping

from app import image_files
from app.image_files import Picture
from pipelines.errors import DiscernError
from pipelines.protocol import Protocol
from pipelines.super_resolution.resampling import KERNELS, resample
from pipelines.workspace import Workspace


class References:
    """The references of a workspace's LR images.

    Args:
        workspace: has the images.
        protocol: says which one is shown; it must show one.
        scale: of the study.
        outputs: pixel hashes by the LR image's pixel hash and the method.
        stems: of LR images, for messages.
    """

    def __init__(
        self,
        workspace: Workspace,
        protocol: Protocol,
        scale: int,
        outputs: Mapping[tuple[str, str], str],
        stems: Mapping[str, str],
    ) -> None:
        self._workspace, self._protocol, self._scale = workspace, protocol, scale
        self._outputs, self._stems = outputs, stems

    def picture(self, image: str, size: tuple[int, int]) -> Picture:
        """The reference of an LR image.

        Args:
            image: its pixel hash.
            size: width and height of its outputs.

        Raises:
            DiscernError: there is none, or it has another size.
        """
        made = self._made(image)
        height, width = made.pixels.shape[:2]
        if (width, height) != size:
            raise DiscernError(
                f"protocol.reference: that of {self._stems[image]!r} has {width} x {height} pixels, its outputs have "
                f"{size[0]} x {size[1]}: choose another reference, or 'none'"
            )
        return made

    def _made(self, image: str) -> Picture:
        method = self._protocol.reference_method
        if method is None:
            kernel = KERNELS[self._protocol.reference.partition(":")[2]]
            return image_files.made(resample(self._workspace.get_image(image), self._scale, kernel))
        if (image, method) not in self._outputs:
            raise DiscernError(
                f"protocol.reference: {method} has no output of {self._stems[image]!r} in the workspace: run the "
                "study again, or choose another reference"
            )
        return image_files.of_workspace(self._workspace, self._outputs[image, method])
