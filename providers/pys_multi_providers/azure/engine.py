"""The story of a deploy on Azure; every step may be interrupted and is taken up by the next run.

plan      what-if of the template, and what is there that it no longer has
deploy    look        is everything live already? then nothing at all is changed
          group       the resource group, made where it is missing
          stack       an incremental deployment of the template; none where it is the one that was deployed last
          secrets     their values into the Key Vault
          releases    the bundle into the account, from where a rollback takes it
          publish     One Deploy of the package to each app that serves another build, side by side
          prove       Azure has indexed the functions that the bundle has, and the build answers; where it does not, the
                      former build is published again
          prune       what the service no longer has is deleted
rollback  a former release: its template, then its packages
destroy   all that is ours; what holds data only when asked; the group only when deploy made it and it is empty
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from pys_multi.model import Function, Mount, Route
from pys_multi_providers.azure import changes, entry, index, names, secret_values
from pys_multi_providers.azure.apps import App, Apps, Live
from pys_multi_providers.azure.artefacts import Artefacts, Release
from pys_multi_providers.azure.client import RESOURCES, Cloud
from pys_multi_providers.azure.clouds import CLOUDS
from pys_multi_providers.azure.errors import AzureError
from pys_multi_providers.azure.inventory import LISTED, Inventory, Remover, Thing
from pys_multi_providers.azure.kinds import KINDS
from pys_multi_providers.azure.leftovers import DeletedVault, Leftovers
from pys_multi_providers.azure.secrets import sources
from pys_multi_providers.azure.stack import Stack, State
from pys_multi_providers.azure.view import own_tags, settings_of
from pys_multi_tools.bundle import Bundle
from pys_multi_tools.deployment import Change, Deployment, Outputs, Plan, Progress
from pys_multi_tools.errors import DeployError, ProviderError
from pys_multi_tools.patience import each

Json = dict[str, Any]
OnProgress = Callable[[Progress], None]
#: Function → build id and where its bytes come from.
Packages = Mapping[str, tuple[str, Callable[[], bytes]]]


@dataclass(frozen=True, slots=True)
class Looked:
    """What is there: found once, before anything is changed."""

    state: State | None
    live: Mapping[str, Live]
    things: list[Thing]
    wanted: frozenset[str]

    @property
    def missing(self) -> list[str]:
        """Ids of what the template has and is not there, as far as it can be listed."""
        there = {thing.id.lower() for thing in self.things}
        return sorted(id for id in self.wanted - there if index.WORDS.get(index.split(id)[1].lower()) in LISTED)

    @property
    def surplus(self) -> list[Thing]:
        """What is there and the template does not have; role assignments are told apart only after a deployment."""
        return [t for t in self.things if t.id.lower() not in self.wanted and t.kind != "assignment"]


class Engine:
    """One service at one stage, as Azure has it."""

    def __init__(self, deployment: Deployment, progress: OnProgress = lambda _: None) -> None:
        self.deployment, self._progress = deployment, progress
        self.settings = settings_of(deployment)
        self.cloud = Cloud(self.settings)
        self.service = deployment.service

    @cached_property
    def unique(self) -> str:
        """The end of the names that are unique in the world."""
        given = self.settings.suffix
        return given or names.unique(
            self.cloud.subscription, self.cloud.resource_group, self.service.name, self.deployment.stage
        )

    @cached_property
    def names(self) -> names.Names:
        """The names, with their end."""
        return names.Names(self.service.name, self.deployment.stage, self.unique)

    @cached_property
    def stack(self) -> Stack:
        """The deployment."""
        parameters = {"unique": self.unique}
        return Stack(self.cloud, self.names.deployment, parameters, self.tags, self._progress)

    @property
    def tags(self) -> dict[str, str]:
        """What all that is ours bears."""
        return own_tags(self.deployment)

    @cached_property
    def apps(self) -> Apps:
        """The apps of the functions."""
        sites = {function.name: self.names.site(function.name) for function in self.service.functions}
        return Apps(self.cloud, sites, self._progress)

    @cached_property
    def artefacts(self) -> Artefacts:
        """The releases."""
        host = f"{self.names.storage}.blob.{CLOUDS[self.settings.cloud].storage}"
        return Artefacts(self.cloud, host, self.names.releases)

    @property
    def vault(self) -> str:
        """The host of the Key Vault."""
        return f"{self.names.vault}.{CLOUDS[self.settings.cloud].vault}"

    def inventory(self) -> Inventory:
        """What is there."""
        return Inventory(self.cloud, self.tags, frozenset((self.names.host_storage,)))

    # ---- plan

    def plan(self, config: Mapping[str, str], text: str) -> Plan:
        """What a deploy would change; nothing of it is changed."""
        template = json.loads(text)
        if self._group() is None:
            about = self._about(None, template)
            group = Change(action="create", kind="resource group", name=self.cloud.resource_group)
            created = tuple(changes.created(about))
            return Plan(deployment=self.deployment, changes=(group, *created), config=config)
        looked = self._look(text, self.stack.read())
        about = self._about(looked.state, template)
        if self.stack.fits(looked.state, text) and not looked.missing:
            found = changes.all_unchanged(about)
        else:
            found = changes.foreseen(self.stack.what_if(template), about)
        lost = changes.surplus([thing.id for thing in self._outermost(looked.surplus)], about)
        return Plan(deployment=self.deployment, changes=(*found, *lost, *self._rotated(looked)), config=config)

    def drift(self) -> tuple[Change, ...]:
        """What differs from what was deployed, as somebody changed it by other means."""
        state = self.stack.read()
        if state is None:
            return ()
        template = self.stack.template()
        about = self._about(state, template)
        return changes.drifted(self.stack.what_if(template), about)

    def _about(self, state: State | None, template: Json) -> changes.About:
        old = None
        if state is not None:
            old = index.resources(self.stack.template(), self.cloud.group, self.unique)
        opened = [f for f in self.service.functions if any(_is_open(trigger) for trigger in f.triggers)]
        return changes.About(
            old=old,
            new=index.resources(template, self.cloud.group, self.unique),
            unique=self.unique,
            public=frozenset(self.names.site(function.name) for function in opened),
            own=self._own(),
        )

    def _own(self) -> frozenset[str]:
        """Containers that are ours, not a user's."""
        packages = {self.names.package_container(function.name) for function in self.service.functions}
        return frozenset({self.names.releases, self.names.undelivered, *packages})

    def _rotated(self, looked: Looked) -> tuple[Change, ...]:
        """Secrets of ours whose value is another one now."""
        wanted = secret_values.values(self.deployment, self.names, strict=False)  # a plan can be made without them
        if not wanted or not any(thing.kind == "vault" for thing in looked.things):
            return ()
        try:
            differing = secret_values.differing(self.cloud, self.vault, wanted)
        except AzureError as error:
            if not error.is_denied:
                raise
            # Whoever may only look, as a pull request's job, may not see them.
            self._say("plan", "the values of secrets may not be read: whether they differ is not known")
            return ()
        return tuple(
            Change(action="update", kind="secret value", name=name, reason="the value differs") for name in differing
        )

    def _look(self, text: str, state: State | None) -> Looked:
        template = json.loads(text)
        wanted = set(index.resources(template, self.cloud.group, self.unique))
        if self.stack.fits(state, text) and state is not None:
            wanted |= {id.lower() for id in state.resources}
        return Looked(state, self.apps.all_live(), self.inventory().things, frozenset(wanted))

    # ---- deploy

    def deploy(self, plan: Plan, text: str, bundle: Bundle) -> Outputs:
        """Makes it so; see the story above."""
        paths = {artefact.build_id: artefact.path for artefact in bundle.artefacts.values()}

        def read(build: str) -> bytes:
            return paths[build].read_bytes()

        packages: Packages = {
            name: (artefact.build_id, lambda build=artefact.build_id: read(build))  # type: ignore[misc]  # bound
            for name, artefact in bundle.artefacts.items()
        }

        def keep() -> None:
            for build, path in paths.items():
                is_new = self.artefacts.put_bundle(build, path, partial(self._say, "releases"))
                self._say("releases", build + ("" if is_new else " is there already"))

        return self._converge(text, packages, changes.losses(plan.changes), keep)

    def _converge(
        self, text: str, packages: Packages, accepted: set[tuple[str, str, str]] | None, keep: Callable[[], None]
    ) -> Outputs:
        """accepted: what the user knows that it deletes; None: nothing that holds data."""
        secrets = secret_values.values(self.deployment, self.names)
        self._ensure_group()
        looked = self._look(text, self.stack.ready())
        is_deployed = self.stack.fits(looked.state, text) and not looked.missing
        builds = {name: build for name, (build, _) in packages.items()}
        has_vault = any(thing.kind == "vault" for thing in looked.things)
        rotated = secret_values.differing(self.cloud, self.vault, secrets) if has_vault else list(secrets)
        stale = [name for name, build in builds.items() if looked.live[name].build_id != build]
        surplus = [*looked.surplus, *self._unassigned(looked.things, looked.state if is_deployed else None)]
        if is_deployed and looked.state is not None and not (stale or rotated or surplus):
            self._say("unchanged", "these builds serve already")
            self._prove(looked.live, builds)
            return self._finished(looked.state, text, builds)
        self._refuse_losses(looked.surplus, accepted)
        state = looked.state
        if not is_deployed or state is None:
            if not has_vault and any(r["type"] == KINDS["vault"] for r in json.loads(text)["resources"]):
                self._vault.recover(str((self._group() or {}).get("location", "")))
            if has_vault:  # what serves already finds its new secrets when its settings change
                self._put_secrets(secrets, rotated, is_new=False)
            state = self.stack.apply(text)
        self._put_secrets(secrets, rotated if is_deployed or not has_vault else [], is_new=not has_vault)
        self._refresh(rotated)
        keep()
        began = time.time()
        self._publish(packages)
        try:
            self._prove(self.apps.all_live(), builds)
        except DeployError as error:
            from pys_multi_providers.azure import rescue  # it reads the logs of an engine

            raise rescue.rescued(self, looked.live, builds, began, error, self._progress) from error
        # A deployment may have made what was missing, so that all is looked at again.
        left = self._look(text, state)
        self._remove([*left.surplus, *self._unassigned(left.things, state)])
        return self._finished(state, text, builds)

    def _unassigned(self, things: list[Thing], state: State | None) -> list[Thing]:
        """Role assignments that the deployed template does not have; none where it is not deployed."""
        if state is None:
            return []
        wanted = {id.lower() for id in state.resources}
        return [t for t in things if t.kind == "assignment" and t.id.lower() not in wanted]

    def _refuse_losses(self, surplus: list[Thing], accepted: set[tuple[str, str, str]] | None) -> None:
        about = changes.About(None, {}, self.unique, frozenset(), self._own())
        found = changes.surplus([thing.id for thing in self._outermost(surplus)], about)
        surprises = changes.losses([change for change in found if change.data]) - (accepted or set())
        if surprises:
            raise DeployError(
                "this would " + ", ".join(f"{action} {kind} {name}" for action, kind, name in sorted(surprises)),
                where=f"deployment {self.names.deployment}",
                hint="see pys-multi plan, and deploy; nothing was changed",
            )

    @staticmethod
    def _outermost(things: list[Thing]) -> list[Thing]:
        """Those that are not in another one of them."""
        ids = {thing.id.lower() for thing in things}
        return [t for t in things if not any(t.id.lower().startswith(id + "/") for id in ids)]

    def _put_secrets(self, secrets: Mapping[str, str], rotated: list[str], *, is_new: bool) -> None:
        wanted = {name: secrets[name] for name in rotated}
        tell = partial(self._say, "secrets")
        for name in secret_values.put(self.cloud, self.vault, wanted, tell, is_new=is_new) if wanted else ():
            tell(name)

    def _refresh(self, rotated: list[str]) -> None:
        """An app looks its references up when its settings are set, which may be before there is a value, and then
        once a day."""
        for name, app in self.apps.all().items() if rotated else ():
            if app is not None and self._uses_secrets(self.service.function(name)):
                self.apps.refresh(app)

    def _uses_secrets(self, function: Function) -> bool:
        ours = {name for name, source in sources(self.deployment).items() if not source.uri}
        return any(grant.resource in ours for grant in function.grants)

    def _publish(self, packages: Packages) -> None:
        """To each app that does not serve its build, as looked at now: a deployment restarts apps."""
        live = self.apps.all_live()

        def one(name: str) -> None:
            build, package = packages[name]
            if live[name].build_id != build:
                self.apps.publish(name, self._app(name, live), build, package)

        each(one, packages)

    def _app(self, name: str, live: Mapping[str, Live]) -> App:
        app = live[name].app
        if app is None:
            raise DeployError(
                f"the app {self.names.site(name)} is not there",
                where=f"function {name}",
                hint="somebody deletes at the same time; deploy again",
            )
        return app

    def _prove(self, live: Mapping[str, Live], builds: Mapping[str, str]) -> None:
        """Raises DeployError where an app does not serve what was deployed. No false green."""
        functions = {function.name: function for function in self.service.functions}

        def one(name: str) -> None:
            expected = set(entry.function_names(self.service, functions[name]))
            self.apps.prove(name, self._app(name, live), builds[name], expected)

        each(one, [name for name in builds if name in functions])

    def _remove(self, things: list[Thing]) -> None:
        if things:
            Remover(self.cloud, self._progress).remove(things)

    def _finished(self, state: State, text: str, builds: Mapping[str, str]) -> Outputs:
        """Notes the release unless it is the last one that was noted, and says what there is."""
        last = next(self.artefacts.releases(), None)
        if last is None or dict(last.builds) != dict(builds) or self.artefacts.template(last.template) != text:
            self.artefacts.put_release(builds, self.artefacts.put_template(text))
        return self._outputs(state, builds)

    def _outputs(self, state: State, builds: Mapping[str, str]) -> Outputs:
        urls = self.urls(state)
        values = {f"url.{name}": url for name, url in urls.items()}
        return Outputs(
            provider="azure",
            service=self.service.name,
            stage=self.deployment.stage,
            url=self.url(urls),
            build_ids=dict(builds),
            values={**values, "resource_group": self.cloud.resource_group, "deployment": self.names.deployment},
        )

    def urls(self, state: State) -> dict[str, str]:
        """The address of each function with routes."""
        hosts = state.outputs.get("hosts") or {}
        return {
            function.name: f"https://{hosts[function.name]}"
            for function in self.service.functions
            if routes_of(function) and hosts.get(function.name)
        }

    def url(self, urls: Mapping[str, str]) -> str:
        """The address of the function with the most routes."""
        counts = {f.name: len(routes_of(f)) for f in self.service.functions if f.name in urls}
        return urls[max(counts, key=lambda name: counts[name])] if counts else ""

    # ---- the group

    def _group(self) -> Json | None:
        return self.cloud.found(self.cloud.group, RESOURCES)

    def _ensure_group(self) -> None:
        if self._group() is not None:
            return
        name, location = self.cloud.resource_group, self.cloud.location
        if not location:
            raise ProviderError(
                f"there is no resource group {name}",
                where="azure.resource_group",
                hint=f"give --location, and it is made; or: az group create --name {name} --location …",
            )
        self._say("group", f"making {name} in {location}")
        self.cloud.arm("PUT", self.cloud.group, RESOURCES, body={"location": location, "tags": self.tags})

    # ---- rollback

    def rollback(self, build_id: str | None) -> Outputs:
        """A former release again: its template, then its packages."""
        if self.stack.ready() is None:
            where = f"deployment {self.names.deployment}"
            raise ProviderError("nothing was deployed", where=where, hint="deploy first")
        release = self._former(build_id)
        missing = [build for build in release.builds.values() if not self.artefacts.has_bundle(build)]
        if missing:
            raise ProviderError(f"build {missing[0]} is no longer here", hint="check its code out and deploy it")
        unknown = set(release.builds) ^ {function.name for function in self.service.functions}
        if unknown:
            raise ProviderError(
                f"that release has other functions: {', '.join(sorted(unknown))}",
                where=f"build {build_id or next(iter(release.builds.values()))}",
                hint="check its code out, and deploy that",
            )
        text = self.artefacts.template(release.template)
        packages: Packages = {
            name: (build, lambda build=build: self.artefacts.bundle(build))  # type: ignore[misc]  # bound
            for name, build in release.builds.items()
        }
        return self._converge(text, packages, None, lambda: None)

    def _former(self, build_id: str | None) -> Release:
        present = None
        for release in self.artefacts.releases():
            present = release.builds if present is None else present
            if (release.builds != present) if build_id is None else (build_id in release.builds.values()):
                return release
        known = ", ".join(self.artefacts.builds()) or "none"
        what = f"build {build_id!r} is not known" if build_id is not None else "there is no former build"
        raise ProviderError(
            what, where=f"deployment {self.names.deployment}", hint=f"the builds that are here: {known}"
        )

    # ---- destroy

    def destroy(self, *, delete_data: bool) -> None:
        """All that is ours, then the record of the deployment, then a group that deploy made and that is empty."""
        group = self._group()
        if group is None:
            return
        state = self.stack.ready()
        leftovers = Leftovers(self.cloud, self.tags, self._own(), self.names.insights, self._progress)
        kept = leftovers.remove(self.inventory().things, delete_data=delete_data)
        self._vault.purge(str(group.get("location", "")))
        if state is not None:
            self.stack.forget()
        if not kept:
            leftovers.remove_group(group)

    @property
    def _vault(self) -> DeletedVault:
        return DeletedVault(self.cloud, self.names.vault, self.tags, self._progress)

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))


def routes_of(function: Function) -> list[Route | Mount]:
    """What a function answers over HTTP."""
    return [trigger for trigger in function.triggers if isinstance(trigger, Route | Mount)]


def _is_open(trigger: object) -> bool:
    return isinstance(trigger, Route | Mount) and bool(trigger.public or trigger.auth)
