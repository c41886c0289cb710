"""What the tests of the image and of the demo share."""

from __future__ import annotations

import fcntl
import os

import pytest

from tests.packaging.containers import Image


@pytest.fixture(scope="session")
def billing_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The demo's environment has all of the command line's, and more: both can be run from it.

    One for all workers, since it takes seconds.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    image, ready = Image("billing", folder / "image"), folder / "image-ready"
    with (folder / "image-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            image.build("build-billing")
            image.build("billing")
            ready.touch()
    return image
