"""Customers, and the fence that a leader who is late does not pass."""

from __future__ import annotations

from django.db import models


class Customer(models.Model):
    name = models.TextField()
    charged_on = models.DateField(null=True)
    charged_under = models.TextField(default="")  # the token, to be looked up after an accident


class Fence(models.Model):
    """The highest token that has been seen, for each job."""

    job = models.TextField(primary_key=True)
    token = models.TextField()
