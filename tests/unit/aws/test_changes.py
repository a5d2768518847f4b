"""From change sets to plans."""

from __future__ import annotations

from typing import Any

from pys_multi_providers.aws.changes import all_created, changed, compared, drifted, losses

TABLE = {
    "Type": "AWS::DynamoDB::Table",
    "DeletionPolicy": "RetainExceptOnCreate",
    "Properties": {"TableName": "shop_dev_stock", "KeySchema": ["sku"]},
}
ROLE = {"Type": "AWS::IAM::Role", "Properties": {"Policies": ["a"]}}
OPEN = {"Type": "AWS::ApiGatewayV2::Route", "Properties": {"RouteKey": "GET /a", "AuthorizationType": "NONE"}}
CLOSED = {"Type": "AWS::ApiGatewayV2::Route", "Properties": {"RouteKey": "GET /a", "AuthorizationType": "AWS_IAM"}}


def _template(**resources: dict[str, Any]) -> dict[str, Any]:
    return {"Resources": resources}


def _entry(id: str, kind: str, action: str, replacement: str = "False", *details: dict[str, Any]) -> dict[str, Any]:
    return {
        "LogicalResourceId": id,
        "ResourceType": kind,
        "Action": action,
        "Replacement": replacement,
        "Details": list(details),
    }


def _detail(name: str, recreation: str = "Never", **values: Any) -> dict[str, Any]:
    return {"Target": {"Attribute": "Properties", "Name": name, "RequiresRecreation": recreation, **values}}


def test_everything_is_created_where_there_is_nothing() -> None:
    changes = all_created(_template(Stock=TABLE, A=OPEN, B=CLOSED), frozenset({"Stock"}))
    assert [(c.action, c.kind, c.name, c.public) for c in changes] == [
        ("create", "route", "GET /a", True),
        ("create", "route", "GET /a", False),
        ("update", "table", "shop_dev_stock", False),
    ]


def test_a_change_says_what_differs() -> None:
    after = {**ROLE, "Properties": {"Policies": ["a", "b"]}}
    entry = _entry("Role", "AWS::IAM::Role", "Modify", "False", _detail("Policies"))
    [change] = changed((entry,), _template(Role=ROLE), _template(Role=after))
    assert (change.action, change.reason) == ("update", "permissions")
    assert change.properties == (("Policies", ["a"], ["a", "b"]),)


def test_values_that_aws_says_itself_win() -> None:
    detail = _detail("Policies", BeforeValue="x", AfterValue="y", Path="/Properties/Policies/0")
    entry = _entry("Role", "AWS::IAM::Role", "Modify", "False", detail)
    [change] = changed((entry,), _template(Role=ROLE), _template(Role=ROLE))
    assert change.properties == (("Policies/0", "x", "y"),)


def test_what_holds_data_and_goes_or_is_replaced_is_marked() -> None:
    removed = _entry("Stock", "AWS::DynamoDB::Table", "Remove")
    [change] = changed((removed,), _template(Stock=TABLE), _template())
    assert (change.action, change.data, change.name) == ("delete", True, "shop_dev_stock")
    after = {**TABLE, "Properties": {"TableName": "shop_dev_stock", "KeySchema": ["id"]}}
    for replacement in ("True", "Conditional"):
        detail = _detail("KeySchema", "Always")
        replaced = _entry("Stock", "AWS::DynamoDB::Table", "Modify", replacement, detail)
        [change] = changed((replaced,), _template(Stock=TABLE), _template(Stock=after))
        assert (change.action, change.data) == ("replace", True)
        assert change.reason.startswith("KeySchema cannot change in place")
        assert losses([change]) == {("replace", "table", "shop_dev_stock")}


def test_what_holds_no_data_goes_without_a_mark() -> None:
    [change] = changed((_entry("Role", "AWS::IAM::Role", "Remove"),), _template(Role=ROLE), _template())
    assert (change.action, change.data) == ("delete", False)


def test_a_route_that_opens_is_public() -> None:
    entry = _entry("A", "AWS::ApiGatewayV2::Route", "Modify", "False", _detail("AuthorizationType"))
    [change] = changed((entry,), _template(A=CLOSED), _template(A=OPEN))
    assert change.public
    assert change.properties == (("AuthorizationType", "AWS_IAM", "NONE"),)


def test_what_a_change_set_does_not_name_is_unchanged() -> None:
    [change] = changed((), _template(Role=ROLE), _template(Role=ROLE))
    assert change.action == "unchanged"


def test_templates_alone_tell_what_they_can() -> None:
    found = compared(_template(Stock=TABLE, A=CLOSED), _template(A=OPEN, Role=ROLE))
    assert [(c.action, c.kind, c.data) for c in found] == [
        ("update", "route", False),
        ("create", "role", False),
        ("delete", "table", True),
    ]


def test_drift_says_what_is_there_and_what_was_deployed() -> None:
    entries = (
        {
            "LogicalResourceId": "Stock",
            "ResourceType": "AWS::DynamoDB::Table",
            "StackResourceDriftStatus": "MODIFIED",
            "PropertyDifferences": [
                {"PropertyPath": "/BillingMode", "ExpectedValue": "PAY_PER_REQUEST", "ActualValue": "PROVISIONED"}
            ],
        },
        {"LogicalResourceId": "Role", "ResourceType": "AWS::IAM::Role", "StackResourceDriftStatus": "DELETED"},
    )
    gone, modified = drifted(entries, _template(Stock=TABLE, Role=ROLE))
    assert (gone.action, gone.reason) == ("create", "deleted by hand")
    assert modified.properties == (("BillingMode", "PROVISIONED", "PAY_PER_REQUEST"),)


def test_what_is_there_already_as_it_is_to_become_is_unchanged() -> None:
    """Change sets that set right what was done by hand name it ("Using drift-aware change sets")."""
    entry = _entry("Role", "AWS::IAM::Role", "SyncWithActual", "False", _detail("Policies"))
    [change] = changed((entry,), _template(Role=ROLE), _template(Role=ROLE))
    assert change.action == "unchanged"
