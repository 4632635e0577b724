"""What tests of selection share: a VGG-16 that knows nothing, as a file."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def random_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of VGG-16 with random weights, without the classifier, which is most of the published file."""
    import torch
    from torchvision.models import vgg16

    torch.manual_seed(0)
    state = vgg16(weights=None).state_dict()
    path = tmp_path_factory.mktemp("weights") / "random_vgg16.pt"
    torch.save({key: value for key, value in state.items() if key.startswith("features.")}, path)
    return path
