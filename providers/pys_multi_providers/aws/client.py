"""AWS's API as the deployer calls it: the only file of the tools with boto3, and the edge at which its errors end.

Every error of boto3 leaves here as an AwsError, which says what was asked, what AWS answered and what to do; its
``code`` is AWS's own name for it. What is asked is asked again by botocore after throttling, a 5xx or a dropped
answer, so everything that is called here may be called twice: uploads and change sets are told by their content,
versions are published once for the same code, and creates of things without a unique name are CloudFormation's.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from pys_multi_tools.errors import ProviderError, translated
from pys_multi_tools.patience import patiently
from pys_multi_tools.provider import require

if TYPE_CHECKING:
    from pys_multi_providers.aws.settings import AwsSettings

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_REJECTED = frozenset(
    (
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AuthFailure",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "InvalidSignatureException",
    )
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "403"})
_THROTTLED = frozenset(
    (
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "ThrottledException",
        "RequestThrottled",
    )
)
#: What Lambda answers while a role is not known everywhere yet, or an update of the function is still running.
NOT_YET = frozenset(
    (
        "ResourceConflictException",
        "ResourceNotReadyException",
        "CodeArtifactUserPendingException",
        "EC2ThrottledException",
        "SubnetIPAddressLimitReachedException",
    )
)
_SIGN_IN = "sign in again (aws sso login, or new keys), then run it again: it goes on where it stopped"
_WHICH = "pys-multi doctor says which credentials are used"


class AwsError(ProviderError):
    """What AWS, or the way to it, answered. code: AWS's name of the error, or the class of botocore's."""

    def __init__(self, code: str, what: str, *, where: str = "", hint: str = "") -> None:
        self.code = code
        super().__init__(what, where=where, hint=hint)

    @property
    def is_denied(self) -> bool:
        """Whether the credentials are good, and may not do that."""
        return self.code in _DENIED


class Cloud:
    """One account in one region, by the standard chain: settings, AWS_PROFILE, variables, SSO, instance roles.

    AWS_ENDPOINT_URL and its like are honoured. Thread-safe.
    """

    def __init__(self, settings: AwsSettings) -> None:
        require("aws", "boto3")
        self._settings = settings
        self._clients: dict[tuple[str, float | None], Any] = {}
        self._lock = threading.Lock()

    @cached_property
    def _session(self) -> Any:
        import boto3  # type: ignore[import-untyped]  # it carries no types
        import botocore.session

        # AWS's other SDKs read AWS_REGION, boto3 does not.
        region = self._settings.region or os.environ.get("AWS_REGION") or None
        with _translated("the configuration of AWS"):
            core = botocore.session.Session(profile=self._settings.profile)
            core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
            return boto3.session.Session(botocore_session=core, region_name=region)

    @property
    def region(self) -> str:
        """The region. Raises AwsError where none is named."""
        region: str | None = self._session.region_name
        if not region:
            hint = 'set AWS_REGION, or write region = "eu-central-1" under [tool.pys-multi.aws]'
            raise AwsError("NoRegionError", "no region is named", where="aws", hint=hint)
        return region

    @cached_property
    def identity(self) -> Json:
        """Whose credentials these are: Account, Arn, UserId."""
        return self.call("sts", "get_caller_identity")

    @property
    def account(self) -> str:
        """The number of the account."""
        return str(self.identity["Account"])

    @property
    def partition(self) -> str:
        """aws, aws-cn, aws-us-gov, …"""
        return str(self._session.get_partition_for_region(self.region))

    def endpoint(self, service: str) -> str:
        """Where a service is asked."""
        return str(self._client(service).meta.endpoint_url)

    @property
    def profile(self) -> str:
        """The profile of the configuration files that is used."""
        return str(self._session.profile_name)

    @property
    def credentials_from(self) -> str:
        """Which part of the standard chain the credentials came from; empty where there are none."""
        with _translated("the credentials"):
            found = self._session.get_credentials()
        return str(found.method) if found is not None else ""

    def call(self, service: str, operation: str, **arguments: Any) -> Json:
        """What AWS answers to one call, such as ``call("lambda", "get_alias", …)``; bodies are read."""
        return self._ask(self._client(service), service, operation, arguments)

    def call_once(self, service: str, operation: str, timeout: float, **arguments: Any) -> Json:
        """The same, never repeated, and waiting for up to ``timeout`` seconds: for what a repetition would do twice."""
        return self._ask(self._client(service, timeout), service, operation, arguments)

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """The entries under ``key`` of all pages of an answer, from the first page on."""
        client = self._client(service)
        with _translated(f"{service} {operation}"):
            if client.can_paginate(operation):
                for page in client.get_paginator(operation).paginate(**arguments):
                    yield from page.get(key) or ()
                return
            while True:  # boto3 has no paginator for it
                page = getattr(client, operation)(**arguments)
                yield from page.get(key) or ()
                if not page.get("NextToken"):
                    return
                arguments["NextToken"] = page["NextToken"]

    def signed(self, service: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers of an HTTP request with the signature that IAM checks."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        with _translated("the credentials"):
            credentials = self._session.get_credentials()
            if credentials is None:
                raise _no_credentials()
            request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
            SigV4Auth(credentials.get_frozen_credentials(), service, self.region).add_auth(request)
        return dict(request.headers.items())

    def _ask(self, client: Any, service: str, operation: str, arguments: Json) -> Json:
        with _translated(f"{service} {operation}"):
            answer: Json = getattr(client, operation)(**arguments)
            for name in ("Payload", "Body"):
                if hasattr(answer.get(name), "read"):
                    answer[name] = answer[name].read()
        return answer

    def _client(self, service: str, timeout: float | None = None) -> Any:
        with self._lock:
            found = self._clients.get((service, timeout))
            if found is None:
                found = self._clients[service, timeout] = self._make(service, timeout)
        return found

    def _make(self, service: str, timeout: float | None) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=5,
            read_timeout=timeout or 60,
            retries={"mode": "standard", "total_max_attempts": 1 if timeout else 8},
            max_pool_connections=32,
            user_agent_extra="pys-multi",
        )
        with _translated("the configuration of AWS"):
            return self._session.client(service, region_name=self.region, config=config)


@lru_cache
def _loader(data_path: str | None) -> Any:
    """What reads the descriptions of AWS's services, which takes longer than most calls: of all sessions one."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def while_not_yet(
    attempt: Callable[[], Json], *, seconds: float, also: Callable[[AwsError], bool] | None = None
) -> Json:
    """Attempts again while AWS says that a role, a function or an update is not ready yet, for so long at most."""

    def may_pass(error: AwsError) -> bool:
        return error.code in NOT_YET or (also is not None and also(error))

    return patiently(attempt, AwsError, may_pass, seconds=seconds, most=3.0)


def digest(*texts: str) -> str:
    """Sixteen hexadecimal digits that stand for texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _translated(asked: str) -> AbstractContextManager[None]:
    """Turns every error of boto3 into an AwsError. Values that were sent stand in none of them."""
    return translated(lambda error: translate(error, asked))


def translate(error: Exception, asked: str) -> AwsError:
    """The AwsError for an error of boto3 or of the connection."""
    from botocore import exceptions as botocore_errors

    if isinstance(error, botocore_errors.ClientError):
        return _refused(error, asked)
    code, text = type(error).__name__, str(error)
    if isinstance(error, botocore_errors.ParamValidationError):
        # Its text shows the values.
        return AwsError(code, "boto3 refuses the arguments", where=asked, hint="update boto3; else report this")
    if isinstance(error, botocore_errors.NoCredentialsError):
        return _no_credentials()
    if isinstance(error, botocore_errors.ProfileNotFound):
        return AwsError(code, text, where="aws.profile", hint="aws configure list-profiles shows those that are there")
    if isinstance(error, botocore_errors.NoRegionError | botocore_errors.InvalidRegionError):
        return AwsError(code, text, where="aws.region", hint='set AWS_REGION to a region, like "eu-central-1"')
    if isinstance(error, botocore_errors.SSOError | botocore_errors.TokenRetrievalError) or "SSO" in code:
        return AwsError(code, text, where="aws", hint=_SIGN_IN)
    if isinstance(
        error,
        botocore_errors.PartialCredentialsError
        | botocore_errors.CredentialRetrievalError
        | botocore_errors.MetadataRetrievalError,
    ):
        return AwsError(code, f"the credentials cannot be read: {text}", where="aws", hint=_WHICH)
    if isinstance(error, botocore_errors.HTTPClientError | botocore_errors.ConnectionError | OSError):
        hint = "check the network, proxy and AWS_ENDPOINT_URL, then run it again: it goes on where it stopped"
        return AwsError(code, f"AWS was not reached: {text}", where=asked, hint=hint)
    return AwsError(code, f"{code}: {text}", where=asked)


def _no_credentials() -> AwsError:
    hint = "aws configure, aws sso login, or AWS_PROFILE; pys-multi doctor says what is found"
    return AwsError("NoCredentialsError", "there are no credentials for AWS", where="aws", hint=hint)


def _refused(error: Any, asked: str) -> AwsError:
    answer = error.response.get("Error") or {}
    code, text = str(answer.get("Code", "")), str(answer.get("Message", ""))
    status = int((error.response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    if code in _EXPIRED:
        return AwsError(code, "the credentials have expired", where=asked, hint=_SIGN_IN)
    if code in _REJECTED:
        return AwsError(code, f"AWS does not know these credentials: {text or code}", where=asked, hint=_WHICH)
    if code in _DENIED:
        hint = "pys-multi permissions --cloud aws prints the policy that the deployer needs"
        return AwsError(code, text or "the credentials may not do this", where=asked, hint=hint)
    if code in _THROTTLED:
        return AwsError(
            code, f"AWS takes no more calls for now: {text or code}", where=asked, hint="run it again later"
        )
    if status >= 500:
        hint = "run it again; https://health.aws.amazon.com says whether AWS has a bad day"
        return AwsError(code, f"AWS failed: {text or code}", where=asked, hint=hint)
    return AwsError(code, f"{text} ({code})" if text and code != text else text or code, where=asked)
