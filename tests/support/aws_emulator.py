"""AWS's services on loopback: moto's server in a process of its own, so that what else uses moto does not reset it.

    python tests/support/aws_emulator.py     prints its address, and ends with its standard input

What moto lacks is added here: S3 tells of delete markers, as it does in buckets with versions. To DynamoDB, values of
different types are neither equal nor less nor more than each other, an update that it refuses changes nothing, and
numbers are added however they are written.
One address more than moto's own: ``/_waiting`` answers once a queue has a message to receive, or after a second,
with the names of such queues. Asking every queue again and again would keep a core busy.
"""

from __future__ import annotations

import json
import operator
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ACCOUNT, REGION = "123456789012", "eu-central-1"
#: What every client of the emulator uses.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "loopback only"}


class Emulator:
    """The process, from the outside."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the emulator did not start"
        self._clients: dict[str, Any] = {}

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def client(self, service: str) -> Any:
        """boto3's client of a service."""
        import boto3

        if service not in self._clients:
            self._clients[service] = boto3.session.Session().client(
                service,
                region_name=REGION,
                endpoint_url=self.url,
                aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            )
        return self._clients[service]


def _waiting() -> list[str]:
    from moto.sqs.models import sqs_backends

    names = []
    for name, queue in list(sqs_backends[ACCOUNT][REGION].queues.items()):
        held = queue.pending_message_groups if queue.fifo_queue else ()
        if any(message.group_id not in held for message in queue.messages):
            names.append(name)
    return names


def _tell_of_delete_markers() -> None:
    from moto.s3 import notifications
    from moto.s3.models import FakeKey, S3Backend

    mark = S3Backend._set_delete_marker

    def mark_and_tell(self: Any, bucket_name: str, key_name: str) -> Any:
        bucket = self.get_bucket(bucket_name)
        former = bucket.keys.get(key_name)
        marker = mark(self, bucket_name, key_name)
        if isinstance(former, FakeKey):
            event = notifications.S3NotificationEvent.OBJECT_REMOVED_DELETE_MARKER_CREATED_EVENT
            notifications.send_event(self.account_id, event, bucket, former)
        return marker

    S3Backend._set_delete_marker = mark_and_tell  # type: ignore[method-assign]


def _compare_only_what_compares() -> None:
    from moto.dynamodb import comparisons

    def comparing(holds: Callable[[Any, Any], bool], *, otherwise: bool) -> Any:
        def compare(self: Any, item: Any) -> bool:
            one, other = self.lhs.expr(item), self.rhs.expr(item)
            # To Python, a truth value is a number.
            if isinstance(one, bool) != isinstance(other, bool):
                return otherwise
            try:
                return bool(holds(one, other))
            except TypeError:
                return otherwise

        return compare

    for kind, holds in {
        "OpEqual": operator.eq,
        "OpNotEqual": operator.ne,
        "OpLessThan": operator.lt,
        "OpGreaterThan": operator.gt,
        "OpLessThanOrEqual": operator.le,
        "OpGreaterThanOrEqual": operator.ge,
    }.items():
        getattr(comparisons, kind).expr = comparing(holds, otherwise=kind == "OpNotEqual")


def _update_all_or_nothing() -> None:
    from copy import deepcopy

    from moto.dynamodb.parsing.executors import UpdateExpressionExecutor

    execute = UpdateExpressionExecutor.execute

    def execute_whole(self: Any, *arguments: Any) -> Any:
        former = deepcopy(self.item.attrs)
        try:
            return execute(self, *arguments)
        except Exception:
            self.item.attrs = former
            raise

    UpdateExpressionExecutor.execute = execute_whole  # type: ignore[method-assign]


def _add_numbers_of_any_form() -> None:
    from decimal import Decimal, localcontext

    from moto.dynamodb.models.dynamo_type import DynamoType

    def add(self: Any, other: Any) -> Any:
        with localcontext(prec=38):
            return DynamoType({"N": f"{Decimal(self.value) + Decimal(other.value):f}"})

    former = DynamoType.__add__
    DynamoType.__add__ = lambda self, other: (add if self.is_number() and other.is_number() else former)(self, other)  # type: ignore[method-assign]


def _serve() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    _tell_of_delete_markers()
    _compare_only_what_compares()
    _update_all_or_nothing()
    _add_numbers_of_any_form()
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/_waiting":
            found: Iterable[bytes] = moto(environ, start_response)
            return found
        deadline = time.monotonic() + 1
        while not (names := _waiting()) and time.monotonic() < deadline:
            time.sleep(0.01)
        start_response("200 OK", [("content-type", "application/json")])
        return [json.dumps(names).encode()]

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            """Nothing: standard output has the address alone."""

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
