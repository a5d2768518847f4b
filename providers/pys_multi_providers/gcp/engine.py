"""The story of a deploy on Google Cloud; every step may be interrupted and is taken up by the next run.

plan      the document against what is live, field by field: nothing is changed
deploy    look        is everything live already? then nothing at all is changed
          refuse      what has a name of ours and is not ours, and what no plan said, before anything is touched
          lease       nobody else changes this stage (lease.py); then a second look
          upload      bundles by their hash into the bucket of bundles (artefacts.py)
          before      accounts, topics, buckets, databases, secrets with their values, and who may do what with them
          functions   the new build beside what serves; proven, and only then called (rollout.py)
          after       what calls them: subscriptions, schedules, bucket events; who may invoke them
          prune       what the service no longer has, unless it holds data
          settle      the release is noted
          verify      every function answers with the build that was deployed
rollback  a former release's revisions at once, then the same way with that release's document
destroy   everything of ours, rights in the project too; what holds data only when asked
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

from pys_multi.model import Mount, Route
from pys_multi_providers.gcp import live as live_
from pys_multi_providers.gcp import policies, secret_values, steps
from pys_multi_providers.gcp.artefacts import Artefacts, Release
from pys_multi_providers.gcp.client import FUNCTIONS, Cloud
from pys_multi_providers.gcp.document import (
    Document,
    Entry,
    Item,
    Policy,
    lookup,
    of,
    parse,
    phases,
    resolved,
    with_build,
)
from pys_multi_providers.gcp.document import policies as policies_of
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.kinds import (
    ACCOUNTS,
    DATABASES,
    KINDS,
    LOG_BUCKETS,
    NOTIFICATIONS,
    SINKS,
    SUBSCRIPTIONS,
    TOPICS,
)
from pys_multi_providers.gcp.lease import Lease
from pys_multi_providers.gcp.live import Live
from pys_multi_providers.gcp.making import Making, foreign
from pys_multi_providers.gcp.rollout import Functions, build_of, revision_of, traffic_of
from pys_multi_providers.gcp.steps import Step, Steps, short
from pys_multi_providers.gcp.view import names_of, settings_of
from pys_multi_tools.bundle import Bundle
from pys_multi_tools.deployment import Change, Deployment, Outputs, Plan, Progress, Rollout
from pys_multi_tools.errors import DeployError, ProviderError
from pys_multi_tools.patience import each

Json = dict[str, Any]
OnProgress = Callable[[Progress], None]


class Engine:
    """One service at one stage, as Google Cloud has it."""

    def __init__(
        self, deployment: Deployment, progress: OnProgress = lambda _: None, cloud: Cloud | None = None
    ) -> None:
        """cloud: one whose connections are used again."""
        self.deployment = deployment
        self._progress = progress
        self.names, self.settings = names_of(deployment), settings_of(deployment)
        self.cloud = cloud.again() if cloud is not None else Cloud(self.settings)
        self.is_owned = live_.reader(self.names.owner, self.names.labels, self.names.database)
        events = self.names.email(self.names.events_account)
        self.functions = Functions(self.cloud, self.is_owned, events, progress)
        self._making = Making(self.cloud, self.is_owned, self._say)

    @cached_property
    def artefacts(self) -> Artefacts:
        """The bucket of bundles."""
        bucket = self.settings.artefact_bucket or f"pys-multi-{self.cloud.project_number}-{self.cloud.region}"
        folder = f"{self.deployment.service.name}/{self.deployment.stage}/"
        return Artefacts(self.cloud, bucket, folder, is_ours=self.settings.artefact_bucket is None)

    def read(self, document: Document, former: Document | None = None) -> Live:
        """What is there now. former: the document of the last release, whose rights on what is not ours may be left."""
        return live_.read(self.cloud, document, self.is_owned, former)

    def _compared(self, document: Document, found: Live) -> Steps:
        look = lookup(document, found.get, lambda: self.cloud.project_number)
        return steps.compare(document, found, look)

    def _last_document(self) -> Document | None:
        release = self.artefacts.last()
        try:
            return parse(self.artefacts.document(release.document)) if release is not None else None
        except GcpError as error:
            if error.is_gone:
                return None
            raise

    # ---- plan

    def plan(self, config: Mapping[str, str], text: str) -> Plan:
        """What a deploy would change."""
        document = parse(text)
        found = self.read(document, self._last_document())
        self._refuse_elsewhere(found)
        changes = [*steps.changes(self._compared(document, found)), *self._rotated(document), *self._unfinished(found)]
        return Plan(deployment=self.deployment, changes=tuple(changes), config=config)

    def _rotated(self, document: Document) -> Iterable[Change]:
        """Secrets of ours whose value is another one now; a plan can be made without them."""
        wanted = secret_values.values(self.deployment, document, strict=False)
        try:
            differing = secret_values.differing(self.cloud, wanted)
        except GcpError as error:
            if error.code != "PERMISSION_DENIED":
                raise
            # Whoever may only look, as a pull request's job, may not see them.
            self._say("plan", "the values of secrets may not be read: whether they differ is not known")
            return
        for name in differing:
            yield Change(action="update", kind="secret value", name=short(name), reason="the value differs")

    def _unfinished(self, found: Live) -> Iterable[Change]:
        """Functions whose last revision is not called yet."""
        for (kind, name), function in sorted(found.things.items()):
            service = found.services.get(str(function.get("serviceConfig", {}).get("service", "")))
            if kind == FUNCTIONS and (kind, name) in found.ours and service is not None:
                traffic, revision = traffic_of(service), revision_of(function)
                if not traffic.is_all_on(revision):
                    shares = ", ".join(f"{revision} {share}%" for revision, share in traffic.shares.items())
                    yield Change(
                        action="update",
                        kind="traffic",
                        name=short(name),
                        reason="its last deploy did not end, or somebody moved its calls",
                        properties=(("traffic", shares, f"{revision} 100%"),),
                    )

    def drift(self, text: str) -> tuple[Change, ...]:
        """What differs from what was deployed last, as far as ``plan``, which compares with what is live, is silent."""
        release = self.artefacts.last()
        former = self._last_document()
        if release is None or former is None:
            return ()
        document = self._with_builds(former, release.builds)
        found = self.read(document)
        planned = set(_keys(c for c in steps.changes(self._compared(parse(text), found)) if c.action != "unchanged"))
        changes = steps.changes(self._compared(document, found))
        return tuple(
            replace(change, reason="changed by other means")
            for change in changes
            if change.action in ("create", "update") and next(_keys([change])) not in planned
        )

    # ---- deploy

    def deploy(self, plan: Plan, text: str, bundle: Bundle) -> Outputs:
        """Makes it so; see the story above."""
        builds = {name: artefact.build_id for name, artefact in bundle.artefacts.items()}
        paths = {artefact.build_id: artefact.path for artefact in bundle.artefacts.values()}
        document = parse(text)
        secrets = secret_values.values(self.deployment, document)

        def upload() -> None:
            self._say("upload", f"to gs://{self.artefacts.bucket}")
            done = each(lambda build: self.artefacts.put_bundle(build, paths[build]), sorted(paths))
            for build, is_new in zip(sorted(paths), done, strict=True):
                self._say("upload", f"{build}" + ("" if is_new else " is there already"))

        return self._converge(text, builds, secrets, steps.losses(plan.changes), plan.rollout, upload)

    def _converge(
        self,
        text: str,
        builds: Mapping[str, str],
        secrets: Mapping[str, str],
        accepted: set[tuple[str, str, str]] | None,
        rollout: Rollout,
        upload: Callable[[], None],
    ) -> Outputs:
        """accepted: what the user knows that it deletes or replaces; None: nothing that holds data."""
        document = self._with_builds(parse(text), builds)
        former = self._last_document()
        found = self.read(document, former)
        needed = self._compared(document, found)
        if self._is_live(document, found, needed, builds, secrets) and self._serves(document, found, builds):
            self._say("unchanged", "these builds serve already")
            return self._outputs(document, found, builds)
        self._refuse(needed, accepted)
        self._refuse_elsewhere(found)
        self.artefacts.ensure()
        with self._lease():
            found = self.read(document, former)
            needed = self._compared(document, found)
            self._refuse(needed, accepted)
            upload()
            self._make(document, found, needed, builds, secrets, rollout)
            self._settle(document, found, text, builds)
        self._verify(document, found, builds)
        return self._outputs(document, found, builds)

    def _with_builds(self, document: Document, builds: Mapping[str, str]) -> Document:
        bucket = self.artefacts.bucket
        built = {
            entry.id: with_build(entry, bucket, self.artefacts.name(builds[name]), builds[name])
            for name, entry in document.functions().items()
            if name in builds
        }
        return of((built.get(entry.id, entry) for entry in document.entries), document.bindings)

    def _lease(self) -> Lease:
        artefacts = self.artefacts
        return Lease(self.cloud, artefacts.bucket, artefacts.lease, lambda text: self._say("lease", text))

    # ---- look

    def _is_live(
        self,
        document: Document,
        found: Live,
        needed: Steps,
        builds: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> bool:
        """Whether nothing has to be done, and nobody is at it: no field, no right, no secret, no traffic, and the
        release is noted."""
        if needed.pending or any(True for _ in self._unfinished(found)):
            return False
        if secret_values.differing(self.cloud, secrets):
            return False
        last = self.artefacts.last()
        if last is None or last.builds != dict(builds) or last.revisions != self._revisions(document, found):
            return False
        return not self.artefacts.is_leased()

    def _serves(self, document: Document, found: Live, builds: Mapping[str, str]) -> bool:
        """Whether every function says so itself."""
        try:
            self._verify(document, found, builds)
        except DeployError as error:
            self._say("look", f"{error.where}: {error.what}")
            # What its fields say is not what it does, so it is deployed again.
            for entry in document.functions().values():
                thing = found.get(entry)
                if thing is not None:
                    thing["state"] = "UNKNOWN"
            return False
        return True

    def _revisions(self, document: Document, found: Live) -> dict[str, str]:
        things = {name: found.get(entry) or {} for name, entry in document.functions().items()}
        return {name: revision_of(thing) for name, thing in things.items()}

    def _refuse(self, needed: Steps, accepted: set[tuple[str, str, str]] | None) -> None:
        """Before anything is touched: names of others, and losses that no plan said."""
        for step in needed.foreign():
            raise foreign(step.entry)
        for step in needed.resources.values():
            if step.action == "replace" and step.holds_data and not step.is_cut_off:
                raise DeployError(
                    f"{step.reason}, and what it holds does not move along",
                    where=f"{KINDS[step.entry.kind].word} {short(step.entry.name)}",
                    hint="take that change back, or give it a new name; nothing was changed",
                )
        if accepted is None:
            return
        surprises = steps.losses(steps.changes(needed)) - accepted
        if surprises:
            raise DeployError(
                "this would " + ", ".join(f"{action} {kind} {name}" for action, kind, name in sorted(surprises)),
                where=f"stage {self.deployment.stage}",
                hint="see pys-multi plan, and deploy; nothing was changed",
            )

    def _refuse_elsewhere(self, found: Live) -> None:
        """A stage is in one region: in two, its schedules would run twice, and its queues would go to the last."""
        if any(kind == FUNCTIONS for kind, _ in found.ours):
            return
        for function in self.cloud.pages(FUNCTIONS, "functions", parent=f"projects/{self.cloud.project}/locations/-"):
            region = str(function["name"]).split("/")[3]
            if region != self.cloud.region and self.is_owned(FUNCTIONS, function):
                stage = self.deployment.stage
                raise DeployError(
                    f"it is deployed in {region}, and a stage is in one region",
                    where=f"{self.deployment.service.name}, stage {stage}",
                    hint=f"pys-multi destroy --cloud gcp --stage {stage} --region {region}, or deploy another stage",
                )

    # ---- make

    def _make(
        self,
        document: Document,
        found: Live,
        needed: Steps,
        builds: Mapping[str, str],
        secrets: Mapping[str, str],
        rollout: Rollout,
    ) -> None:
        order = phases(document)
        self._levels(document, found, needed, order.before)
        for name in secret_values.put(self.cloud, secrets):
            self._say("secrets", f"{short(name)}, for instances that start from now on")
        for level in order.functions:
            done = each(lambda entry: self._function(document, found, entry, needed), level)
            for entry, function in zip(level, done, strict=True):
                found.things[entry.kind, entry.name] = function
                found.ours.add((entry.kind, entry.name))
        functions = {name: found.things[entry.kind, entry.name] for name, entry in document.functions().items()}
        self.functions.shift(functions, builds, rollout)
        self._levels(document, found, needed, order.after)
        self._prune(document, found, needed)

    def _levels(self, document: Document, found: Live, needed: Steps, levels: Sequence[Sequence[Item]]) -> None:
        for level in levels:
            done = each(lambda item: self._item(document, found, item, needed), level)
            for item, thing in zip(level, done, strict=True):
                if isinstance(item, Entry) and thing is not None and item.kind != NOTIFICATIONS:
                    found.things[item.kind, item.name] = thing
                    found.ours.add((item.kind, item.name))

    def _item(self, document: Document, found: Live, item: Item, needed: Steps) -> Json | None:
        if isinstance(item, Entry):
            return self._making.make(self._resolved(document, found, needed.resources[item.id]))
        permission = needed.permissions[item.id]
        must = steps.grants_of(document, item, lookup(document, found.get, lambda: self.cloud.project_number))
        if permission.is_pending or must - set(policies.grants(found.policies.get((item.kind, item.name), {}))):
            self._grant(document, found, item, must)
        return None

    def _grant(self, document: Document, found: Live, policy: Policy, must: set[policies.Grant]) -> None:
        emails = found.emails | steps.wanted_emails(document)
        on_ours = steps.is_on_ours(policy, found, document)
        if any(grant.member.endswith("@gs-project-accounts.iam.gserviceaccount.com") for grant in must):
            # Storage's own account is made when it is asked for the first time.
            self.cloud.call("storage.v1.projects.serviceAccount", "get", projectId=self.cloud.project)
        if policies.change(self.cloud, policy.kind, policy.name, must, emails, on_ours=on_ours):
            self._say("permissions", short(policy.name))

    def _resolved(self, document: Document, found: Live, step: Step) -> Step:
        """The step with what is known by now."""
        look = lookup(document, found.get, lambda: self.cloud.project_number)
        return replace(step, body=resolved(document, step.entry.body, look))

    def _function(self, document: Document, found: Live, entry: Entry, needed: Steps) -> Json:
        return self.functions.deploy(self._resolved(document, found, needed.resources[entry.id]))

    def _prune(self, document: Document, found: Live, needed: Steps) -> None:
        """Deletes what is no longer defined: first what calls, then what is called."""
        for step in needed.deletions:
            if step.kept:
                self._say("keep", f"{_word(step)} {short(step.entry.name)}, which is no longer defined")
        todo = [step for step in needed.deletions if not step.kept]
        # Rights of accounts that go are taken back first, where they stay behind otherwise.
        known = {policy.id for policy in policies_of(document)}
        for permission in needed.permissions.values():
            if permission.policy.id not in known and permission.surplus:
                self._grant(document, found, permission.policy, set())
        for kinds in _ORDER_OF_DELETION:
            part = [step for step in todo if step.entry.kind in kinds]
            each(self._making.delete, part)
            for step in part:
                found.things.pop((step.entry.kind, step.entry.name), None)
                found.ours.discard((step.entry.kind, step.entry.name))

    def _settle(self, document: Document, found: Live, text: str, builds: Mapping[str, str]) -> None:
        """Notes the release unless it is the last one that was noted."""
        name = self.artefacts.put_document(text)
        self.artefacts.put_release(builds, self._revisions(document, found), name)

    def _verify(self, document: Document, found: Live, builds: Mapping[str, str]) -> None:
        """Raises DeployError where a function does not serve what was deployed. No false green."""

        def verify(name: str) -> None:
            function = found.get(document.functions()[name]) or {}
            uri = str(function.get("serviceConfig", {}).get("uri", ""))
            if not uri:
                raise DeployError("it has no address", where=f"function {name}", hint="deploy again")
            self.functions.prove(name, uri, builds[name], {"uri": uri})

        each(verify, list(builds))

    def _outputs(self, document: Document, found: Live, builds: Mapping[str, str]) -> Outputs:
        urls = self.urls(document, found)
        return Outputs(
            provider="gcp",
            service=self.deployment.service.name,
            stage=self.deployment.stage,
            url=self.main_url(urls),
            build_ids=dict(builds),
            values={**{f"url.{name}": url for name, url in urls.items()}, "project": self.cloud.project},
        )

    def urls(self, document: Document, found: Live) -> dict[str, str]:
        """The addresses of the functions with routes."""
        things = {name: found.get(entry) or {} for name, entry in document.functions().items()}
        uris = {name: str(thing.get("serviceConfig", {}).get("uri", "")) for name, thing in things.items()}
        return {name: uri.rstrip("/") for name, uri in uris.items() if uri and self.routes(name)}

    def main_url(self, urls: Mapping[str, str]) -> str:
        """The address of the function that has most routes."""
        return urls[max(urls, key=self.routes)] if urls else ""

    def routes(self, name: str) -> int:
        """How many routes and mounted applications a function has."""
        function = next((f for f in self.deployment.service.functions if f.name == name), None)
        return sum(isinstance(t, Route | Mount) for t in function.triggers) if function is not None else 0

    # ---- rollback

    def rollback(self, build_id: str | None) -> Outputs:
        """A former release again: first its revisions at once, where they are still there, then its document."""
        release = self._former(build_id)
        missing = [build for build in sorted(set(release.builds.values())) if not self.artefacts.has_bundle(build)]
        if missing:
            raise ProviderError(f"build {missing[0]} is no longer here", hint="check its code out and deploy it")
        text = self.artefacts.document(release.document)
        document = self._with_builds(parse(text), release.builds)
        with self._lease():
            self._shift_back(document, release)
        secrets = secret_values.values(self.deployment, document, strict=False)
        return self._converge(text, release.builds, secrets, None, Rollout(), lambda: None)

    def _former(self, build_id: str | None) -> Release:
        present = None
        for release in self.artefacts.releases():
            present = release.builds if present is None else present
            ids = set(release.builds.values())
            if (release.builds != present) if build_id is None else (build_id in ids):
                return release
        where = f"{self.names.service}, stage {self.names.stage}"
        if present is None:
            raise ProviderError("nothing was deployed", where=where, hint="deploy first")
        known = ", ".join(self.artefacts.builds()) or "none"
        what = f"build {build_id!r} is not known" if build_id is not None else "there is no former build"
        raise ProviderError(what, where=where, hint=f"the builds that are here: {known}")

    def _shift_back(self, document: Document, release: Release) -> None:
        def back(name: str) -> None:
            entry = document.functions().get(name)
            function = self.functions.settled(entry) if entry is not None else None
            if function is None:
                return
            service, revision = self.functions.service(function), release.revisions.get(name, "")
            if not service or not revision or traffic_of(service).is_all_on(revision):
                return
            try:
                self.functions.point(service, {revision: 100})
                self._say("shift", f"{name}: back to revision {revision}")
            except GcpError as error:
                if error.code not in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"):
                    raise  # the revision is gone: the deploy that follows brings its build back

        each(back, list(release.revisions))

    # ---- destroy

    def destroy(self, text: str, *, delete_data: bool) -> None:
        """Everything of ours, then the bundles."""
        document = parse(text)
        former = self._last_document()
        found = self.read(document, former)
        there = self.artefacts.is_there()
        if not found.ours and not there:
            return
        holder: AbstractContextManager[Any] = self._lease() if there else nullcontext()
        with holder:
            found = self.read(document, former)
            self._destroy(found, delete_data=delete_data)
            if there:
                self._say("bundles", "deleting them")
                self.artefacts.remove(but=self.artefacts.lease)
        if there:
            self.artefacts.remove_bucket()

    def _destroy(self, found: Live, *, delete_data: bool) -> None:
        nothing = of(())
        needed = steps.compare(nothing, found, lambda _: None)
        stays = {(s.entry.kind, s.entry.name) for s in needed.deletions if s.kept and not delete_data}
        gone = [s for s in needed.deletions if (s.entry.kind, s.entry.name) not in stays]
        for step in needed.deletions:
            if (step.entry.kind, step.entry.name) in stays:
                self._say("keep", f"{_word(step)} {short(step.entry.name)}")
        going = {(s.entry.kind, s.entry.name) for s in gone}
        policies_ = [
            p.policy
            for p in needed.permissions.values()
            if (p.policy.kind, p.policy.name) not in going and not _of_function(p.policy, going)
        ]
        each(lambda policy: self._grant(nothing, found, policy, set()), policies_)
        for kinds in _ORDER_OF_DELETION:
            each(self._making.delete, [step for step in gone if step.entry.kind in kinds])

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))


#: First what calls, then what is called, then what those use; the accounts last.
_ORDER_OF_DELETION: tuple[frozenset[str], ...] = (
    frozenset({NOTIFICATIONS, SUBSCRIPTIONS, SINKS, *(kind for kind in KINDS if kind.startswith("cloudscheduler."))}),
    frozenset({FUNCTIONS}),
    frozenset({TOPICS, LOG_BUCKETS, *(kind for kind in KINDS if kind.startswith(("secretmanager.", "storage.")))}),
    frozenset({DATABASES, ACCOUNTS}),
)


def _word(step: Step) -> str:
    return KINDS[step.entry.kind].word if step.entry.kind in KINDS else "bucket event"


def _of_function(policy: Policy, going: set[tuple[str, str]]) -> bool:
    return (FUNCTIONS, policy.name.replace("/services/", "/functions/")) in going


def _keys(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    return ((change.kind, change.name) for change in changes)


__all__ = ["Engine", "build_of"]
