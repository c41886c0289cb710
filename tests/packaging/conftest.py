"""What the tests of the image and of the demo share."""

from __future__ import annotations

import pytest

from tests.packaging.containers import Image


@pytest.fixture(scope="session")
def billing_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The demo's environment has all of the command line's, and more: both can be run from it."""
    image = Image("billing", tmp_path_factory.mktemp("image"))
    image.build("build-billing")
    image.build("billing")
    return image
