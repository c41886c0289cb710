"""The fixtures of the tests of electors: a store, and clients of it that are closed in the end."""

from tests.elector.conftest import *  # noqa: F403
