"""What the service keeps and sends."""

from __future__ import annotations

import os
import time

from pys_multi import App

app = App("probe", public=True)

#: What handlers noted about the events they got, by the key that the event carried.
seen = app.table("seen", key="key", sort="entry")
#: A place to wait for something: whoever waits polls it, whoever opens it puts an item.
gates = app.table("gates", key="key")

users = app.table("users", key="id")
readings = app.table("readings", key="sensor", sort="at")
files = app.bucket("files")
inbox = app.bucket("inbox")
payment_key = app.secret("PAYMENT_KEY")
operator_key = app.secret("OPERATOR_KEY")
token_key = app.secret("TOKEN_KEY")
hook_key = app.secret("HOOK_KEY")
github_key = app.secret("GITHUB_KEY")

jobs = app.queue("jobs")
orders = app.queue("orders", retries=1)
batches = app.queue("batches")
careless = app.queue("careless", retries=0)
flaky = app.queue("flaky", retries=2, visibility=2)
doomed = app.queue("doomed", retries=1, visibility=2)
ordered = app.queue("ordered", ordered=True)
payments = app.queue("payments", retries=3)
chained = app.queue("chained")
news = app.topic("news")
rumours = app.topic("rumours")
paid = app.table("paid", key="id")


def note(key: object, handler: str, **fields: object) -> None:
    """Records that a handler ran, in order of time."""
    seen.put({"key": str(key), "entry": f"{time.time_ns():020d}-{os.urandom(4).hex()}", "handler": handler, **fields})
