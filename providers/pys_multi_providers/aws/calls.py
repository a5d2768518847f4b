"""AWS's own library: clients, made once and kept, and its errors in the words of pys_multi."""

from __future__ import annotations

from threading import Lock
from time import sleep

from pys_multi.errors import ConditionFailed, NotFound, PysMultiError, ResourceError
from pys_multi.messages import current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Json = dict[str, Any]

#: Codes of errors ("Common error types" of each service's API reference, 2026-11). Without a body, as after
#: HeadObject, the code is the status.
_ABSENT = frozenset(("NoSuchKey", "ParameterNotFound", "404"))
_NOT_DEPLOYED = frozenset(
    (
        "NoSuchBucket",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        "NotFound",
        "ResourceNotFoundException",
    )
)
_DENIED = frozenset(
    ("AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException", "403")
)
_CONDITION = "ConditionalCheckFailedException"
#: What AWS refused before it did any of it, because there was too much.
_THROTTLED = frozenset(
    ("ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException", "ThrottledException")
)
#: Seconds before each further try of what must not happen twice.
_PAUSES = (0.05, 0.2, 0.8)


class Refused(ResourceError):
    """What AWS answered, for callers that look closer. code: AWS's name of the error. untouched: nothing was done."""

    code = ""
    untouched = False


class ConditionRefused(ConditionFailed):
    """A condition that did not hold. item: as DynamoDB wrote it, None where there is none."""

    item: Json | None = None


class Clients:
    """Clients by service, for all threads of this process; thread-safe.

    One client keeps its connections across invocations. A call waits less long than the function that makes it has
    left, so that its error, not the end of the function, is what is seen.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def get(self, service: str, *, once: bool = False) -> Any:
        """The client of a service, such as "s3". once: one that never tries again by itself."""
        key = f"{service} once" if once else service
        client = self._clients.get(key)
        if client is None:
            with self._lock:
                client = self._clients.get(key)
                if client is None:
                    client = self._clients[key] = self._make(service, 1 if once else 4)
        return client

    def _make(self, service: str, attempts: int) -> Any:
        # boto3's own layer above botocore adds nothing here but the time to import it.
        from botocore.config import Config
        from botocore.session import Session

        if self._session is None:
            self._session = Session()
        context = current_context()
        left = context.remaining() if context is not None else 60.0
        patience = min(max(left / 3, 1.0), 20.0)
        config = Config(
            connect_timeout=min(patience, 3.0),
            read_timeout=patience,
            retries={"mode": "adaptive", "total_max_attempts": attempts},
            max_pool_connections=32,
            # The region's own endpoint signs URLs that hold everywhere.
            s3={"us_east_1_regional_endpoint": "regional"},
            signature_version="s3v4" if service == "s3" else None,
        )
        return self._session.create_client(service, config=config)


def call(operation: Callable[..., Any], what: str, action: str, **arguments: Any) -> Any:
    """AWS's answer to an operation of a client.

    what: the resource, such as "queue 'jobs'"; action: the IAM action that it needs. Raises NotFound,
    ConditionRefused and Refused, from AWS's own error, which never names a value that was sent.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        HTTPClientError,
        ParamValidationError,
    )

    try:
        return operation(**arguments)
    except ClientError as error:
        raise _translated(error, what, action) from error
    except ParamValidationError as error:
        # Its text shows the values.
        raise ValueError(f"{what}: AWS's library refuses the arguments of {action}") from error
    except BotoCoreError as error:
        lost = isinstance(error, HTTPClientError) and not isinstance(
            error, ConnectTimeoutError | EndpointConnectionError
        )
        how = "had no answer, so it may have happened" if lost else "did not reach AWS"
        refused = Refused(f"{what}: {action} {how}: {type(error).__name__}: {error}")
        refused.untouched = not lost
        raise refused from error


def call_once(operation: Callable[..., Any], what: str, action: str, **arguments: Any) -> Any:
    """As :func:`call`, for what must not happen twice, with a client that never tries again by itself: here it is
    tried again where AWS has certainly done nothing."""
    for pause in _PAUSES:
        try:
            return call(operation, what, action, **arguments)
        except Refused as error:
            if not error.untouched:
                raise
            sleep(pause)
    return call(operation, what, action, **arguments)


def _translated(error: Any, what: str, action: str) -> PysMultiError:
    answer = error.response.get("Error", {})
    code, text = str(answer.get("Code", "")), str(answer.get("Message", ""))
    if code == _CONDITION:
        failed = ConditionRefused(f"{what}: the condition does not hold")
        failed.item = error.response.get("Item")
        return failed
    if code in _ABSENT or (code == "ResourceNotFoundException" and what.startswith("secret")):
        return NotFound(f"{what}: there is no such thing ({code})")
    if code in _DENIED:
        context = current_context()
        function = f"function {context.function!r}" if context is not None and context.function else "this process"
        refused = Refused(
            f"{what}: AWS does not let {function} {action}. The role has what `uses` grants, so deploy again after a "
            f"change of it; a permission boundary, a policy of the resource or a key may forbid it too ({code})"
        )
    elif code in _NOT_DEPLOYED:
        refused = Refused(f"{what}: it is not there; deploy the service that defines it ({code}: {text})")
    else:
        refused = Refused(f"{what}: {action} failed: {code}: {text}")
    refused.code = code
    refused.untouched = code in _THROTTLED
    return refused
