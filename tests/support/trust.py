"""Trust policies evaluated as the clouds document it: whether the claims of a verified token are let in.

AWS: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
Google Cloud: https://cloud.google.com/iam/docs/workload-identity-federation; its expressions by Google's own library
Azure: https://learn.microsoft.com/entra/workload-id/workload-identity-federation
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from cel_expr_python import cel

Json = Mapping[str, Any]

ISSUER = "https://token.actions.githubusercontent.com"
#: What the subject of a token of a repository made since 2026-07-15 carries: the ids of owner and repository.
IDS = ("12", "34")


#: The audiences of the clouds that have one for every workflow.
AWS_AUDIENCE, AZURE_AUDIENCE = "sts.amazonaws.com", "api://AzureADTokenExchange"


def claims_of(
    repository: str = "acme/shop",
    *,
    environment: str | None = "prod",
    ids: bool = False,
    aud: str = AWS_AUDIENCE,
    **more: Any,
) -> dict[str, Any]:
    """The claims of a token of GitHub for a job of that repository in that environment, for an audience."""
    owner, name = repository.split("/")
    shown = f"{owner}@{IDS[0]}/{name}@{IDS[1]}" if ids else repository
    place = f"environment:{environment.replace(':', '%3A')}" if environment is not None else "ref:refs/heads/main"
    found = {
        "iss": ISSUER,
        "jti": "0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f",
        "aud": aud,
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


def foreign_claims(
    repository: str = "acme/shop", *, ids: bool = False, aud: str = AWS_AUDIENCE
) -> dict[str, dict[str, Any]]:
    """Claims that must not be let in by a trust for ``repository`` in its environment prod, by what is foreign."""
    owner, name = repository.split("/")

    def of(other: str = repository, **more: Any) -> dict[str, Any]:
        return claims_of(other, **{"ids": ids, "aud": aud, **more})

    def with_ids(owner_id: str, repository_id: str) -> dict[str, Any]:
        return of(sub=f"repo:{owner}@{owner_id}/{name}@{repository_id}:environment:prod")

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
        "the other form of subjects": of(ids=not ids),
        "the id of another owner": with_ids("99", "34"),
        "the id of another repository": with_ids("12", "99"),
        "no subject": {key: value for key, value in of().items() if key != "sub"},
        "an empty subject": of(sub=""),
        "a subject in capitals": of(sub=own.upper()),
        "another issuer": of(iss="https://token.actions.evil.example"),
        "an issuer below it": of(iss=f"{ISSUER}/evil"),
        "another audience": of(aud="https://github.com/acme"),
        "the audience of another cloud": of(aud=AZURE_AUDIENCE if aud == AWS_AUDIENCE else AWS_AUDIENCE),
        "an audience that begins so": of(aud=f"{aud}.evil.example"),
        "an audience in capitals": of(aud=aud.swapcase()),
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


# ---- Google Cloud


def gcp_audience(trust: Json) -> str:
    """What a token must be for, where the provider of the pool does not say otherwise."""
    return f"https://iam.googleapis.com/{trust['workload_identity_provider']}"


def gcp_lets_in(trust: Json, claims: Json) -> bool:
    """Whether the provider of the pool takes the token, and its bearer may then become the service account."""
    provider, pool = trust["provider"], trust["workload_identity_provider"].rpartition("/providers/")[0]
    assert set(provider) <= {"displayName", "description", "oidc", "attributeMapping", "attributeCondition"}, provider
    oidc = provider["oidc"]
    audiences = oidc.get("allowedAudiences") or [gcp_audience(trust), gcp_audience(trust).removeprefix("https:")]
    # "The issuer must be the same", and one of the audiences must be allowed.
    if claims.get("iss") != oidc["issuerUri"] or claims.get("aud") not in audiences:
        return False
    mapped = {name: _cel(text, {"assertion": claims}) for name, text in provider["attributeMapping"].items()}
    if not all(isinstance(value, str) and value for value in mapped.values()):
        return False  # what a claim that is not there is mapped to, or nothing, is an error
    if not 0 < len(mapped["google.subject"].encode()) <= 127:
        return False
    attributes = {name.partition(".")[2]: value for name, value in mapped.items() if name.startswith("attribute.")}
    known = {"assertion": claims, "google": {"subject": mapped["google.subject"]}, "attribute": attributes}
    if _cel(provider["attributeCondition"], known) is not True:
        return False
    binding = trust["binding"]
    assert binding["role"] == "roles/iam.workloadIdentityUser"
    assert binding["resource"].endswith(f"/serviceAccounts/{trust['service_account']}")
    principals = {f"principal://iam.googleapis.com/{pool}/subject/{mapped['google.subject']}"} | {
        f"principalSet://iam.googleapis.com/{pool}/attribute.{name}/{value}" for name, value in attributes.items()
    }
    return bool(principals & set(binding["members"]))


def _cel(expression: str, variables: Json) -> Any:
    """What an expression is; None for an error, such as a key that is not there."""
    value = _compiled(expression, tuple(variables)).eval(data=dict(variables))
    return None if value.type().name() == "*error*" or value.type() == cel.Type.ERROR else value.plain_value()


@cache
def _compiled(expression: str, variables: tuple[str, ...]) -> Any:
    kind = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    return cel.NewEnv(variables=dict.fromkeys(variables, kind)).compile(expression)


# ---- Azure


def azure_lets_in(trust: Json, claims: Json) -> bool:
    """Whether the federated credential is that of the token: issuer, subject and audience, letter by letter."""
    assert set(trust) == {"name", "issuer", "subject", "audiences", "description"}, trust
    assert len(trust["audiences"]) == 1, "Entra takes one"
    return (claims.get("iss"), claims.get("sub"), [claims.get("aud")]) == (
        trust["issuer"],
        trust["subject"],
        trust["audiences"],
    )
