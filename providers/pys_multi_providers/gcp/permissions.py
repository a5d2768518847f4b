"""What the deployer of one service at one stage must be allowed to do, and who may become the deployer.

Google has no role for "the things of one stage": most of its services know no permission narrower than the project, and
the rest look at a thing's name in a condition. So there are several custom roles: one for the project; one that holds
for buckets and secrets whose names begin as the stage's do; one for the bundles of the stage; one for the policies of
secrets that are somebody else's; and one that may change who has roles in the project, for the two roles of Firestore
alone. Everything is left out that the service has no use for; a further function or queue needs no new role.

A stage "dev" has rights on names of a stage "dev-2" as well, whose names begin alike.
Whoever may deploy functions may run code as any service account of the project; Google's own conditions do not narrow
that. Where that is too much, a project for each stage is the way.

For a plan it is what of it reads, without anybody's secrets, messages and objects. Permissions: what the calls of
client.py ask for, by "IAM permissions reference" (2026-11).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pys_multi.model import ObjectEvent, Schedule
from pys_multi_providers.gcp.names import Names, fit_id
from pys_multi_providers.gcp.secrets import sources
from pys_multi_providers.gcp.view import names_of, settings_of
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.provider import Purpose
from pys_multi_tools.trust import github_subject

Json = dict[str, Any]

_ISSUER = "https://token.actions.githubusercontent.com"
#: "WorkloadIdentityPoolProvider", attributeMapping: what google.subject cannot exceed.
_MAX_SUBJECT = 127
_POOL = "pys-multi-github"

_ALWAYS = """
    cloudfunctions.functions.create cloudfunctions.functions.delete cloudfunctions.functions.get
    cloudfunctions.functions.list cloudfunctions.functions.sourceCodeSet cloudfunctions.functions.update
    cloudfunctions.operations.get cloudfunctions.operations.list
    iam.serviceAccounts.actAs iam.serviceAccounts.create iam.serviceAccounts.delete iam.serviceAccounts.get
    iam.serviceAccounts.getIamPolicy iam.serviceAccounts.getOpenIdToken iam.serviceAccounts.list
    iam.serviceAccounts.setIamPolicy
    iam.serviceAccounts.update
    logging.logEntries.list monitoring.timeSeries.list
    resourcemanager.projects.get resourcemanager.projects.getIamPolicy
    run.operations.get run.revisions.get run.revisions.list run.routes.invoke run.services.get
    run.services.getIamPolicy run.services.list run.services.setIamPolicy run.services.update
    serviceusage.services.get serviceusage.services.list serviceusage.services.use
    storage.buckets.create storage.buckets.list
"""
#: What of other kinds is listed in any case, to find what former deploys left.
_LOOKS = """
    cloudscheduler.jobs.list datastore.databases.list logging.buckets.list logging.sinks.list pubsub.subscriptions.list
    pubsub.topics.list secretmanager.secrets.list
"""
_MESSAGES = """
    pubsub.subscriptions.consume pubsub.subscriptions.create pubsub.subscriptions.delete pubsub.subscriptions.get
    pubsub.subscriptions.getIamPolicy pubsub.subscriptions.setIamPolicy pubsub.subscriptions.update
    pubsub.topics.attachSubscription pubsub.topics.create pubsub.topics.delete pubsub.topics.get
    pubsub.topics.getIamPolicy pubsub.topics.publish pubsub.topics.setIamPolicy pubsub.topics.update
"""
_JOBS = """
    cloudscheduler.jobs.create cloudscheduler.jobs.delete cloudscheduler.jobs.enable cloudscheduler.jobs.fullView
    cloudscheduler.jobs.get cloudscheduler.jobs.update
"""
_DATABASES = """
    datastore.databases.create datastore.databases.delete datastore.databases.getMetadata datastore.databases.update
    datastore.indexes.get datastore.indexes.list datastore.indexes.update
    datastore.operations.get datastore.operations.list
"""
_LOGS = """
    logging.buckets.create logging.buckets.delete logging.buckets.get logging.buckets.undelete logging.buckets.update
    logging.sinks.create logging.sinks.delete logging.sinks.get logging.sinks.update
"""
#: Of buckets whose names begin as they must, and their objects; a notification is a part of its bucket.
_BUCKETS = """
    storage.buckets.delete storage.buckets.get storage.buckets.getIamPolicy storage.buckets.setIamPolicy
    storage.buckets.update storage.objects.create storage.objects.delete storage.objects.get storage.objects.list
"""
_SECRETS = """
    secretmanager.secrets.delete secretmanager.secrets.get secretmanager.secrets.getIamPolicy
    secretmanager.secrets.setIamPolicy secretmanager.secrets.update secretmanager.versions.access
    secretmanager.versions.add secretmanager.versions.get secretmanager.versions.list
"""
#: Of secrets that are somebody else's: a function may be let read them, the deployer does not.
_FOREIGN_SECRETS = "secretmanager.secrets.getIamPolicy secretmanager.secrets.setIamPolicy"
#: Permissions that change nothing, and those of them that read what a plan must not see.
_READS = re.compile(r".*\.(fullView|get|list|getIamPolicy|getMetadata)|serviceusage\.services\.use")
_TELLS = {"data": ("storage.objects.get",), "project": ("logging.logEntries.list",)}
#: Whoever may change who has roles in the project may do so for these two, and no other.
_GRANTED = ("roles/datastore.user", "roles/datastore.viewer")


def deployer_policy(deployment: Deployment, *, purpose: Purpose = "deploy") -> Json:
    """The least rights that deploying needs, or another purpose: a service account, custom roles, and their bindings.

    service_account and each of the roles are bodies of what creates them ("projects.serviceAccounts.create",
    "projects.roles.create"); bindings are parts of the project's policy. Raises ProviderError.
    """
    project = names_of(deployment).project
    deployer = _Deployer(deployment, project, purpose)
    roles, bindings = [], []
    for role, condition in deployer.roles():
        roles.append(role)
        binding: Json = {
            "role": f"projects/{project}/roles/{role['roleId']}",
            "members": [f"serviceAccount:{deployer.email}"],
        }
        bindings.append({**binding, "condition": condition} if condition else binding)
    account = {"displayName": _title(deployer.about), "description": deployer.about}
    return {
        "service_account": {"accountId": deployer.email.partition("@")[0], "serviceAccount": account},
        "roles": roles,
        "bindings": bindings,
    }


def github_trust(
    deployment: Deployment, repository: str, environment: str, *, number: str | None, purpose: Purpose = "deploy"
) -> Json:
    """The federation that lets workflows of one GitHub repository, in one of its environments, become the deployer.

    repository: "OWNER/NAME", or "OWNER@ID/NAME@ID" for one whose subjects carry ids. number: of the project.
    pool and provider are bodies of what creates them ("projects.locations.workloadIdentityPools.create" and
    "….providers.create"), binding is a part of the policy of the deployer's service account. Raises ProviderError.
    """
    project = names_of(deployment).project
    subject = github_subject(repository, environment)
    if number is None or not re.fullmatch("[0-9]+", number):
        hint = f"add --account, with what `gcloud projects describe {project} --format='value(projectNumber)'` prints"
        raise ProviderError("federation names the project by its number", where="permissions", hint=hint)
    deployer = _Deployer(deployment, project, purpose)
    pool = f"projects/{number}/locations/global/workloadIdentityPools/{_POOL}"
    # Each lets in one environment, so what a plan may must not come through the door of a deploy.
    id = fit_id(f"{deployment.service.name}-{deployer.stage}-{purpose}", f"{deployer.names.owner} {purpose}", 32)
    return {
        "pool_id": _POOL,
        "pool": {"displayName": "GitHub, for pys-multi", "description": "Workflows on GitHub that deploy services"},
        "provider_id": id,
        "provider": {
            "displayName": id,
            "description": _title(deployer.about),
            "oidc": {
                "issuerUri": _ISSUER,
                "allowedAudiences": [f"https://iam.googleapis.com/{pool}/providers/{id}"],
            },
            "attributeMapping": {
                # It must be there, and short; whom to trust is the other attribute.
                "google.subject": "assertion.sub" if len(subject.encode()) <= _MAX_SUBJECT else "assertion.jti",
                "attribute.sub": "assertion.sub",
            },
            # JSON is a literal of the Common Expression Language too.
            "attributeCondition": f"assertion.sub == {json.dumps(subject, ensure_ascii=False)}",
        },
        "binding": {
            "resource": f"projects/{project}/serviceAccounts/{deployer.email}",
            "role": "roles/iam.workloadIdentityUser",
            "members": [f"principalSet://iam.googleapis.com/{pool}/attribute.sub/{subject}"],
        },
        # What google-github-actions/auth asks for.
        "workload_identity_provider": f"{pool}/providers/{id}",
        "service_account": deployer.email,
    }


class _Deployer:
    """Who deploys, and what that needs; kinds of things that the service does not have are left out."""

    def __init__(self, deployment: Deployment, project: str, purpose: Purpose) -> None:
        self.purpose, self.service = purpose, deployment.service
        self.stage = "pr" if purpose == "preview" else deployment.stage
        self.names = Names(deployment.service.name, deployment.stage, project)
        does = {"deploy": "deploys", "preview": "deploys previews of", "plan": "plans deploys of"}[purpose]
        #: Not as descriptions say whose a thing is: a deploy would take its own deployer for one of the stage's.
        self.about = f"pys-multi: {does} {self.service.name}/{self.stage}"
        settings = settings_of(deployment)
        self._artefact_bucket, self._keeps_logs = settings.artefact_bucket, settings.log_retention_days is not None
        self._triggers = [trigger for function in self.service.functions for trigger in function.triggers]
        try:
            self._secrets = list(sources(deployment).values())
        except ValueError as error:
            hint = "pys-multi check says which, and why"
            raise ProviderError(f"a secret {error}", where="secrets", hint=hint) from error
        account = Names(self.service.name, self.stage, project).own_account(purpose)
        self.email = self.names.email(account)

    def roles(self) -> Iterator[tuple[Json, Json | None]]:
        """Bodies that create the roles, each with the condition that it holds under."""
        plain = f"{_ALWAYS} {_LOOKS}"
        # What a bucket tells goes through topics too.
        if self.has("queue") or self.has("topic") or self.has_trigger(ObjectEvent):
            plain += _MESSAGES
        if self.has_trigger(Schedule):
            plain += _JOBS
        if self.has("table"):
            plain += _DATABASES
        if self._keeps_logs:
            plain += _LOGS
        if any(source.is_ours for source in self._secrets):
            plain += " secretmanager.secrets.create"
        yield self.role("project", plain), None
        yield from self.conditional("data", _BUCKETS + (_SECRETS if self._secrets else ""), self.is_of_stage())
        yield from self.conditional("bundles", _BUCKETS, self.is_bundle())
        if foreign := [source.secret for source in self._secrets if source.secret]:
            named = [f'resource.name.extract("/secrets/{{name}}") == {json.dumps(secret)}' for secret in foreign]
            yield from self.conditional("secrets", _FOREIGN_SECRETS, " || ".join(named))
        if self.has("table"):
            changed = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
            only = f"{changed}.hasOnly([{', '.join(repr(role) for role in _GRANTED)}])"
            yield from self.conditional("grants", "resourcemanager.projects.setIamPolicy", only)

    def conditional(self, part: str, permissions: str, expression: str) -> Iterator[tuple[Json, Json | None]]:
        role = self.role(part, permissions)
        if role["role"]["includedPermissions"]:
            yield role, {"title": _title(f"{self.names.owner}: {part}"), "expression": expression}

    def has(self, kind: str) -> bool:
        return any(resource.kind == kind for resource in self.service.resources)

    def has_trigger(self, kind: type) -> bool:
        return any(isinstance(trigger, kind) for trigger in self._triggers)

    def role(self, part: str, permissions: str) -> Json:
        wanted = sorted(set(permissions.split()))
        if self.purpose == "plan":
            wanted = [name for name in wanted if _READS.fullmatch(name) and name not in _TELLS.get(part, ())]
        id = f"pysMulti.{self.service.name}.{self.stage}.{self.purpose}.{part}".replace("-", "_")
        return {
            "roleId": id if len(id) <= 64 else fit_id(id, f"{self.names.owner} {self.purpose} {part}", 64, "_"),
            "role": {
                "title": _title(f"{self.about} ({part})"),
                "description": "Printed by pys-multi permissions",
                "stage": "GA",
                "includedPermissions": wanted,
            },
        }

    def is_of_stage(self) -> str:
        """The condition for buckets, their objects, and secrets of this stage, or of all previews."""
        beginning = f"{self.service.name}-{self.stage}-"
        found = f"resource.name.startsWith({json.dumps(f'projects/_/buckets/{_cut(beginning)}')})"
        if not self._secrets:
            return found
        # A secret's full name has the project's number in it.
        return f'{found} || resource.name.extract("/secrets/{{name}}").startsWith({json.dumps(beginning)})'

    def is_bundle(self) -> str:
        """The condition for the bucket of bundles, and what there is of this stage, or of all previews."""
        if self._artefact_bucket:
            here = f"resource.name == {json.dumps(f'projects/_/buckets/{self._artefact_bucket}')}"
            inside = f"resource.name.startsWith({json.dumps(f'projects/_/buckets/{self._artefact_bucket}/objects/')})"
        else:
            inside = 'resource.name.startsWith("projects/_/buckets/pys-multi-")'
            here = f'{inside} && resource.type == "storage.googleapis.com/Bucket"'
        folder = f"{self.service.name}/{self.stage}{'-' if self.purpose == 'preview' else '/'}"
        of_stage = f'resource.name.extract("/objects/{{name}}").startsWith({json.dumps(folder)})'
        return f"({here}) || ({inside} && {of_stage})"


def _cut(beginning: str) -> str:
    """As much of it as every bucket's name begins with."""
    return beginning if len(beginning) <= 52 else beginning[:52].rstrip("-")


def _title(text: str) -> str:
    return text.encode()[:100].decode(errors="ignore")
