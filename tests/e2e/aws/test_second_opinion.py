"""The engine's parts against another emulator, moto: what both of them take is likelier to be AWS's own."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.aws_emulator import CREDENTIALS, REGION, Emulator
from tests.support.aws_stage import environment, name_of
from tests.support.fault_proxy import FaultProxy

from pys_multi_providers.aws import artefacts
from pys_multi_providers.aws.artefacts import Artefacts, Build, build_of
from pys_multi_providers.aws.client import Cloud
from pys_multi_providers.aws.leftovers import Thing, named, tagged
from pys_multi_providers.aws.secret_values import differing, put
from pys_multi_providers.aws.settings import AwsSettings
from pys_multi_providers.aws.stack import Stack, Template
from pys_multi_providers.aws.telemetry import failures
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import ProviderError


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    found = Emulator()
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def proxy(emulator: Emulator) -> Iterator[FaultProxy]:
    with FaultProxy(emulator.url, name_of) as found:
        yield found


@pytest.fixture
def cloud(proxy: FaultProxy) -> Iterator[Cloud]:
    with environment({**CREDENTIALS, "AWS_ENDPOINT_URL": proxy.url, "AWS_REGION": REGION}):
        yield Cloud(AwsSettings())


@pytest.fixture
def bucket(cloud: Cloud) -> Artefacts:
    return Artefacts(cloud, f"bundles-{uuid.uuid4().hex[:12]}", "shop/dev/", is_ours=True)


def test_the_bucket_is_made_private_encrypted_versioned_and_once(
    bucket: Artefacts, proxy: FaultProxy, emulator: Emulator
) -> None:
    bucket.ensure()
    proxy.arm()
    bucket.ensure()
    assert [name for name, _ in proxy.calls if name.startswith("s3.PUT")] == []
    storage, about = emulator.client("s3"), {"Bucket": bucket.bucket}
    assert storage.get_bucket_versioning(**about)["Status"] == "Enabled"
    assert all(storage.get_public_access_block(**about)["PublicAccessBlockConfiguration"].values())
    [rule] = storage.get_bucket_encryption(**about)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    [statement] = json.loads(storage.get_bucket_policy(**about)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    storage.delete_bucket_policy(**about)
    bucket.ensure()
    assert storage.get_bucket_policy(**about)["Policy"]


@pytest.fixture
def made(bucket: Artefacts, emulator: Emulator) -> Artefacts:
    """The bucket, without its policy: moto refuses everybody, as it does not look at the policy's condition."""
    bucket.ensure()
    emulator.client("s3").delete_bucket_policy(Bucket=bucket.bucket)
    return bucket


def test_a_bundle_is_uploaded_once_and_everything_is_gone_at_the_end(made: Artefacts, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"PK" + bytes(1000))
    build = build_of("ab" * 8, path)
    assert made.put_bundle(build, path)
    assert not made.put_bundle(build, path)
    assert made.has_bundle(build.id)
    key, _ = made.put_template('{"a": 1}')
    assert made.template(key) == '{"a": 1}'
    made.put_release({"api": build}, {"api": "1"}, key)
    other = Build("cd" * 8, build.sha256)
    made.put_release({"api": other, "worker": build}, {"api": "2", "worker": "1"}, key)
    assert [release.versions["api"] for release in made.releases()] == ["2", "1"]
    assert made.builds() == (build.id, other.id)
    made.remove()
    assert not made.is_there()
    assert made.builds() == ()


def test_what_only_old_releases_name_is_deleted_and_what_a_deploy_uses_is_not(
    made: Artefacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"PK")
    builds = [Build(f"{number:016x}", build_of("", path).sha256) for number in range(5)]
    monkeypatch.setattr(artefacts, "KEPT", 2)
    for build in builds:
        made.put_bundle(build, path)
    keys = [made.put_template(f'{{"a": {number}}}')[0] for number in range(3)]
    for number, build in enumerate(builds[:4]):
        made.put_release({"api": build}, {"api": str(number)}, keys[max(number - 1, 0)])
    # Two former releases; nothing is old enough to be nobody's.
    assert made.prune() == 2
    assert all(made.has_bundle(build.id) for build in builds)
    assert made.prune() == 0
    # The fifth bundle, which no release names, is of a deploy that is under way.
    monkeypatch.setattr(artefacts, "_IN_USE", -60.0)
    made.put_release({"api": builds[3]}, {"api": "4"}, keys[2])
    assert made.prune() == 1 + 4 + 2
    assert [made.has_bundle(build.id) for build in builds] == [False, False, False, True, False]
    assert [made.template(release.template) for release in made.releases()] == ['{"a": 2}'] * 2


def test_a_bundle_that_is_there_for_long_is_made_one_of_now(
    made: Artefacts, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"PK")
    build = build_of("ab" * 8, path)
    about = {"Bucket": made.bucket, "Key": made.key(build.id)}
    made.put_bundle(build, path)
    first = emulator.client("s3").head_object(**about)["VersionId"]
    assert not made.put_bundle(build, path)
    assert emulator.client("s3").head_object(**about)["VersionId"] == first
    monkeypatch.setattr(artefacts, "_IN_USE", -60.0)
    assert not made.put_bundle(build, path)
    assert emulator.client("s3").head_object(**about)["VersionId"] != first
    assert emulator.client("s3").get_object(**about)["Body"].read() == b"PK"


def test_the_bucket_stays_while_another_service_uses_it(made: Artefacts, emulator: Emulator) -> None:
    made.put_template("{}")
    emulator.client("s3").put_object(Bucket=made.bucket, Key="other/dev/x.zip", Body=b"x")
    made.remove()
    assert [o["Key"] for o in emulator.client("s3").list_objects_v2(Bucket=made.bucket)["Contents"]] == [
        "other/dev/x.zip"
    ]


def test_a_named_bucket_is_used_as_it_is_and_must_be_there(cloud: Cloud, emulator: Emulator) -> None:
    name = f"team-{uuid.uuid4().hex[:12]}"
    named_bucket = Artefacts(cloud, name, "shop/dev/", is_ours=False)
    with pytest.raises(ProviderError, match=f"there is no bucket {name}"):
        named_bucket.ensure()
    location = {"LocationConstraint": REGION}
    emulator.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=location)
    named_bucket.ensure()
    named_bucket.put_template("{}")
    named_bucket.remove()
    assert named_bucket.is_there()


def test_secrets_are_set_when_they_differ(cloud: Cloud, emulator: Emulator) -> None:
    name = f"shop/{uuid.uuid4().hex[:8]}/KEY"
    emulator.client("secretsmanager").create_secret(Name=name)
    assert differing(cloud, {name: "one"}) == [name]
    assert list(put(cloud, {name: "one"})) == [name]
    assert list(put(cloud, {name: "one"})) == []
    assert emulator.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"] == "one"


TAGS = {"pys-multi:service": "shop", "pys-multi:stage": "dev"}


def test_only_what_bears_our_tags_is_ours(cloud: Cloud, emulator: Emulator) -> None:
    suffix = uuid.uuid4().hex[:8]
    tags = {**TAGS, "pys-multi:service": suffix}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    tables, queues, storage = (emulator.client(name) for name in ("dynamodb", "sqs", "s3"))
    key = {"AttributeName": "id"}
    for name, given in ((f"{suffix}_mine", pairs), (f"{suffix}_other", [])):
        tables.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{**key, "AttributeType": "S"}],
            KeySchema=[{**key, "KeyType": "HASH"}],
            Tags=given,
        )
    queues.create_queue(QueueName=f"{suffix}_queue", tags=tags)
    storage.create_bucket(Bucket=f"{suffix}-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    storage.put_bucket_tagging(Bucket=f"{suffix}-bucket", Tagging={"TagSet": pairs})
    kept = {"DeletionPolicy": "RetainExceptOnCreate"}
    table = {**kept, "Type": "AWS::DynamoDB::Table"}
    template = {
        "Resources": {
            "Mine": {**table, "Properties": {"TableName": f"{suffix}_mine"}},
            "Other": {**table, "Properties": {"TableName": f"{suffix}_other"}},
            "Absent": {**table, "Properties": {"TableName": f"{suffix}_absent"}},
            "Queue": {**kept, "Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"{suffix}_queue"}},
            "Bucket": {**kept, "Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{suffix}-bucket"}},
        }
    }
    mine = {
        "Mine": Thing("table", f"{suffix}_mine"),
        "Queue": Thing("queue", f"{suffix}_queue"),
        "Bucket": Thing("bucket", f"{suffix}-bucket"),
    }
    assert named(cloud, template, tags) == mine
    assert tagged(cloud, tags) == set(mine.values())


def test_a_stack_is_made_changed_and_deleted(cloud: Cloud) -> None:
    told: list[Progress] = []
    stack = Stack(cloud, f"shop-{uuid.uuid4().hex[:8]}", TAGS, told.append)
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": stack.name, "VisibilityTimeout": 30}}
    first = json.dumps({"Resources": {"Queue": queue}})
    assert stack.ready() is None
    change_set = stack.propose(Template(first), {}, state=None)
    assert change_set is not None
    state = stack.execute(change_set)
    assert state.status == "CREATE_COMPLETE"
    assert state.tags == TAGS
    assert json.loads(stack.template()) == json.loads(first)
    assert [resource["LogicalResourceId"] for resource in stack.resources()] == ["Queue"]
    queue["Properties"] = {"QueueName": stack.name, "VisibilityTimeout": 60}
    change_set = stack.propose(Template(json.dumps({"Resources": {"Queue": queue}})), {}, state=state)
    assert change_set is not None
    assert [(c["Action"], c["LogicalResourceId"]) for c in change_set.changes] == [("Modify", "Queue")]
    assert stack.execute(change_set).status == "UPDATE_COMPLETE"
    stack.delete(state)
    assert stack.read() is None


def test_failures_are_counted_by_version(cloud: Cloud, emulator: Emulator) -> None:
    function = f"f{uuid.uuid4().hex[:8]}"
    dimensions = {"FunctionName": function, "Resource": f"{function}:live", "ExecutedVersion": "7"}
    pairs = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    emulator.client("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {"MetricName": "Invocations", "Dimensions": pairs, "Value": 40},
            {"MetricName": "Errors", "Dimensions": pairs, "Value": 2},
        ],
    )
    logs, group, now = emulator.client("logs"), f"/aws/lambda/{function}", int(time.time() * 1000)
    logs.create_log_group(logGroupName=group)
    for stream, count in (("2026/11/24/[7]aa", 3), ("2026/11/24/[6]bb", 5)):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        lines = [json.dumps({"level": "ERROR", "message": "no", "request_id": f"r{n}"}) for n in range(count)]
        events = [{"timestamp": now, "message": line} for line in (*lines, lines[0], '{"level": "INFO"}', "ERROR")]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    found = failures(cloud, function, "7", time.time() - 60)
    assert (found.calls, found.failed) == (40, 2 + 3)
    assert failures(cloud, "unknown", "1", time.time() - 60).rate == 0
