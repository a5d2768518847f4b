"""Deploy, deploy again, change, go back and destroy, on an emulator that runs what is deployed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.aws_stage import SECRET, AwsStage, environment, inventory, name_of, served
from tests.support.fault_proxy import FaultProxy
from tests.support.local_stage import wait_for
from tests.support.ministack import ACCOUNT, REGION, MiniStack

from pys_multi_providers.aws.stack import MAX_INLINE
from pys_multi_tools.errors import DeployError, ProviderError

#: Calls that read; everything else changes something.
_READS = ("Get", "List", "Describe", "GET ", "HEAD ", "Detect")


def _is_read(name: str) -> bool:
    operation = name.partition(".")[2]
    return operation.startswith(_READS) or operation.endswith("/invocations")


def test_what_is_deployed_answers_over_http_and_takes_from_its_queue(stage: AwsStage, cloud: MiniStack) -> None:
    outputs = stage.deploy()
    assert cloud.call(outputs.url, path="/hello/ada") == (200, b'{"hello":"ada","build":"one"}')
    assert served(cloud, stage.service) == outputs.build_ids
    assert cloud.call(outputs.url, "POST", "/jobs?sku=a1")[0] == 202
    found = wait_for(lambda: (r := cloud.call(outputs.url, path="/stock/a1"))[0] == 200 and r[1], "the job")
    assert json.loads(found) == {"sku": "a1", "mark": "one"}


def test_a_second_deploy_changes_nothing(stage: AwsStage, cloud: MiniStack) -> None:
    outputs = stage.deploy()
    before = inventory(cloud, stage.service)
    with FaultProxy(cloud.url, name_of) as proxy, environment({"AWS_ENDPOINT_URL": proxy.url}):
        assert stage.deploy() == outputs
        assert [name for name, _ in proxy.calls if not _is_read(name)] == []
        proxy.arm()
        assert stage.plan() == ()
        assert [name for name, _ in proxy.calls if not _is_read(name)] == []
    assert inventory(cloud, stage.service) == before


def test_new_code_goes_past_the_stack_and_leaves_no_drift(stage: AwsStage, cloud: MiniStack) -> None:
    first = stage.deploy()
    stage.write("two")
    second = stage.deploy()
    assert second.build_ids != first.build_ids
    assert cloud.call(second.url, path="/hello/ada")[1] == b'{"hello":"ada","build":"two"}'
    assert stage.plan() == ()
    parameters = cloud.client("cloudformation").describe_stacks(StackName=f"{stage.service}-test")["Stacks"][0]
    values = {p["ParameterKey"]: p["ParameterValue"] for p in parameters["Parameters"]}
    assert values["ApiBuild"] == second.build_ids["api"]
    assert values["ApiVersion"] == "2"
    assert stage.plan(refresh=True) == ()


def test_a_change_of_the_configuration_alone_becomes_live(stage: AwsStage, cloud: MiniStack) -> None:
    stage.deploy()
    stage.write(change=lambda code: code.replace('"api", timeout=10', '"api", timeout=11'))
    [change] = [change for change in stage.plan() if change.kind == "function"]
    assert (change.action, change.properties) == ("update", (("Timeout", 10, 11),)) or change.properties[0][
        0
    ] == "Timeout"
    stage.deploy()
    live = cloud.client("lambda").get_function_configuration(FunctionName=f"{stage.service}_test_api", Qualifier="live")
    assert live["Timeout"] == 11
    assert stage.plan() == ()


def test_rollback_returns_to_the_former_code_and_template(stage: AwsStage, cloud: MiniStack) -> None:
    first = stage.deploy()
    stage.write("two", lambda code: code + '\n@api.get("/new", public=True)\ndef new() -> None: ...\n')
    second = stage.deploy()
    assert cloud.call(second.url, path="/new")[0] == 204
    back = stage.rollback()
    assert back.build_ids == first.build_ids
    assert cloud.call(back.url, path="/hello/ada")[1] == b'{"hello":"ada","build":"one"}'
    assert cloud.call(back.url, path="/new")[0] == 404
    assert stage.rollback(second.build_ids["api"]).build_ids == second.build_ids
    assert cloud.call(back.url, path="/new")[0] == 204
    with pytest.raises(ProviderError, match="is not known"):
        stage.rollback("f" * 16)


def test_a_build_that_does_not_start_is_never_called(stage: AwsStage, cloud: MiniStack) -> None:
    first = stage.deploy()
    stage.write("two", lambda code: code + '\nimport os\nif "AWS_LAMBDA_FUNCTION_NAME" in os.environ: 1 / 0\n')
    with pytest.raises(DeployError, match=r"does not start: .*division by zero") as caught:
        stage.deploy()
    assert "function " in caught.value.where
    assert served(cloud, stage.service) == first.build_ids
    assert stage.status().functions[0].build_id == first.build_ids["api"]
    stage.write("three")
    third = stage.deploy()
    assert served(cloud, stage.service) == third.build_ids


def test_destroy_leaves_data_and_the_next_deploy_takes_it_up(stage: AwsStage, cloud: MiniStack) -> None:
    stage.deploy()
    table = f"{stage.service}_test_stock"
    cloud.client("dynamodb").put_item(TableName=table, Item={"sku": {"S": "kept"}, "mark": {"S": "old"}})
    stage.destroy(delete_data=False)
    left = inventory(cloud, stage.service)
    assert left["tables"] == [table]
    assert left["stacks"] == left["functions"] == left["roles"] == left["apis"] == []
    assert f"keep: table {table}" in stage.told()
    adopted = [change for change in stage.plan() if "is there already" in change.reason]
    assert {change.kind for change in adopted} == {"table", "queue"}
    outputs = stage.deploy()
    assert cloud.call(outputs.url, path="/stock/kept")[1] == b'{"sku":"kept","mark":"old"}'
    stage.destroy(delete_data=True)
    gone = inventory(cloud, stage.service)
    assert not any(gone.values()), gone


def test_data_goes_also_when_its_stack_went_before(stage: AwsStage, cloud: MiniStack) -> None:
    stage.deploy()
    stage.destroy(delete_data=False)
    stage.destroy(delete_data=True)
    gone = inventory(cloud, stage.service)
    assert not any(gone.values()), gone


def test_a_plan_says_what_loses_data_and_a_deploy_does_nothing_that_no_plan_said(
    stage: AwsStage, cloud: MiniStack
) -> None:
    stage.deploy()
    plan = stage.place().provider.plan(stage.place().deployment)
    stage.write(change=lambda code: code.replace('app.table("stock", key="sku")', 'app.table("goods", key="sku")'))
    lost = [change for change in stage.plan() if change.data]
    assert [(change.action, change.kind, change.name) for change in lost] == [
        ("delete", "table", f"{stage.service}_test_stock")
    ]
    # The plan is of before the change: what it does not say is not done.
    new = stage.place().provider.render(stage.place().deployment)
    with pytest.raises(DeployError, match="this would delete table"):
        stage.deploy(plan=replace(plan, deployment=stage.place().deployment, config=new))
    assert cloud.client("dynamodb").list_tables()["TableNames"].count(f"{stage.service}_test_stock") == 1
    stage.deploy()
    assert f"{stage.service}_test_goods" in cloud.client("dynamodb").list_tables()["TableNames"]


def test_a_stack_of_somebody_else_is_not_touched(stage: AwsStage, cloud: MiniStack) -> None:
    formation = cloud.client("cloudformation")
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    formation.create_stack(StackName=f"{stage.service}-test", TemplateBody=json.dumps(template))
    try:
        for step in (stage.deploy, stage.plan, stage.destroy, stage.status):
            with pytest.raises(ProviderError, match="not of this service and stage"):
                step()
    finally:
        formation.delete_stack(StackName=f"{stage.service}-test")


def test_a_name_that_is_taken_is_told_and_the_next_deploy_goes_on(stage: AwsStage, cloud: MiniStack) -> None:
    stage.write(
        change=lambda code: code.replace("api = app.function", 'files = app.bucket("files")\napi = app.function', 1)
    )
    placement = stage.place()
    template = json.loads(placement.provider.render(placement.deployment)["template.json"])
    name = template["Resources"]["FilesBucket"]["Properties"]["BucketName"]["Fn::Sub"]
    name = name.replace("${AWS::AccountId}", ACCOUNT).replace("${AWS::Region}", REGION)
    storage = cloud.client("s3")
    storage.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    # It has not the tags of this stage: nobody else's bucket is taken for its name.
    assert not any("is there already" in change.reason for change in stage.plan())
    with pytest.raises(DeployError, match=r"FilesBucket.*already exists") as caught:
        stage.deploy()
    assert "rename" in caught.value.hint
    assert stage.status().state == "degraded"
    storage.delete_bucket(Bucket=name)
    outputs = stage.deploy()
    assert "recover: stack" in stage.told()
    assert served(cloud, stage.service) == outputs.build_ids
    stage.destroy()


def test_nothing_shows_the_value_of_a_secret(stage: AwsStage, cloud: MiniStack) -> None:
    outputs = stage.deploy()
    stored = cloud.client("secretsmanager").get_secret_value(SecretId=f"{stage.service}/test/API_KEY")
    assert stored["SecretString"] == SECRET
    template = json.dumps(cloud.client("cloudformation").get_template(StackName=f"{stage.service}-test"), default=str)
    events = json.dumps(
        cloud.client("cloudformation").describe_stack_events(StackName=f"{stage.service}-test"), default=str
    )
    variables = json.dumps(
        cloud.client("lambda").get_function_configuration(FunctionName=f"{stage.service}_test_api"), default=str
    )
    for text in (template, events, variables, stage.told(), repr(outputs), repr(stage.status()), repr(stage.plan())):
        assert SECRET not in text


def test_a_secret_that_changed_is_a_change(stage: AwsStage, cloud: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.deploy()
    monkeypatch.setenv("API_KEY", "another-value-0123")
    [change] = stage.plan()
    assert (change.kind, change.name) == ("secret value", f"{stage.service}/test/API_KEY")
    assert "another" not in repr(change)
    stage.deploy()
    stored = cloud.client("secretsmanager").get_secret_value(SecretId=f"{stage.service}/test/API_KEY")
    assert stored["SecretString"] == "another-value-0123"
    assert stage.plan() == ()


def test_a_template_that_is_too_long_for_a_call_goes_by_the_bucket(stage: AwsStage, cloud: MiniStack) -> None:
    routes = "".join(f'\napi.get("/many/{"long" * 20}{n}", public=True)(hello)' for n in range(100))
    stage.write(change=lambda code: code + routes.replace("(hello)", "(private)"))
    placement = stage.place()
    assert len(placement.provider.render(placement.deployment)["template.json"]) > MAX_INLINE
    outputs = stage.deploy()
    assert cloud.call(outputs.url, path=f"/many/{'long' * 20}7")[0] == 200
    assert stage.plan() == ()
    stage.write(change=lambda code: code + routes.replace("(hello)", "(private)").replace("many", "more"))
    assert {change.action for change in stage.plan()} == {"create", "delete"}


def test_a_function_url_answers_and_gives_way_to_an_api(stage: AwsStage, cloud: MiniStack) -> None:
    def all_public(code: str) -> str:
        return code.replace('"/private"', '"/private", public=True')

    stage.settings = '[tool.pys-multi.aws]\nhttp = "function-url"\n'
    stage.write(change=all_public)
    outputs = stage.deploy()
    assert served(cloud, stage.service) == outputs.build_ids
    url = outputs.values["ApiUrl"].rstrip("/")
    status, body = cloud.call(url, path="/hello/a%20b%2Fc?x=1")
    assert (status, json.loads(body)["status"]) == (404, 404)  # %2F separates, as on every provider
    status, body = cloud.call(url, path="/hello/%C3%BC%20b")
    assert (status, json.loads(body)["hello"]) == (200, "ü b")
    assert cloud.call(url, "POST", "/jobs?sku=u1")[0] == 202
    wait_for(lambda: cloud.call(url, path="/stock/u1")[0] == 200, "u1")
    stage.settings = ""
    stage.write("two", change=all_public)
    actions = {(change.action, change.kind) for change in stage.plan()}
    assert {("delete", "url"), ("create", "api")} <= actions
    outputs = stage.deploy()
    assert json.loads(cloud.call(outputs.url, path="/hello/a")[1])["build"] == "two"
    assert cloud.call(url, path="/hello/a")[0] != 200
