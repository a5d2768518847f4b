"""The story of a deploy on AWS; every step may be interrupted and is taken up by the next run.

plan      template against the stack: equal, or a change set for review that is deleted again
deploy    look        is everything live already? then nothing at all is changed
          upload      bundles by their hash into the bucket of bundles
          stack       a change set for what differs but the code, also by hand; secrets get their values
          code        new code to the functions, side by side; published, proven, and only then called
          settle      the stack learns which builds and versions are live, so that nothing drifts
          verify      every alias answers with the build that was deployed
rollback  a former version at once, then the same way with that release's template
destroy   the stack, the bundles, and what holds data only when asked
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pys_multi_providers.aws import changes, secret_values
from pys_multi_providers.aws.artefacts import KEPT, Artefacts, Build, Release, build_of
from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_providers.aws.leftovers import Data, identifier, named
from pys_multi_providers.aws.names import ALIAS, artefact_bucket, logical
from pys_multi_providers.aws.rollout import LATEST, Functions, Live
from pys_multi_providers.aws.stack import MAX_INLINE, Stack, State, Template
from pys_multi_providers.aws.view import build_parameter, names_of, settings_of, stack_tags, version_parameter
from pys_multi_tools.bundle import Bundle
from pys_multi_tools.deployment import Change, Deployment, Outputs, Plan, Progress, Rollout
from pys_multi_tools.errors import DeployError, ProviderError
from pys_multi_tools.patience import each

Json = dict[str, Any]
OnProgress = Callable[[Progress], None]

#: What stands for a build that is not made yet, in plans.
_NO_BUILD = "0" * 16
_BUCKET = "ArtefactBucket"


class Engine:
    """One service at one stage, as AWS has it."""

    def __init__(
        self, deployment: Deployment, progress: OnProgress = lambda _: None, cloud: Cloud | None = None
    ) -> None:
        self.deployment = deployment
        self._progress = progress
        self.names, settings = names_of(deployment), settings_of(deployment)
        self.cloud = cloud or Cloud(settings)
        self.stack = Stack(self.cloud, self.names.stack, stack_tags(deployment), progress)
        self._named = settings.artefact_bucket

    @cached_property
    def artefacts(self) -> Artefacts:
        """The bucket of bundles."""
        bucket = self._named or artefact_bucket(self.cloud.account, self.cloud.region)
        folder = self.names.artefact("").removesuffix(".zip")
        return Artefacts(self.cloud, bucket, folder, is_ours=self._named is None)

    def functions(self, names: list[str] | None = None) -> Functions:
        """The functions of these names; without, those of the service."""
        wanted = [function.name for function in self.deployment.service.functions] if names is None else names
        return Functions(self.cloud, {name: self.names.function(name) for name in wanted}, self._progress)

    # ---- plan

    def plan(self, config: Mapping[str, str], text: str) -> Plan:
        """What a deploy would change: nothing of it is changed, and a change set for review is deleted again."""
        template = json.loads(text)
        state = self.stack.read()
        if state is None or state.is_empty or state.never_served:
            adopted = named(self.cloud, template, self.stack.tags)
            found = changes.all_created(template, frozenset(adopted))
        elif self._fits(state, text):
            found = changes.all_unchanged(template)
        elif state.is_settled:
            found = self._reviewed(state, text)
        else:
            found = changes.compared(json.loads(self.stack.template()), template)
            reason = f"it is {state.status.lower().replace('_', ' ')}, which comes first"
            found = (Change(action="update", kind="stack", name=self.names.stack, reason=reason), *found)
        return Plan(deployment=self.deployment, changes=(*found, *self._rotated(state)), config=config)

    def drift(self, text: str) -> tuple[Change, ...]:
        """What differs from what was deployed, as somebody changed it by other means."""
        return changes.drifted(tuple(self.stack.drift()), json.loads(text))

    def _fits(self, state: State, text: str) -> bool:
        """Whether the stack has that template, with nothing left to be done."""
        return (
            state.is_settled
            and {key: value for key, value in state.tags.items() if not key.startswith("aws:")} == dict(self.stack.tags)
            and state.parameters.get(_BUCKET) == self.artefacts.bucket
            and json.loads(self.stack.template()) == json.loads(text)
        )

    def _reviewed(self, state: State, text: str) -> tuple[Change, ...]:
        before = json.loads(self.stack.template())
        parameters = self._parameters(text, state, {}, {})
        try:
            self.stack.discard_stale()
            change_set = self.stack.propose(self._template(text), parameters, state=state)
        except AwsError as error:
            if not error.is_denied:
                raise
            # Whoever may only look, as a pull request's job, sees what the templates tell.
            self._say("plan", "no change set may be made: comparing the templates alone")
            return changes.compared(before, json.loads(text))
        if change_set is None:
            return changes.all_unchanged(json.loads(text))
        self.stack.discard(change_set.id)
        return changes.changed(change_set.changes, before, json.loads(text))

    def _rotated(self, state: State | None) -> tuple[Change, ...]:
        """Secrets of ours whose value is another one now."""
        wanted = secret_values.values(self.deployment, strict=False)  # a plan can be made without them
        if state is None or state.is_empty or not wanted:
            return ()
        try:
            differing = secret_values.differing(self.cloud, wanted)
        except AwsError as error:
            if not error.is_denied:
                raise
            self._say("plan", "the values of secrets may not be read: whether they differ is not known")
            return ()
        return tuple(
            Change(action="update", kind="secret value", name=name, reason="the value differs") for name in differing
        )

    # ---- deploy

    def deploy(self, plan: Plan, text: str, bundle: Bundle) -> Outputs:
        """Makes it so; see the story above."""
        builds = {name: build_of(artefact.build_id, artefact.path) for name, artefact in bundle.artefacts.items()}
        paths = {builds[name].id: artefact.path for name, artefact in bundle.artefacts.items()}
        accepted = changes.losses(plan.changes)
        secrets = secret_values.values(self.deployment)

        def upload() -> None:
            self._say("upload", f"to s3://{self.artefacts.bucket}")
            distinct = {build.id: build for build in builds.values()}
            for build, is_new in zip(
                distinct.values(),
                each(lambda build: self.artefacts.put_bundle(build, paths[build.id]), distinct.values()),
                strict=True,
            ):
                self._say("upload", f"{build.id}" + ("" if is_new else " is there already"))

        return self._converge(text, builds, secrets, accepted, plan.rollout, upload)

    def _converge(
        self,
        text: str,
        builds: Mapping[str, Build],
        secrets: Mapping[str, str],
        accepted: set[tuple[str, str, str]] | None,
        rollout: Rollout,
        upload: Callable[[], None],
    ) -> Outputs:
        """accepted: what the user knows that it deletes or replaces; None: nothing that holds data."""
        state = self.stack.ready()
        functions = self.functions(list(builds))
        live = functions.all_live()
        fits = state is not None and self._fits(state, text)
        if (
            state is not None
            and fits
            and self._is_live(state, live, builds)
            and not secret_values.differing(self.cloud, secrets)
        ):
            self._say("unchanged", "these builds serve already")
            self._prove(functions, builds)
            versions = {name: found.version for name, found in live.items() if found is not None}
            return self._finished(state, text, builds, versions)
        self.artefacts.ensure()
        upload()
        by_hand = self._by_hand(state, live, fits)
        if state is None or not fits or by_hand:
            self._refuse_foreign(state, live)
            state = self._adopt(state, text)
            state = self._change_stack(state, text, builds, accepted, live, by_hand)
        for name in secret_values.put(self.cloud, secrets):
            self._say("secrets", name)
        bucket = self.artefacts.bucket
        versions = dict(
            each(
                lambda item: (item[0], functions.publish(*item, bucket, self.artefacts.key(item[1].id))), builds.items()
            )
        )
        each(lambda item: functions.prove(item[0], versions[item[0]], item[1]), builds.items())
        functions.shift(versions, rollout)
        state = self._settle(state, text, builds, versions)
        self._prove(functions, builds, versions)
        outputs = self._finished(state, text, builds, versions)
        each(lambda name: functions.prune(name, versions[name], KEPT), builds)
        self.artefacts.prune()
        return outputs

    def _is_live(self, state: State, live: Mapping[str, Live | None], builds: Mapping[str, Build]) -> bool:
        """Whether every function serves its build, and the stack knows it."""
        return all(
            found is not None
            and found.serves(builds[name])
            and state.parameters.get(build_parameter(name)) == builds[name].id
            and state.parameters.get(version_parameter(name)) == found.version
            for name, found in live.items()
        )

    def _refuse_foreign(self, state: State | None, live: Mapping[str, Live | None]) -> None:
        """Functions that are there without a stack are somebody else's: CloudFormation would only say so at the end."""
        taken = [self.names.function(name) for name, found in live.items() if found is not None]
        if state is None and taken:
            raise DeployError(
                f"{', '.join(taken)} is there and belongs to no stack of this name",
                where=f"stack {self.names.stack}",
                hint="delete it if it is yours, or rename the service or the stage; nothing was changed",
            )

    def _change_stack(
        self,
        state: State | None,
        text: str,
        builds: Mapping[str, Build],
        accepted: set[tuple[str, str, str]] | None,
        live: Mapping[str, Live | None],
        by_hand: Sequence[str],
    ) -> State:
        before = json.loads(self.stack.template()) if state else {"Resources": {}}
        if by_hand:
            self._say("recover", f"{', '.join(by_hand)} changed or deleted by hand: setting that right")
        # What is called stays so until the new version is proven; what is gone has no version any more.
        versions = {name: found.version if found is not None else LATEST for name, found in live.items()}
        parameters = self._parameters(text, state, builds, versions)
        change_set = self.stack.propose(self._template(text), parameters, state=state, revert=bool(by_hand))
        if change_set is None:
            current = self.stack.read()
            if current is None:
                raise DeployError("the stack is gone", where=f"stack {self.names.stack}", hint="deploy again")
            return current
        found = changes.changed(change_set.changes, before, json.loads(text))
        # What setting right replaces no plan could show.
        wanted = [change for change in found if change.data] if accepted is None or by_hand else list(found)
        surprises = changes.losses(wanted) - (accepted or set())
        if surprises:
            self.stack.discard(change_set.id)
            raise DeployError(
                "this would " + ", ".join(f"{action} {kind} {name}" for action, kind, name in sorted(surprises)),
                where=f"stack {self.names.stack}",
                hint="see pys-multi plan, and deploy; nothing was changed",
            )
        count = sum(change.action != "unchanged" for change in found)
        self._say("stack", f"{count} of {len(found)} resources change")
        return self.stack.execute(change_set)

    def _by_hand(self, state: State | None, live: Mapping[str, Live | None], fits: bool) -> list[str]:
        """Functions that are not as their stack made them. fits: whether its template is the one to deploy."""
        if state is None or (fits and all(found is not None and not found.changed for found in live.values())):
            return []
        resources = json.loads(self.stack.template())["Resources"]
        made = {name: resources.get(logical(name, "function")) for name in live}
        return [
            self.names.function(name)
            for name, found in live.items()
            if made[name] is not None and (found is None or not found.follows(made[name]))
        ]

    def _adopt(self, state: State | None, text: str) -> State | None:
        """Takes what holds data and is there already into the stack: from before a destroy, or from when it was
        defined the last time. CloudFormation does that in an operation of its own."""
        template = json.loads(text)
        before = json.loads(self.stack.template()) if state else {"Resources": {}}
        new = {id: r for id, r in template["Resources"].items() if id not in before["Resources"]}
        found = named(self.cloud, {"Resources": new}, self.stack.tags)
        if not found:
            return state
        self._say("adopt", ", ".join(f"{thing.kind} {thing.id}" for thing in found.values()))
        if state is None:
            # A stack that is made of what is there gets no tags, and would not be known as ours: so first a small one.
            logs = {id: r for id, r in new.items() if r["Type"] == "AWS::Logs::LogGroup"}
            before = {**template, "Resources": logs}
            before.pop("Outputs", None)
            state = self._execute(None, json.dumps(before))
        resources = {id: _alone(new[id], {*before["Resources"], *found}) for id in found}
        adopt = [
            {"ResourceType": new[id]["Type"], "LogicalResourceId": id, "ResourceIdentifier": identifier(self.cloud, it)}
            for id, it in found.items()
        ]
        return self._execute(state, json.dumps({**before, "Resources": {**before["Resources"], **resources}}), adopt)

    def _execute(self, state: State | None, text: str, adopt: Sequence[Json] = ()) -> State | None:
        parameters = self._parameters(text, state, {}, {})
        change_set = self.stack.propose(self._template(text), parameters, state=state, adopt=adopt)
        return self.stack.execute(change_set) if change_set else state

    def _settle(self, state: State, text: str, builds: Mapping[str, Build], versions: Mapping[str, str]) -> State:
        """Tells the stack what is live."""
        parameters = self._parameters(text, state, builds, versions)
        if parameters == dict(state.parameters):
            return state
        self._say("settle", "the stack learns which builds are live")
        change_set = self.stack.propose(None, parameters, state=state)
        return self.stack.execute(change_set) if change_set else state

    def _prove(
        self, functions: Functions, builds: Mapping[str, Build], versions: Mapping[str, str] | None = None
    ) -> None:
        """Raises DeployError where an alias does not serve what was deployed. No false green."""
        live = functions.all_live()
        for name, build in builds.items():
            found = live[name]
            if found is None or not found.serves(build) or (versions and found.version != versions[name]):
                served = (found.build_id or found.version) if found else "nothing"
                raise DeployError(
                    f"it serves {served}, not {build.id}",
                    where=f"function {name}",
                    hint="somebody else deployed, or changed it by hand; deploy again",
                )
        each(lambda item: functions.prove(item[0], ALIAS, item[1]), builds.items())

    def _finished(self, state: State, text: str, builds: Mapping[str, Build], versions: Mapping[str, str]) -> Outputs:
        """Notes the release unless it is the last one that was noted, and says what there is."""
        last = next(self.artefacts.releases(), None)
        if last is None or (last.builds, last.versions) != (dict(builds), dict(versions)):
            key, _ = self.artefacts.put_template(text)
            self.artefacts.put_release(builds, versions, key)
        return self._outputs(state, builds)

    def _outputs(self, state: State, builds: Mapping[str, Build]) -> Outputs:
        url = state.outputs.get("DomainUrl") or state.outputs.get("Url", "")
        others = {name: value for name, value in state.outputs.items() if name not in ("Url", "DomainUrl") and value}
        return Outputs(
            provider="aws",
            service=self.deployment.service.name,
            stage=self.deployment.stage,
            url=url.rstrip("/"),
            build_ids={name: build.id for name, build in builds.items()},
            values={**others, "Stack": self.names.stack},
        )

    # ---- templates and parameters

    def _template(self, text: str) -> Template:
        if len(text.encode()) <= MAX_INLINE:
            return Template(text)
        self.artefacts.ensure()
        _, url = self.artefacts.put_template(text)
        return Template(text, url)

    def _parameters(
        self, text: str, state: State | None, builds: Mapping[str, Build], versions: Mapping[str, str]
    ) -> dict[str, str]:
        """Every parameter of a template: what is given, else what the stack has, else what stands for none."""
        known = dict(state.parameters) if state else {}
        values = {_BUCKET: self.artefacts.bucket}
        values |= {build_parameter(name): build.id for name, build in builds.items()}
        values |= {version_parameter(name): version for name, version in versions.items()}
        found = {}
        for name, definition in json.loads(text)["Parameters"].items():
            found[name] = values.get(name) or known.get(name) or definition.get("Default") or _NO_BUILD
        return found

    # ---- rollback

    def rollback(self, build_id: str | None) -> Outputs:
        """A former release again: first its code at once, where its versions are still there, then its template."""
        state = self.stack.ready()
        if state is None:
            raise ProviderError("nothing was deployed", where=f"stack {self.names.stack}", hint="deploy first")
        release = self._former(build_id)
        missing = [b.id for b in release.builds.values() if not self.artefacts.has_bundle(b.id)]
        if missing:
            raise ProviderError(f"build {missing[0]} is no longer here", hint="check its code out and deploy it")
        text = self.artefacts.template(release.template)
        if not self._fits(state, text):
            self._refuse_losses(state, text)
        self._shift_back(release)
        secrets = secret_values.values(self.deployment, strict=False)
        return self._converge(text, release.builds, secrets, None, Rollout(), lambda: None)

    def _former(self, build_id: str | None) -> Release:
        present = None
        for release in self.artefacts.releases():
            present = release.builds if present is None else present
            ids = {build.id for build in release.builds.values()}
            if (release.builds != present) if build_id is None else (build_id in ids):
                return release
        known = ", ".join(self.artefacts.builds()) or "none"
        what = f"build {build_id!r} is not known" if build_id is not None else "there is no former build"
        raise ProviderError(what, where=f"stack {self.names.stack}", hint=f"the builds that are here: {known}")

    def _refuse_losses(self, state: State, text: str) -> None:
        lost = [change for change in self._reviewed(state, text) if change.data]
        if lost:
            names = ", ".join(f"{change.action} {change.kind} {change.name}" for change in lost)
            raise ProviderError(
                f"the former release would {names}",
                where=f"stack {self.names.stack}",
                hint="check its code out and deploy that, which asks before; nothing was changed",
            )

    def _shift_back(self, release: Release) -> None:
        functions = self.functions(list(release.builds))
        live = functions.all_live()
        known = {
            name: version
            for name, version in release.versions.items()
            if (found := live.get(name)) is not None and found.version not in (LATEST, version)
        }
        known = {name: v for name, v in known.items() if functions.has_version(name, v)}
        each(lambda item: functions.prove(item[0], item[1], release.builds[item[0]]), known.items())
        functions.shift(known, Rollout())

    # ---- destroy

    def destroy(self, text: str, *, delete_data: bool) -> None:
        """The stack, then what it leaves behind, then the bundles."""
        state = self.stack.at_rest()
        data = Data(self.cloud, self.stack, self._progress)
        data.find(state, json.loads(text))
        if state is not None:
            self._say("stack", f"deleting {self.names.stack}")
            self.stack.delete(state)
        if delete_data:
            data.delete()
        else:
            data.tell()
        self._say("bundles", "deleting them")
        self.artefacts.remove()

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))


def _alone(resource: Json, known: set[str]) -> Json:
    """A resource without what refers to resources that are not there yet; the change set after it brings that."""

    def is_known(value: Any) -> bool:
        if isinstance(value, dict):
            if set(value) == {"Ref"}:
                return value["Ref"] in known or str(value["Ref"]).startswith("AWS::")
            if set(value) == {"Fn::GetAtt"}:
                return value["Fn::GetAtt"][0] in known
            return all(map(is_known, value.values()))
        return all(map(is_known, value)) if isinstance(value, list) else True

    properties = {name: value for name, value in resource["Properties"].items() if is_known(value)}
    return {**{key: value for key, value in resource.items() if key != "DependsOn"}, "Properties": properties}
