"""What Lambda calls: events in, the same values to the user's code as everywhere, answers out.

Ships with the user's code, standard library only. HTTP is in ``fronts.py``, everything else in ``events.py``. Which
HTTP front calls the function is known when the bundle is built (``pys_multi_aws.json``), and which queue, bucket or
schedule means which trigger is in the function's environment, written by the template.
"""

from __future__ import annotations

# The module around it brings enum, which is slow to import.
import _signal  # type: ignore[import-not-found]  # typeshed has only that one
import sys
from os import environ
from time import time

from pys_multi.encoding import parse_json
from pys_multi.messages import Context, is_trace
from pys_multi.runtime import load
from pys_multi_providers.aws.fronts import FRONTS, MAX_PAYLOAD, known_to_aws, respond_v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pys_multi.app import App
    from pys_multi.backend import Backend
    from pys_multi.http import Request, Response
    from pys_multi.messages import Message
    from pys_multi.runtime import Runtime

    Json = dict[str, Any]

#: At the root of the bundle, from the settings of the same names: {"http": a key of `FRONTS`, "base_path": "/v1"}.
FRONT_FILE = "pys_multi_aws.json"
#: Environment: {name of an SQS queue or SNS topic: trigger id}, and {name of an S3 bucket: name of the resource}.
QUEUES, BUCKETS = "PYS_MULTI_QUEUES", "PYS_MULTI_BUCKETS"
#: Under this key stand events that pys-multi itself makes: schedules, `invoke`, and the question for health.
ENVELOPE = "pys_multi"


class TimeIsUp(BaseException):
    """The function's time is nearly over. No Exception, so that no handler takes it for one of its own."""


class Adapter:
    """One function's entry: what Lambda calls with every event.

    front: a key of `FRONTS`. base_path: what callers write before every route, such as "/v1".
    """

    __slots__ = ("_armed", "_base_path", "_buckets", "_is_v2", "_queues", "_request", "_respond", "_runtime", "_until")

    def __init__(self, runtime: Runtime, front: str, base_path: str = "") -> None:
        self._runtime = runtime
        self._request, self._respond = FRONTS[front]
        self._is_v2 = self._respond is respond_v2
        self._base_path = base_path
        self._queues: dict[str, str] = parse_json(environ.get(QUEUES, "{}"))
        self._buckets: dict[str, str] = parse_json(environ.get(BUCKETS, "{}"))
        #: When the request that runs must be answered; 0 between requests.
        self._until = 0.0
        #: Whether an alarm is on its way; also where there can be none, so that none is set.
        self._armed = True

    def __call__(self, event: Any, context: Any) -> Any:
        left = context.get_remaining_time_in_millis() / 1000
        deadline = time() + left
        about = Context(context.aws_request_id, deadline=deadline)
        if type(event) is not dict or "requestContext" not in event:
            try:
                return self._event(event, context, about)
            except Exception as error:
                from pys_multi.events import without_secrets

                raise without_secrets(error) from None
        request = self._request(event, self._base_path)
        request.context = about
        # Format 2.0 has lower-case names in a plain dict: making a Headers of it here would cost more than the rest.
        headers = event["headers"] if self._is_v2 else request.headers
        given = headers.get("traceparent")
        if given is not None and is_trace(given):
            about.trace_parent = given
        elif trace := environ.get(_TRACE):
            about.trace_parent = trace_parent(trace)
        # What is left after it is for the answer.
        self._until = deadline - (left * 0.05 if left < 10 else 0.5)
        if not self._armed:
            self._arm()
        try:
            return self._respond(self._runtime.http(request), event)
        except TimeIsUp as error:
            self._until = 0.0
            return self._respond(self._timed_out(request, error), event)
        except Exception as error:  # a stream that broke off, or more than Lambda carries; nothing was sent yet
            self._until = 0.0
            return self._respond(self._runtime.refuse(request, error), event)
        finally:
            self._until = 0.0

    # ---- the end of a request's time

    def watch(self) -> None:
        """Answers requests that run into the function's timeout with 504, instead of being killed without a word.

        By SIGALRM, which only the main thread gets and only a free one is taken; otherwise Lambda ends the function.
        """
        try:
            if _signal.getsignal(_signal.SIGALRM) == _signal.SIG_DFL:
                _signal.signal(_signal.SIGALRM, self._on_alarm)
                self._armed = False
        except (AttributeError, ValueError):  # not on this system; not the main thread
            return

    def _arm(self) -> None:
        self._armed = True
        _signal.setitimer(_signal.ITIMER_REAL, max(self._until - time(), 0.001))

    def _on_alarm(self, number: int, frame: object) -> None:  # noqa: ARG002  (a signal handler's)
        # Setting the alarm for every request would cost more than a request does: it stays set from one to a later
        # one, and looks here whether it is time.
        if self._until == 0.0:
            self._armed = False
        elif self._until > time():
            self._arm()
        else:
            self._armed = False
            raise TimeIsUp

    def _timed_out(self, request: Request, error: TimeIsUp) -> Response:
        from pys_multi.errors import HTTPError

        refusal = HTTPError(504, "the request took longer than its function may take")
        return self._runtime.refuse(request, refusal, cause=error)

    # ---- what is no HTTP request

    def _event(self, event: Any, context: Any, about: Context) -> Any:
        from pys_multi_providers.aws.events import source_of, trace_of

        given = trace_of(context)
        about.trace_parent = given if is_trace(given) else trace_parent(environ.get(_TRACE, ""))
        source = source_of(event)
        if source == ENVELOPE:
            return self._own(event[ENVELOPE], about)
        if source == "aws.s3":
            return self._s3_by_rule(event, about)
        handle = {"aws:sqs": self._sqs, "aws:sns": self._sns, "aws:s3": self._s3}.get(source)
        if handle is None:
            raise LookupError(f"nothing in {self._runtime.function or 'this function'!r} is triggered by {source}")
        return handle(event["Records"], about)

    def _trigger(self, name: str) -> str:
        trigger = self._queues.get(name)
        if trigger is None:
            raise LookupError(
                f"{name!r} is no queue or topic of this function: {QUEUES} names {', '.join(self._queues) or 'none'}"
            )
        return trigger

    def _sqs(self, records: list[Json], about: Context) -> Json:
        """A batch; what failed is reported by id (``ReportBatchItemFailures``), the rest is deleted."""
        from pys_multi_providers.aws.events import messages_of_sqs

        name = records[0]["eventSourceARN"].rpartition(":")[2]
        trigger = self._trigger(name)
        if self._runtime.kind_of(trigger) == "object":
            failed = self._s3_in_sqs(trigger, records, about)
        else:
            messages = messages_of_sqs(records)
            if name.endswith(".fifo"):
                failed = self._in_order(trigger, messages, about)
            else:
                failed = [failure.id for failure in self._runtime.messages(trigger, messages, about)]
        if failed:
            self._come_back(trigger, [record for record in records if record["messageId"] in failed], about)
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    def _come_back(self, trigger: str, records: list[Json], about: Context) -> None:
        """Not before its time, and not after it."""
        app = self._runtime.app
        if app.connect is not None:  # it is on AWS
            from pys_multi_providers.aws.retries import come_back

            come_back(app, trigger, records, about)

    def _in_order(self, trigger: str, messages: list[Message], about: Context) -> list[str]:
        """Messages of a FIFO queue, never two of a group at once; after one that failed its group waits."""
        failed = []
        while messages:
            first = {message.group: message for message in reversed(messages)}
            now = list(reversed(first.values()))
            ids = {failure.id for failure in self._runtime.messages(trigger, now, about)}
            blocked = {message.group for message in now if message.id in ids}
            later = [message for message in messages if first[message.group] is not message]
            failed += [message.id for message in now if message.id in ids]
            failed += [message.id for message in later if message.group in blocked]
            messages = [message for message in later if message.group not in blocked]
        return failed

    def _sns(self, records: list[Json], about: Context) -> None:
        """Notifications, without partial failure: Lambda calls again with the whole event where one fails."""
        from pys_multi_providers.aws.events import messages_of_sns

        trigger = self._trigger(records[0]["Sns"]["TopicArn"].rpartition(":")[2])
        failures = self._runtime.messages(trigger, messages_of_sns(records), about)
        if failures:
            raise RuntimeError(f"{failures[0].id} failed: {failures[0].error}")

    def _s3(self, records: list[Json], about: Context) -> None:
        """Notifications from S3 itself: every trigger that they fit."""
        from pys_multi_providers.aws.events import events_of_s3

        for event in events_of_s3(records, self._buckets):
            self._runtime.object_event(event, about)

    def _s3_by_rule(self, event: Json, about: Context) -> None:
        """A notification through a rule of EventBridge: every trigger that it fits."""
        from pys_multi_providers.aws.events import event_of_s3

        self._runtime.object_event(event_of_s3(event, self._buckets), about)

    def _s3_in_sqs(self, trigger: str, records: list[Json], about: Context) -> list[str]:
        """Notifications through the queue of one trigger, which counts the attempts and keeps what is dead."""
        from pys_multi_providers.aws.events import events_of_s3

        failed = []
        for record in records:
            attempt = int(record["attributes"]["ApproximateReceiveCount"])
            # Without records it is the test that S3 sends when a notification is set up.
            notifications = parse_json(record["body"]).get("Records", [])
            try:
                for event in events_of_s3(notifications, self._buckets, attempt):
                    self._runtime.event(trigger, event, about)
            except Exception:  # it is in the log
                failed.append(record["messageId"])
        return failed

    def _own(self, envelope: Json, about: Context) -> Any:
        from pys_multi.events import answer_of, event_of, is_due, messages_of

        if envelope.get("health"):
            return self._runtime.health()
        if "messages" in envelope:
            messages = messages_of(envelope["messages"], about.request_id)
            failures = self._runtime.messages(envelope["trigger"], messages, about)
            return answer_of({failure.id: failure.error for failure in failures})
        event = event_of(envelope.get("event", {}))
        if is_due(envelope, event.time):
            self._runtime.event(envelope["trigger"], event, about)
        return answer_of({})


# ---- traces

_TRACE = "_X_AMZN_TRACE_ID"


def trace_parent(header: str) -> str:
    """An X-Ray trace header as a W3C ``traceparent`` (the ids are the same, written differently); empty without."""
    if not header:
        return ""
    fields = dict(part.partition("=")[::2] for part in header.split(";"))
    root = fields.get("Root", "").split("-")
    if len(root) != 3 or "Parent" not in fields:
        return ""
    return f"00-{root[1]}{root[2]}-{fields['Parent']}-{'01' if fields.get('Sampled') == '1' else '00'}"


# ---- start


def connect(app: App) -> Backend:
    """The resources of the service on AWS; AWS's library is imported at the first use of one."""
    from pys_multi_providers.aws.resources import AwsBackend

    return AwsBackend(app)


def start(directory: str) -> Adapter:
    """The adapter of the bundle in a directory."""
    with open(f"{directory}/{FRONT_FILE}", encoding="utf-8") as file:
        front = parse_json(file.read())
    if "logging" in sys.modules:
        _take_logs_over()
    runtime = load(directory, connect=connect, max_body=MAX_PAYLOAD, private=known_to_aws)
    runtime.start()
    adapter = Adapter(runtime, front["http"], front["base_path"])
    adapter.watch()
    return adapter


def _take_logs_over() -> None:
    """Lambda's own handler writes text without the fields that correlate a record; what others added stays."""
    from logging import getLogger

    from pys_multi.logs import configure

    root = getLogger()
    for handler in list(root.handlers):
        if type(handler).__module__.startswith("awslambdaric"):
            root.removeHandler(handler)
    configure()


if "LAMBDA_TASK_ROOT" in environ:
    # Lambda resolves the name `handler`; what the user's import raises must reach Lambda's own error report.
    handler = start(environ["LAMBDA_TASK_ROOT"])
