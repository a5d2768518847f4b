"""Policies of IAM: read, compared, and written back under the etag they were read with.

A policy belongs to whoever owns the resource. Of it we add the members that the document names, and take away those
that only we can have put there: service accounts of this service and stage, and everybody on resources of ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pys_multi_providers.gcp.client import PROJECTS, Cloud
from pys_multi_providers.gcp.document import Binding
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.kinds import ACCOUNTS, BUCKETS
from pys_multi_tools.patience import Pause

Json = dict[str, Any]

#: Seconds that a service account which was just made may be unknown to policies ("IAM: eventual consistency" says 2
#: minutes or more).
_KNOWN = 240.0
_PUBLIC = ("allUsers", "allAuthenticatedUsers")


@dataclass(frozen=True, slots=True)
class Grant:
    """One member of one role on a resource."""

    role: str
    member: str
    condition: str = ""
    """As JSON; empty without one."""


def read(cloud: Cloud, kind: str, name: str) -> Json:
    """The policy of a resource; one that is not there has none."""
    try:
        return cloud.call(kind, "getIamPolicy", **_asked(kind, name))
    except GcpError as error:
        if not error.is_gone:
            raise
        return {}


def _asked(kind: str, name: str) -> Json:
    if kind == BUCKETS:
        return {"bucket": name, "optionsRequestedPolicyVersion": 3}
    if kind == PROJECTS:
        return {"resource": name, "body": {"options": {"requestedPolicyVersion": 3}}}
    return {"resource": name, "options_requestedPolicyVersion": 3}


def _write(cloud: Cloud, kind: str, name: str, policy: Json) -> None:
    if kind == BUCKETS:
        cloud.call(kind, "setIamPolicy", bucket=name, body=policy)
    else:
        cloud.call(kind, "setIamPolicy", resource=name, body={"policy": policy})


def grants(policy: Mapping[str, Any]) -> Iterator[Grant]:
    """What a policy grants."""
    for binding in policy.get("bindings") or ():
        condition = _condition(binding.get("condition"))
        for member in binding.get("members") or ():
            yield Grant(binding["role"], member, condition)


def wanted(bindings: Iterable[Binding]) -> set[Grant]:
    """What bindings of the document grant."""
    return {Grant(b.role, member, _condition(b.condition)) for b in bindings for member in b.members}


def _condition(condition: Mapping[str, Any] | None) -> str:
    if not condition:
        return ""
    known = {key: value for key, value in condition.items() if key in ("title", "description", "expression") and value}
    return json.dumps(known, sort_keys=True)


def is_ours(grant: Grant, emails: frozenset[str], *, on_ours: bool) -> bool:
    """Whether nobody but us can have granted it. emails: of our service accounts; on_ours: the resource is ours."""
    if grant.member in _PUBLIC:
        return on_ours
    # What was an account of ours: "deleted:serviceAccount:a@b?uid=1".
    email = grant.member.removeprefix("deleted:").removeprefix("serviceAccount:").partition("?")[0]
    return email in emails


def missing_and_surplus(
    policy: Mapping[str, Any], must: set[Grant], emails: frozenset[str], *, on_ours: bool
) -> tuple[set[Grant], set[Grant]]:
    """What a policy lacks, and what it has of ours that nobody wants any more."""
    has = set(grants(policy))
    return must - has, {g for g in has - must if is_ours(g, emails, on_ours=on_ours)}


def change(cloud: Cloud, kind: str, name: str, must: set[Grant], emails: frozenset[str], *, on_ours: bool) -> bool:
    """Makes a policy so; returns whether it was not. What others change at the same time stays."""
    deadline = time.monotonic() + _KNOWN
    pause = Pause(first=0.2, most=5.0)
    while True:
        policy = read(cloud, kind, name)
        missing, surplus = missing_and_surplus(policy, must, emails, on_ours=on_ours)
        if not missing and not surplus:
            return False
        try:
            _write(cloud, kind, name, _changed(policy, missing, surplus))
            return True
        except GcpError as error:
            if error.is_gone and not must:
                return False
            if "permitted customer" in error.what or "allowedPolicyMemberDomains" in error.what:
                raise GcpError(
                    error.code,
                    f"the organisation lets nobody outside of it have {', '.join(sorted({g.role for g in missing}))}",
                    where=error.where,
                    hint="public routes need an exception of iam.allowedPolicyMemberDomains; else make them private",
                ) from error
            if not _is_for_a_moment(error) or time.monotonic() > deadline:
                raise
        pause()


def _is_for_a_moment(error: GcpError) -> bool:
    """Somebody else wrote the policy, or a new service account is not known yet."""
    if error.code in ("ABORTED", "CONDITION_NOT_MET") or error.is_gone:
        return True
    return error.code == "INVALID_ARGUMENT" and "does not exist" in error.what


def _changed(policy: Mapping[str, Any], missing: set[Grant], surplus: set[Grant]) -> Json:
    kept: dict[tuple[str, str], tuple[Json, list[str]]] = {}
    for binding in policy.get("bindings") or ():
        key = (binding["role"], _condition(binding.get("condition")))
        members = [m for m in binding.get("members") or () if Grant(key[0], m, key[1]) not in surplus]
        if key in kept:
            kept[key][1].extend(members)
        else:
            kept[key] = ({k: v for k, v in binding.items() if k != "members"}, members)
    for grant in sorted(missing, key=lambda g: (g.role, g.condition, g.member)):
        key = (grant.role, grant.condition)
        fresh: Json = {"role": grant.role}
        if grant.condition:
            fresh["condition"] = json.loads(grant.condition)
        kept.setdefault(key, (fresh, []))[1].append(grant.member)
    bindings = [{**binding, "members": members} for binding, members in kept.values() if members]
    version = 3 if any("condition" in binding for binding in bindings) else int(policy.get("version") or 1)
    # A policy that had conditions is of version 3 also when the last of them goes.
    had = any("condition" in binding for binding in policy.get("bindings") or ())
    return {**policy, "version": 3 if had else version, "bindings": bindings}


def grouped(
    bindings: Iterable[Binding], key: Callable[[Binding], tuple[str, str]]
) -> dict[tuple[str, str], list[Binding]]:
    """Bindings by their resource, as a policy is written as a whole."""
    found: dict[tuple[str, str], list[Binding]] = {}
    for binding in bindings:
        found.setdefault(key(binding), []).append(binding)
    return found


def accounts_of(things: Iterable[tuple[str, str]]) -> frozenset[str]:
    """The e-mails of the service accounts among (kind, name)."""
    return frozenset(name.rpartition("/")[2] for kind, name in things if kind == ACCOUNTS)
