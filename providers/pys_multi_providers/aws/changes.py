"""From a change set to the neutral plan; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pys_multi_tools.deployment import Action, Change

Json = Mapping[str, Any]

#: What a type is called in a plan, and the property that names such a thing.
_KINDS: Mapping[str, tuple[str, str]] = {
    "AWS::ApiGatewayV2::Api": ("api", "Name"),
    "AWS::ApiGatewayV2::Authorizer": ("authorizer", ""),
    "AWS::ApiGatewayV2::DomainName": ("domain", "DomainName"),
    "AWS::ApiGatewayV2::Integration": ("integration", ""),
    "AWS::ApiGatewayV2::Route": ("route", "RouteKey"),
    "AWS::DynamoDB::Table": ("table", "TableName"),
    "AWS::IAM::Role": ("role", ""),
    "AWS::Lambda::Alias": ("alias", ""),
    "AWS::Lambda::EventInvokeConfig": ("retries", ""),
    "AWS::Lambda::EventSourceMapping": ("source", ""),
    "AWS::Lambda::Function": ("function", "FunctionName"),
    "AWS::Lambda::Permission": ("permission", ""),
    "AWS::Lambda::Url": ("url", ""),
    "AWS::Logs::LogGroup": ("log", "LogGroupName"),
    "AWS::S3::Bucket": ("bucket", "BucketName"),
    "AWS::SNS::Subscription": ("subscription", ""),
    "AWS::SNS::Topic": ("topic", "TopicName"),
    "AWS::SQS::Queue": ("queue", "QueueName"),
    "AWS::SQS::QueuePolicy": ("queue policy", ""),
    "AWS::Scheduler::Schedule": ("schedule", "Name"),
    "AWS::SecretsManager::Secret": ("secret", "Name"),
}
_PERMISSIONS = ("AWS::IAM::Role", "AWS::Lambda::Permission", "AWS::SQS::QueuePolicy")
_KEPT = ("Retain", "RetainExceptOnCreate")


def all_created(template: Json, adopted: frozenset[str] = frozenset()) -> tuple[Change, ...]:
    """The plan where there is no stack yet. adopted: logical ids of what is there already."""
    return tuple(
        _change(
            "update" if id in adopted else "create",
            id,
            resource,
            reason="it is there already, and is taken up with what it holds" if id in adopted else "",
        )
        for id, resource in sorted(template["Resources"].items())
    )


def all_unchanged(template: Json) -> tuple[Change, ...]:
    """The plan where nothing changes."""
    return tuple(
        _change("unchanged", id, resource, reason="") for id, resource in sorted(template["Resources"].items())
    )


def changed(entries: tuple[Json, ...], before: Json, after: Json) -> tuple[Change, ...]:
    """The plan that a change set stands for. before, after: the templates, whose values show what differs."""
    old, new = before["Resources"], after["Resources"]
    found: dict[str, Change] = {}
    for entry in entries:
        id = entry["LogicalResourceId"]
        known: Json = {"Type": entry["ResourceType"]}
        found[id] = _of(entry, old.get(id, known), new.get(id, known))
    for id, resource in new.items():
        found.setdefault(id, _change("unchanged", id, resource, reason=""))
    return tuple(found[id] for id in sorted(found))


def compared(before: Json, after: Json) -> tuple[Change, ...]:
    """The plan as far as the templates themselves tell, where CloudFormation makes no change set."""
    old, new = before["Resources"], after["Resources"]
    found = [
        _of({"LogicalResourceId": id, "Action": "Remove"}, resource, resource)
        for id, resource in old.items()
        if id not in new
    ]
    for id, resource in new.items():
        action: Action = "create" if id not in old else "unchanged" if old[id] == resource else "update"
        found.append(_change(action, id, resource, reason=""))
    return tuple(sorted(found, key=lambda change: change.name))


def drifted(entries: tuple[Json, ...], template: Json) -> tuple[Change, ...]:
    """What was changed by hand since the last deploy, from ``DescribeStackResourceDrifts``."""
    found = []
    for entry in sorted(entries, key=lambda entry: str(entry["LogicalResourceId"])):
        id = entry["LogicalResourceId"]
        resource = template["Resources"].get(id, {"Type": entry["ResourceType"]})
        if entry["StackResourceDriftStatus"] == "DELETED":
            found.append(_change("create", id, resource, reason="deleted by hand", data=_holds_data(resource)))
        elif entry["StackResourceDriftStatus"] == "MODIFIED":
            properties = tuple(
                (difference["PropertyPath"].lstrip("/"), difference.get("ActualValue"), difference.get("ExpectedValue"))
                for difference in entry.get("PropertyDifferences", ())
            )
            found.append(_change("update", id, resource, reason="changed by hand", properties=properties))
    return tuple(found)


def losses(changes: Iterable[Change]) -> set[tuple[str, str, str]]:
    """What is deleted or replaced: action, kind and name."""
    return {(c.action, c.kind, c.name) for c in changes if c.action in ("delete", "replace")}


def _of(entry: Json, old: Json, new: Json) -> Change:
    id, action, details = entry["LogicalResourceId"], entry["Action"], entry.get("Details") or ()
    if action == "Add":
        return _change("create", id, new, reason="")
    if action == "Import":
        return _change("update", id, new, reason=f"{entry.get('PhysicalResourceId', 'it')} is there already: adopted")
    if action == "Remove":
        kept = _holds_data(old)
        reason = "no longer defined" + ("; what it holds is kept, outside of the service" if kept else "")
        return _change("delete", id, old, reason=reason, data=kept)
    if action == "SyncWithActual":  # it is already what it is to become
        return _change("unchanged", id, new, reason="")
    replacement = entry.get("Replacement", "False")
    properties = tuple(_properties(details, old, new))
    names = ", ".join(dict.fromkeys(name for name, _, _ in properties))
    # "Conditionally" is what AWS says of much that it then changes in place; "Always" hangs on a value it cannot know.
    always = any(d.get("Target", {}).get("RequiresRecreation") == "Always" for d in details)
    if replacement == "True" or (replacement == "Conditional" and always and _holds_data(old)):
        recreating = [_target(d) for d in details if d.get("Target", {}).get("RequiresRecreation") != "Never"]
        why = ", ".join(dict.fromkeys(name for name in recreating if name)) or names
        kept = _holds_data(old)
        reason = f"{why} cannot change in place" + ("; what it holds does not move along" if kept else "")
        return _change("replace", id, new, reason=reason, properties=properties, data=kept)
    reason = "may be replaced" if replacement == "Conditional" else ""
    if not properties:
        causes = [str(d["CausingEntity"]) for d in details if d.get("CausingEntity")]
        reason = f"follows {', '.join(dict.fromkeys(causes))}" if causes else reason or "tags or attributes"
    if entry["ResourceType"] in _PERMISSIONS:
        reason = f"{reason}; permissions" if reason else "permissions"
    return _change("update", id, new, reason=reason, properties=properties)


def _properties(details: tuple[Json, ...], old: Json, new: Json) -> Iterator[tuple[str, Any, Any]]:
    seen = set()
    for detail in details:
        target = detail.get("Target", {})
        name = _target(detail)
        before, after = (definition.get("Properties", {}).get(target.get("Name")) for definition in (old, new))
        value = (target.get("BeforeValue", before), target.get("AfterValue", after))
        if name and name not in seen and value[0] != value[1]:
            seen.add(name)
            yield name, *value


def _target(detail: Json) -> str:
    target = detail.get("Target", {})
    return str(target.get("Path", "").removeprefix("/Properties/") or target.get("Name", ""))


def _change(
    action: Action,
    id: str,
    resource: Json,
    *,
    reason: str,
    properties: tuple[tuple[str, Any, Any], ...] = (),
    data: bool = False,
) -> Change:
    kind, naming = _KINDS.get(resource["Type"], ("", ""))
    name = resource.get("Properties", {}).get(naming)
    return Change(
        action=action,
        kind=kind or resource["Type"].removeprefix("AWS::"),
        name=name if isinstance(name, str) else id,
        reason=reason,
        properties=properties,
        public=action != "delete" and _is_public(resource),
        data=data,
    )


def _holds_data(resource: Json) -> bool:
    """The template keeps on deletion what holds a user's data, and nothing else."""
    return resource.get("DeletionPolicy") in _KEPT


def _is_public(resource: Json) -> bool:
    properties = resource.get("Properties", {})
    return bool(
        (resource["Type"] == "AWS::ApiGatewayV2::Route" and properties.get("AuthorizationType") == "NONE")
        or (resource["Type"] == "AWS::Lambda::Url" and properties.get("AuthType") == "NONE")
        or (resource["Type"] == "AWS::Lambda::Permission" and properties.get("Principal") == "*")
    )
