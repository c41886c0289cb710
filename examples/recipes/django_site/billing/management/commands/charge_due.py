"""manage.py charge_due: safe to be started by two hosts, or by a person while cron does."""

from __future__ import annotations

import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from examples.recipes.django_site.billing.models import Customer, Fence
from leaderlock import (
    CampaignTimeout,
    FencingToken,
    LeaderElector,
    Leadership,
    StaleToken,
    stop_on_signals,
)

JOB = "charge_due"


class Command(BaseCommand):
    help = "Charges every customer once a day, whoever starts it, however often."

    def add_arguments(self, parser: CommandParser) -> None:
        # Not 0: being elected takes a request to the store even when nobody else is there.
        parser.add_argument("--wait", type=float, default=5.0, help="seconds to wait to lead")
        parser.add_argument("--day", type=datetime.date.fromisoformat, default=None)

    def handle(self, *args: Any, wait: float, day: datetime.date | None, **options: Any) -> None:
        elector = LeaderElector(settings.LEADERLOCK_URL, JOB)
        try:
            with stop_on_signals(elector), elector.lead(timeout=wait) as leadership:
                charged = self.charge(day or datetime.date.today(), leadership)
                self.stdout.write(f"charged {charged}")
        except CampaignTimeout:
            self.stdout.write("another process is at it")

    def charge(self, day: datetime.date, leadership: Leadership) -> int:
        token = leadership.token
        with transaction.atomic():
            self.pass_fence(token)  # before the customers are read
        customers = list(Customer.objects.exclude(charged_on=day).order_by("pk"))
        for customer in customers:
            leadership.check()
            with transaction.atomic():  # the fence and the charge, or neither
                self.pass_fence(token)
                customer.charged_on, customer.charged_under = day, str(token)
                customer.save()
        return len(customers)

    @staticmethod
    def pass_fence(token: FencingToken) -> None:
        """Lock the fence until the end of the transaction, and shut out earlier leaders.

        Raises:
            StaleToken: a later leader has been here.
        """
        if not Fence.objects.filter(job=JOB, token__lte=str(token)).update(token=str(token)):
            fence, is_new = Fence.objects.get_or_create(job=JOB, defaults={"token": str(token)})
            if not is_new:
                raise StaleToken(token, FencingToken.parse(fence.token))
