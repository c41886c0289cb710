"""The servers' side of the payment service: three calls, each of which carries the token."""

from __future__ import annotations

from datetime import date
from types import TracebackType
from typing import Self

import httpx

from examples.billing.database import Subscription
from examples.billing.ledger import StaleCharge

TOKEN_HEADER = "Leaderlock-Token"
CURRENT_HEADER = "Leaderlock-Current"
PATIENCE = 10.0  # seconds; no answer by then is a fault, see `PaymentGateway`


class PaymentGateway:
    """Talks to the payment service for one server in one term.

    A call that gets no answer raises httpx.TransportError: the charge may or may not have been
    made. It is never simply repeated; the term ends, and the next one reads the ledger first.
    """

    def __init__(self, url: str, server: str, token: str | None) -> None:
        headers = {} if token is None else {TOKEN_HEADER: token}
        self._server = server
        self._http = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def raise_fence(self) -> None:
        """From now on the service refuses every lower token; StaleCharge if ours is lower."""
        _check(self._http.put("/fence"))

    def charged(self, day: date) -> set[int]:
        """The subscriptions that the service's ledger says have been charged for `day`."""
        answer = _check(self._http.get("/charges", params={"day": str(day)}))
        return set(answer.json()["subscriptions"])

    def charge(self, subscription: Subscription, day: date) -> None:
        """Collect one period's price; StaleCharge if the fence refuses our token."""
        body = {
            "subscription": subscription.id,
            "day": str(day),
            "cents": subscription.cents,
            "server": self._server,
        }
        _check(self._http.post("/charges", json=body))


def _check(answer: httpx.Response) -> httpx.Response:
    if answer.status_code == httpx.codes.PRECONDITION_FAILED:
        raise StaleCharge(answer.headers[CURRENT_HEADER])
    return answer.raise_for_status()
