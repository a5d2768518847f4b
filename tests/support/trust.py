"""Trust policies evaluated as the clouds document it: whether the claims of a verified token are let in.

AWS: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

ISSUER = "https://token.actions.githubusercontent.com"
#: What the subject of a token of a repository made since 2026-07-15 carries: the ids of owner and repository.
IDS = ("12", "34")


def claims_of(
    repository: str = "acme/shop", *, environment: str | None = "prod", ids: bool = False, **more: Any
) -> dict[str, Any]:
    """The claims of a token of GitHub for a job of that repository in that environment."""
    owner, name = repository.split("/")
    shown = f"{owner}@{IDS[0]}/{name}@{IDS[1]}" if ids else repository
    place = f"environment:{environment.replace(':', '%3A')}" if environment is not None else "ref:refs/heads/main"
    found = {
        "iss": ISSUER,
        "aud": "sts.amazonaws.com",
        "sub": f"repo:{shown}:{place}",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "event_name": "push",
        "repository": repository,
        "repository_owner": owner,
        "repository_id": IDS[1],
        "repository_owner_id": IDS[0],
        "repository_visibility": "private",
        "workflow_ref": f"{repository}/.github/workflows/pys-multi-deploy.yml@refs/heads/main",
        "runner_environment": "github-hosted",
    }
    if environment is not None:
        found["environment"] = environment
    return {**found, **more}


def foreign_claims(repository: str = "acme/shop", *, ids: bool = False) -> dict[str, dict[str, Any]]:
    """Claims that must not be let in by a trust for ``repository`` in its environment prod, by what is foreign."""
    owner, name = repository.split("/")

    def of(other: str = repository, **more: Any) -> dict[str, Any]:
        return claims_of(other, ids=ids, **more)

    def with_ids(owner_id: str, repository_id: str) -> dict[str, Any]:
        return claims_of(repository, sub=f"repo:{owner}@{owner_id}/{name}@{repository_id}:environment:prod")

    own = of()["sub"]
    return {
        "another owner": of(f"evil/{name}"),
        "an owner that begins so": of(f"{owner}-evil/{name}"),
        "an owner that ends so": of(f"evil-{owner}/{name}"),
        "another repository": of(f"{owner}/other"),
        "a repository that begins so": of(f"{owner}/{name}-evil"),
        "a repository that ends so": of(f"{owner}/evil-{name}"),
        "a repository of that name elsewhere": of(f"{name}/{owner}"),
        "the owner in capitals": of(f"{owner.upper()}/{name}"),
        "another environment": of(environment="preview"),
        "the environment in capitals": of(environment="PROD"),
        "an environment that begins so": of(environment="prod-evil"),
        "an environment that ends so": of(environment="evil-prod"),
        "an environment with a space": of(environment="prod "),
        "an environment with a sign in it": of(environment="x:environment:prod"),
        "an empty environment": of(environment=""),
        "a wildcard as environment": of(environment="*"),
        "no environment": of(environment=None),
        "a pull request": of(sub=own.replace("environment:prod", "pull_request")),
        "a branch": of(sub=own.replace("environment:prod", "ref:refs/heads/main")),
        "a branch called like it": of(sub=own.replace("environment:prod", "ref:refs/heads/environment:prod")),
        "a tag": of(sub=own.replace("environment:prod", "ref:refs/tags/v1")),
        "a reusable workflow": of(sub=f"{own}:job_workflow_ref:evil/x/.github/workflows/y.yml@main"),
        "a line after it": of(sub=f"{own}\n"),
        "something before it": of(sub=f"x{own}"),
        "the other form of subjects": claims_of(repository, ids=not ids),
        "the id of another owner": with_ids("99", "34"),
        "the id of another repository": with_ids("12", "99"),
        "no subject": {key: value for key, value in of().items() if key != "sub"},
        "an empty subject": of(sub=""),
        "a subject in capitals": of(sub=own.upper()),
        "another issuer": of(iss="https://token.actions.evil.example"),
        "an issuer below it": of(iss=f"{ISSUER}/evil"),
        "another audience": of(aud="https://github.com/acme"),
        "the audience of another cloud": of(aud="api://AzureADTokenExchange"),
        "an audience that begins so": of(aud="sts.amazonaws.com.evil.example"),
        "no audience": {key: value for key, value in of().items() if key != "aud"},
    }  # fmt: skip


def aws_lets_in(policy: Json, claims: Json, *, account: str) -> bool:
    """Whether AssumeRoleWithWebIdentity is allowed. A condition or principal that is not known is an error."""
    statements = policy["Statement"]
    decisions = [_aws_statement(statement, claims, account) for statement in statements]
    return "Deny" not in decisions and "Allow" in decisions


def _aws_statement(statement: Json, claims: Json, account: str) -> str:
    assert set(statement) <= {"Sid", "Effect", "Principal", "Action", "Condition"}, statement
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    if "sts:AssumeRoleWithWebIdentity" not in actions:
        return ""
    [(kind, principal)] = statement["Principal"].items()
    assert kind == "Federated", "anybody else could become the role"
    issuer = str(claims.get("iss", "")).removeprefix("https://")
    if not re.fullmatch(rf"arn:aws[a-z-]*:iam::{account}:oidc-provider/{re.escape(issuer)}", principal):
        return ""
    for operator, conditions in statement.get("Condition", {}).items():
        for key, values in conditions.items():
            claim = claims.get(key.removeprefix(f"{issuer}:")) if key.startswith(f"{issuer}:") else None
            if not _aws_condition(operator, claim, values if isinstance(values, list) else [values]):
                return ""
    return str(statement["Effect"])


def _aws_condition(operator: str, claim: Any, values: list[str]) -> bool:
    if claim is None:
        return False
    if operator == "StringEquals":
        return claim in values
    if operator == "StringLike":
        patterns = [re.escape(value).replace(r"\*", ".*").replace(r"\?", ".") for value in values]
        return any(re.fullmatch(pattern, str(claim), re.DOTALL) for pattern in patterns)
    raise AssertionError(f"the evaluator does not know {operator}")
