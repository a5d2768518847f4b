"""Every error of boto3 ends at the client, and says what to do."""

from __future__ import annotations

import inspect

import pytest
from botocore import exceptions

from pys_multi_providers.aws.client import AwsError, Cloud, translate, while_not_yet
from pys_multi_providers.aws.settings import AwsSettings
from pys_multi_tools.errors import ProviderError

SECRET = "canary-5f2b"


def _all_errors() -> list[type[Exception]]:
    found = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)]
    assert len(found) > 60
    return found


@pytest.mark.parametrize("kind", _all_errors(), ids=lambda kind: kind.__name__)
def test_no_error_of_botocore_is_unmapped(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "what it says")
    if isinstance(error, exceptions.ClientError):
        error.response = {"Error": {"Code": "SomeCode", "Message": "what it says"}}
    found = translate(error, "s3 put_object")
    assert isinstance(found, ProviderError)
    assert found.what
    assert found.code


@pytest.mark.parametrize(
    ("code", "status", "what", "hint"),
    [
        ("ExpiredTokenException", 400, "have expired", "sign in again"),
        ("UnrecognizedClientException", 403, "does not know these credentials", "doctor"),
        ("AccessDeniedException", 403, "is not authorized", "permissions --cloud aws"),
        ("ThrottlingException", 400, "takes no more calls", "later"),
        ("ServiceUnavailable", 503, "AWS failed", "run it again"),
        ("ValidationError", 400, "is not authorized (ValidationError)", ""),
    ],
)
def test_an_answer_says_what_to_do(code: str, status: int, what: str, hint: str) -> None:
    answer = {
        "Error": {"Code": code, "Message": "User is not authorized"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    found = translate(exceptions.ClientError(answer, "PutItem"), "dynamodb put_item")  # type: ignore[arg-type]
    assert found.code == code
    assert what in found.what
    assert hint in found.hint
    assert found.where == "dynamodb put_item"


def test_refused_arguments_show_no_values() -> None:
    error = exceptions.ParamValidationError(report=f"Invalid type for SecretString, value: {SECRET}")
    assert SECRET not in str(translate(error, "secretsmanager put_secret_value"))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_region_is_asked_for(bare: None) -> None:
    with pytest.raises(AwsError, match="no region is named") as caught:
        Cloud(AwsSettings()).call("sts", "get_caller_identity")
    assert "AWS_REGION" in caught.value.hint


def test_the_setting_wins_over_the_variables(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert Cloud(AwsSettings()).region == "eu-west-1"
    assert Cloud(AwsSettings(region="us-east-2")).region == "us-east-2"


def test_missing_credentials_and_profiles_are_told(bare: None) -> None:
    with pytest.raises(AwsError, match="there are no credentials"):
        Cloud(AwsSettings(region="eu-central-1")).call("sts", "get_caller_identity")
    with pytest.raises(AwsError, match="nobody") as caught:
        Cloud(AwsSettings(region="eu-central-1", profile="nobody")).call("sts", "get_caller_identity")
    assert caught.value.where == "aws.profile"


def test_patience_ends_and_other_errors_are_not_waited_for() -> None:
    answers = [AwsError("ResourceConflictException", "busy"), {"done": True}]

    def attempt() -> dict[str, object]:
        answer = answers.pop(0)
        if isinstance(answer, AwsError):
            raise answer
        return answer

    assert while_not_yet(attempt, seconds=30) == {"done": True}
    answers[:] = [AwsError("ResourceConflictException", "busy")] * 2
    with pytest.raises(AwsError, match="busy"):
        while_not_yet(attempt, seconds=-1)
    answers[:] = [AwsError("ValidationError", "no")]
    with pytest.raises(AwsError, match="no"):
        while_not_yet(attempt, seconds=30)
