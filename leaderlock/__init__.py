"""Leader election for Python programs, over the store they already run.

    from leaderlock import LeaderElector

    with LeaderElector("sqlite:///var/lib/app/election.db", "billing").lead() as leadership:
        for invoice in due():
            leadership.check()
            charge(invoice, fence=leadership.token)

Start with `LeaderElector`; what is promised, and what is not, stands in docs/guarantees.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderlock.backends.base import Backend as Backend
    from leaderlock.capabilities import Capabilities as Capabilities
    from leaderlock.client import Client as Client
    from leaderlock.client import connect as connect
    from leaderlock.decorators import leader_only as leader_only
    from leaderlock.elector import LeaderElector as LeaderElector
    from leaderlock.errors import BackendRefused as BackendRefused
    from leaderlock.errors import BackendUnavailable as BackendUnavailable
    from leaderlock.errors import CampaignTimeout as CampaignTimeout
    from leaderlock.errors import ConfigurationError as ConfigurationError
    from leaderlock.errors import LeaderLockError as LeaderLockError
    from leaderlock.errors import LeadershipLost as LeadershipLost
    from leaderlock.errors import MissingDependency as MissingDependency
    from leaderlock.errors import NotLeader as NotLeader
    from leaderlock.errors import StaleToken as StaleToken
    from leaderlock.errors import TokenRegression as TokenRegression
    from leaderlock.errors import UnknownBackend as UnknownBackend
    from leaderlock.leadership import Leadership as Leadership
    from leaderlock.machine import LossReason as LossReason
    from leaderlock.observer import LeaderInfo as LeaderInfo
    from leaderlock.signals import stop_on_signals as stop_on_signals
    from leaderlock.timing import Timing as Timing
    from leaderlock.tokens import FencingToken as FencingToken

__version__ = "0.1.0"

# Loaded on first use, so that a program which only checks tokens, or may never elect, starts fast.
_HOME = {
    "Backend": "leaderlock.backends.base",
    "Capabilities": "leaderlock.capabilities",
    "Client": "leaderlock.client",
    "connect": "leaderlock.client",
    "leader_only": "leaderlock.decorators",
    "LeaderElector": "leaderlock.elector",
    "BackendRefused": "leaderlock.errors",
    "BackendUnavailable": "leaderlock.errors",
    "CampaignTimeout": "leaderlock.errors",
    "ConfigurationError": "leaderlock.errors",
    "LeaderLockError": "leaderlock.errors",
    "LeadershipLost": "leaderlock.errors",
    "MissingDependency": "leaderlock.errors",
    "NotLeader": "leaderlock.errors",
    "StaleToken": "leaderlock.errors",
    "TokenRegression": "leaderlock.errors",
    "UnknownBackend": "leaderlock.errors",
    "Leadership": "leaderlock.leadership",
    "LossReason": "leaderlock.machine",
    "LeaderInfo": "leaderlock.observer",
    "stop_on_signals": "leaderlock.signals",
    "Timing": "leaderlock.timing",
    "FencingToken": "leaderlock.tokens",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
