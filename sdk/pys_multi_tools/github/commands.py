"""The story of each command of the action, from what the workflow asks for to what GitHub shows.

check     problems → annotations
plan      check, what changes on each cloud and against the base branch → comment
deploy    check, plan, refuse what loses data, every cloud at a time → outputs
preview   deploy of stage pr-<n>, written down before it begins; removed when the pull request is closed
drift     plan of what is deployed
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pys_multi.model import Service
from pys_multi_tools import previews, remembered
from pys_multi_tools import provider as providers
from pys_multi_tools.errors import ToolError
from pys_multi_tools.github import comment as comments
from pys_multi_tools.github import report
from pys_multi_tools.github.base import checked_out
from pys_multi_tools.github.client import Client, GitHubError
from pys_multi_tools.github.comparison import compare
from pys_multi_tools.github.event import Event
from pys_multi_tools.github.federation import credentials
from pys_multi_tools.github.inputs import InputError, Inputs
from pys_multi_tools.github.report import CloudPlan, Findings, Weight
from pys_multi_tools.github.runner import Level, Runner
from pys_multi_tools.github.sources import place_of
from pys_multi_tools.github.tool import Result, Tool
from pys_multi_tools.project import Project

_LEVELS: dict[str, Level] = {"error": "error", "warning": "warning"}
#: Bytes of JSON above which the plan's output leaves out what differs in each change.
_OUTPUT_LIMIT = 400_000
_NO_VALUE = "not-known-to-a-fork"


class Action:
    """One run of the action. environment: of the step."""

    def __init__(self, environment: Mapping[str, str], inputs: Inputs, event: Event, runner: Runner) -> None:
        self.environment, self.inputs, self.event, self.runner = environment, inputs, event, runner
        self.tool = Tool(inputs.folder, environment, runner)
        self.stage = inputs.stage
        self.findings = Findings(path=inputs.path, offline=event.fork)
        self.clouds: tuple[str, ...] = inputs.clouds
        self._variables: dict[str, str] = dict(inputs.settings)
        self._own_model: Mapping[str, Any] = {}
        self._has_profile = False  # whether there is something to estimate a cost from
        self._deployed = 0  # the deployment of GitHub that this run has made

    def run(self) -> int:
        """Do what is asked, and return the exit code. Raises ToolError."""
        commands: dict[str, Callable[[], int]] = {
            "check": self.check,
            "plan": lambda: self.plan("plan"),
            "deploy": self.deploy,
            "destroy": self.destroy,
            "preview": self.preview,
            "drift": lambda: self.plan("drift"),
            "status": self.status,
            "affected": self.affected,
            "reap": self.reap,
        }
        command = commands[self.inputs.command]
        with self.tool.cancelling():
            if self.inputs.command in ("affected", "check"):
                self._read_settings()
                return command()
            if self.event.fork:
                self._read_settings()
                if self.inputs.command == "plan":
                    return command()
                self.runner.annotate("notice", "a pull request from a fork has no credentials: nothing is done")
                return 0
            if self.inputs.command == "preview":
                self.stage = previews.stage_of(self._number())
            self._read_settings()
            with credentials(self.inputs, self.environment, self.runner) as found:
                self.tool.credentials = found
                return command()

    # ---- commands

    def check(self) -> int:
        failed = self._check()
        self._finish(report.plan_report("check", self.findings), "check")
        return 1 if failed else 0

    def plan(self, what: str) -> int:
        failed = self._check()
        if not failed:
            self._compare_with_base()
            if not self.event.fork:
                failed = self._plan(drift=what == "drift")
        pending = any(plan.pending for plan in self.findings.plans)
        changed = pending or bool(self.findings.differences if self.event.fork else ())
        self._plan_outputs(changed)
        self._finish(report.plan_report(what, self.findings), what)
        if failed:
            return 1
        if changed and self.inputs.fail_on_changes:
            self.runner.annotate("error", "there are changes", title=f"pys-multi {what}")
            return 1
        return 1 if what == "plan" and self.inputs.fail_on_destructive and self._refuse_losses() else 0

    def deploy(self) -> int:
        outputs, failed = self._deploy()
        self._finish(report.deploy_report("deploy", self.findings, outputs), "deploy")
        return 1 if failed else 0

    def destroy(self) -> int:
        failed = self._destroy(delete_data=self.inputs.delete_data)
        self._finish(report.deploy_report("destroy", self.findings, {}), "destroy")
        return 1 if failed else 0

    def preview(self) -> int:
        number, client = self._number(), self._client()
        if self.event.closed or client.pull_request(number).get("state") == "closed":
            return self._end_preview(client)
        self._model()
        self._deployed = deployment = previews.register(
            client,
            service=self.findings.service,
            number=number,
            clouds=self.clouds,
            path=self.inputs.path,
            commit=self.event.head,
            seconds=self.inputs.time_to_live,
        )
        state = "error"  # whatever ends this, unless it is known better
        url = ""
        try:
            outputs, failed = self._deploy()
            state = "failure" if failed else "success"
            url = next((str(one["url"]) for one in outputs.values() if one.get("url")), "")
        finally:
            previews.mark(client, deployment, state, url=url, log=self._run_url())
        if client.pull_request(number).get("state") == "closed":
            # The close came while this deployed, and found nothing or half of it.
            return self._end_preview(client)
        environment = previews.environment_of(self.findings.service, number)
        for former in previews.live(client, environment):
            for other in former.deployments:
                if other != deployment:
                    previews.mark(client, other, "inactive")
        hours = min(self.inputs.time_to_live, previews.LONGEST) / 3600
        self.findings.notes = [
            f"It is removed when the pull request is closed, or {hours:g} hours after its last push."
        ]
        self._finish(report.deploy_report("preview", self.findings, outputs), "preview")
        return 1 if failed else 0

    def status(self) -> int:
        results = self._each("status", ["status"], acts=True)
        services = [one for result in results.values() for one in result.document.get("services", ())]
        self.findings.service = next((one["service"] for one in services), "")
        self._urls({one["provider"]: one for one in services})
        self._finish(report.status_report(self.findings, services), "status")
        return 1 if any(not result.ok for result in results.values()) else 0

    def affected(self) -> int:
        since = self.inputs.since or self.event.base
        if not since:
            raise InputError("since", "is missing", "name a branch, tag or commit to compare with")
        result = self.tool.run(["affected", f"--since={since}"], title="affected")
        if not result.ok:
            raise ToolError(result.error)
        paths = [service["path"] for service in result.document["services"]]
        self.runner.output("affected", json.dumps(paths))
        self.runner.output("changed", _boolean(bool(paths)))
        rows = [
            [report.code(service["path"]), report.code(reason)]
            for service in result.document["services"]
            for reason in service["reasons"]
        ]
        text = report.table(("service", "because of"), rows) if rows else "No service is touched."
        self._finish(f"### pys-multi affected\n\n{text}\n", "affected")
        return 0

    def reap(self) -> int:
        found = list(previews.reap(self._client(), self._remove))
        rows = [
            [report.code(f"{one.preview.service}-{one.preview.stage}"), report.code(one.error or one.reason)]
            for one in found
        ]
        for one in found:
            if one.error:
                self.runner.annotate("error", one.error, title=f"preview {one.preview.stage} is still there")
        text = report.table(("preview", "removed because"), rows) if rows else "No preview is over."
        self._finish(f"### pys-multi previews\n\n{text}\n", "reap")
        return 1 if any(one.error for one in found) else 0

    # ---- their steps

    def _read_settings(self) -> None:
        """Which clouds there are, and which variables hold secrets; what is wrong with them is said by `check`."""
        project = Project.load(self.inputs.folder, self.stage or None, {**self.environment, **self.inputs.settings})
        self.clouds = self.inputs.clouds or project.settings.cloud
        self.stage = self.findings.stage = project.stage
        self._has_profile = bool(project.settings.profile)
        references = [reference.partition(":") for reference in project.settings.secrets.values()]
        names = [name for scheme, _, name in references if scheme == "env"]
        self.runner.mask(*(self.environment[name] for name in names if self.environment.get(name)))
        if self.event.fork:
            # GitHub gives a fork no secrets; that they have no value is not the change's fault.
            self._variables |= {name: _NO_VALUE for name in names if not self.environment.get(name)}

    def _model(self, folder: Path | None = None) -> Mapping[str, Any]:
        """The service in the folder, or the project's own. Raises ToolError."""
        if folder is None and self._own_model:
            return self._own_model
        title = "show" if folder is None else "show the base branch"
        result = self.tool.run(["show"], title=title, folder=folder, stage=self.stage, environment=self._variables)
        if not result.ok:
            raise ToolError(result.error)
        if folder is None:
            self._is_model(result.document)
        return result.document

    def _is_model(self, model: Mapping[str, Any]) -> None:
        self._own_model = model
        self.findings.service = str(model.get("name", ""))

    def _check(self) -> bool:
        """Find every problem, and annotate its line. Returns whether there is an error."""
        result = self.tool.run(
            ["check"], title="check", stage=self.stage, clouds=self.clouds, environment=self._variables
        )
        problems = result.document.get("problems")
        if problems is None:
            self._failed("check", result)
            return True
        self.findings.problems = {cloud: found for cloud, found in problems.items() if found}
        model = result.document["service"]
        self._is_model(model)
        for cloud, found in problems.items():
            for problem in found:
                text = f"{cloud}: {problem['where']}: {problem['what']}\n→ {problem['hint']}"
                self._annotate(_LEVELS.get(problem["severity"], "error"), text, problem["where"], model)
        return not result.ok

    def _compare_with_base(self) -> None:
        after = self._model()
        weights, costs = self._weigh(None), self._estimate(None)
        before: dict[str, Weight] = {}
        former: dict[str, Mapping[str, Any]] = {}
        if self.event.number and self.event.base:
            try:
                token = self.inputs.github_token
                path, base = self.inputs.path, self.event.base
                with checked_out(self.inputs.folder, path, base, self.environment, token) as folder:
                    self.findings.differences = compare(self._model(folder), after)
                    before, former = self._weigh(folder), self._estimate(folder)
            except ToolError as exc:
                if exc.what == "the project is new":
                    self.findings.differences = compare({}, after)
                else:
                    self.runner.annotate("notice", f"the base branch cannot be compared with: {exc}")
        self.findings.weights = {cloud: (before.get(cloud), weight) for cloud, weight in weights.items()}
        self.findings.costs = {cloud: (former.get(cloud), cost) for cloud, cost in costs.items()}

    def _weigh(self, folder: Path | None) -> dict[str, Weight]:
        title = "bundle" if folder is None else "bundle the base branch"
        result = self.tool.run(
            ["bundle"], title=title, folder=folder, stage=self.stage, clouds=self.clouds, environment=self._variables
        )
        if not result.ok and folder is None:
            self._failed("bundle", result)
        return {bundle["provider"]: Weight.of(bundle["artefacts"]) for bundle in result.document.get("bundles", ())}

    def _estimate(self, folder: Path | None) -> dict[str, Mapping[str, Any]]:
        """What a month costs, by cloud; a cloud that bills nothing, and a service without a profile, is not there."""
        if not self._has_profile:
            return {}
        title = "cost" if folder is None else "cost of the base branch"
        result = self.tool.run(
            ["cost"], title=title, folder=folder, stage=self.stage, clouds=self.clouds, environment=self._variables
        )
        return {one["cloud"]: one["cost"] for one in result.document.get("costs", ()) if one["cost"]}

    def _plan(self, *, drift: bool = False) -> bool:
        """Plan on every cloud. Returns whether one of them failed.

        drift: look also for what was changed by other means, on the providers that can tell.
        """
        telling = {cloud for cloud in self.clouds if drift and isinstance(providers.load(cloud), providers.Drift)}
        results = self._each("plan", ["plan"], acts=True, options={cloud: ["--refresh"] for cloud in telling})
        plans = []
        for cloud, result in results.items():
            changes = [change for plan in result.document.get("plans", ()) for change in plan["changes"]]
            cost = next((plan["cost"] for plan in result.document.get("plans", ())), None)
            plans.append(CloudPlan(cloud=cloud, changes=changes, cost=cost, error=result.error))
            self.findings.service = self.findings.service or next(
                (plan["service"] for plan in result.document.get("plans", ())), ""
            )
        self.findings.plans = plans
        return any(not result.ok for result in results.values())

    def _deploy(self) -> tuple[dict[str, Mapping[str, Any]], bool]:
        """Check, plan and deploy on every cloud. Returns the outputs of those that serve, and whether one failed."""
        if self._check() or self._plan():
            return {}, True
        changed = any(plan.pending for plan in self.findings.plans)
        self._plan_outputs(changed)
        if changed and self.inputs.fail_on_changes:
            self.runner.annotate("error", "there are changes", title="pys-multi deploy")
            return {}, True
        if self.inputs.fail_on_destructive and self._refuse_losses():
            return {}, True
        results = self._each("deploy", ["deploy", "--yes"], acts=True)
        outputs = {
            cloud: one for cloud, result in results.items() for one in result.document.get("outputs", ()) if result.ok
        }
        self._urls(outputs)
        return outputs, any(not result.ok for result in results.values())

    def _destroy(self, *, delete_data: bool) -> bool:
        command = ["destroy", "--yes", *(["--delete-data"] if delete_data else [])]
        return any(not result.ok for result in self._each("destroy", command, acts=True, answers=False).values())

    def _end_preview(self, client: Client) -> int:
        """Remove the preview of the pull request, whether or not its code still imports."""
        found = [
            preview
            for preview in previews.live(client)
            if (preview.number, preview.path) == (self._number(), self.inputs.path)
        ]
        failed = False
        if found:
            self.findings.service = found[0].service
            for preview in found:
                try:
                    self._remove(preview)
                except ToolError as exc:
                    failed = True
                    self.runner.annotate("error", str(exc), title=f"preview {preview.stage} is still there")
                    continue
                # A deploy that still runs looks after itself, or the reaper does: its record has to stay.
                if not preview.running or preview.deployments[0] == self._deployed:
                    previews.end(client, preview)
        else:  # there is no record: a deploy that has not written it down yet will see that it is closed
            self._model()
            failed = self._destroy(delete_data=True)
        self.findings.notes = ["It could not be removed; the reaper will try again." if failed else "It is removed."]
        self._finish(report.deploy_report("preview", self.findings, {}), "preview", create=False)
        return 1 if failed else 0

    def _remove(self, preview: previews.Preview) -> None:
        """Remove a stage with its data. Raises ToolError."""
        workspace = Path(self.environment.get("GITHUB_WORKSPACE") or ".").resolve()
        folder = (workspace / preview.path).resolve()
        if not folder.is_relative_to(workspace) or not folder.is_dir():
            raise ToolError("is no folder of the repository any more", where=preview.path)
        shown = self.tool.run(
            ["show"],
            title=f"show {preview.service}",
            folder=folder,
            stage=preview.stage,
            environment=self._variables,
        )
        if shown.ok and shown.document.get("name") != preview.service:
            raise ToolError(f"the service is not {preview.service} any more", where=preview.path)
        if not shown.ok:
            # The commit that is here does not import: what was deployed has that name, and is removed by it.
            project = Project.load(folder, preview.stage, {**self.environment, **self.inputs.settings})
            if remembered.recall(project) is None:
                remembered.remember(project, "", Service(name=preview.service, functions=(), resources=()))
        for cloud in preview.clouds:
            result = self.tool.run(
                ["destroy", "--yes", "--delete-data"],
                title=f"destroy {preview.service}, stage {preview.stage}, on {cloud}",
                folder=folder,
                stage=preview.stage,
                clouds=[cloud],
                acts=True,
                answers=False,
                environment=self._variables,
            )
            if not result.ok:
                raise ToolError(result.error, where=cloud)

    def _each(
        self,
        title: str,
        command: Sequence[str],
        *,
        acts: bool = False,
        answers: bool = True,
        options: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Result]:
        """Run a command on every cloud at a time, with options for some of them; what fails is annotated."""

        def run(cloud: str) -> Result:
            return self.tool.run(
                [*command, *(options or {}).get(cloud, ())],
                title=f"{title} {cloud}",
                stage=self.stage,
                clouds=[cloud],
                acts=acts,
                answers=answers,
                environment=self._variables,
            )

        with ThreadPoolExecutor(max_workers=max(1, len(self.clouds))) as pool:
            results = dict(zip(self.clouds, pool.map(run, self.clouds), strict=True))
        for cloud, result in results.items():
            if not result.ok:
                self._failed(f"{title} {cloud}", result)
        return results

    def _refuse_losses(self) -> bool:
        losses = [
            f"{plan.cloud}: {loss['kind']} {loss['name']}" for plan in self.findings.plans for loss in plan.losses
        ]
        if losses:
            text = f"data would be lost: {', '.join(losses)}\n→ set fail-on-destructive to false where that is meant"
            self.runner.annotate("error", text, title="pys-multi")
        return bool(losses)

    # ---- what GitHub shows

    def _failed(self, title: str, result: Result) -> None:
        self.findings.errors = {**self.findings.errors, title: result.error}
        self._annotate("error", result.error, result.error.partition(": ")[0], {}, title=f"pys-multi {title}")

    def _annotate(
        self, level: Level, text: str, where: str, model: Mapping[str, Any], *, title: str = "pys-multi"
    ) -> None:
        place = place_of(where, self.inputs.folder, model)
        workspace = Path(self.environment.get("GITHUB_WORKSPACE") or ".").resolve()
        if place is not None and place.file.resolve().is_relative_to(workspace):
            file = place.file.resolve().relative_to(workspace).as_posix()
            self.runner.annotate(level, text, file=file, line=place.line, title=title)
        else:
            self.runner.annotate(level, text, title=title)

    def _plan_outputs(self, changed: bool) -> None:
        def document(keys: Sequence[str]) -> str:
            plans = [
                {
                    "cloud": plan.cloud,
                    "changes": [{k: v for k, v in change.items() if not keys or k in keys} for change in plan.pending],
                    "cost": plan.cost,
                    "error": plan.error,
                }
                for plan in self.findings.plans
            ]
            return json.dumps({"schema_version": 1, "plans": plans, "cut": bool(keys)}, ensure_ascii=False)

        text = document(())
        if len(text.encode()) > _OUTPUT_LIMIT:
            text = document(("action", "kind", "name"))
        self.runner.output("changed", _boolean(changed))
        self.runner.output("plan", text)

    def _urls(self, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        urls = {cloud: str(one.get("url") or "") for cloud, one in outputs.items()}
        self.runner.output("url", next(filter(None, urls.values()), ""))
        self.runner.output("urls", json.dumps(urls))
        self.runner.output("outputs", json.dumps(dict(outputs), ensure_ascii=False))
        # A deploy says build ids by function, a status has them in its functions.
        builds = [build for one in outputs.values() for build in dict(one.get("build_ids") or {}).values()]
        builds += [function["build_id"] for one in outputs.values() for function in one.get("functions", ())]
        self.runner.output("build-id", next(filter(None, builds), ""))

    def _finish(self, markdown: str, what: str, *, create: bool = True) -> None:
        """Show a report: in the summary, in a file, and in the comment of the pull request."""
        self.runner.summary(markdown)
        self.runner.output("summary-path", str(self._file(markdown)))
        if not self.event.number or not self.inputs.comment or what not in ("plan", "preview"):
            return
        body = self.runner.redacted(markdown)
        if run := self._run_url():
            body += f"\n<sub>[All of it, in the summary of the run]({run})</sub>\n"
        try:
            mark = comments.marker(what, self.inputs.path, self.stage if what == "plan" else "")
            comments.keep(self._client(), self.event.number, mark, body, create=create)
        except GitHubError as exc:
            level: Level = "notice" if self.event.fork else "warning"
            why = "a fork's token may not comment" if self.event.fork else str(exc)
            self.runner.annotate(level, f"there is no comment, the summary of the job has it all: {why}")

    def _file(self, markdown: str) -> Path:
        folder = self.environment.get("RUNNER_TEMP") or None
        with tempfile.NamedTemporaryFile(
            "w", prefix="pys-multi-", suffix=".md", dir=folder, delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write(self.runner.redacted(markdown))
        return Path(file.name)

    def _run_url(self) -> str:
        server, repository, run = (
            self.environment.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
        )
        return f"{server}/{repository}/actions/runs/{run}" if server and repository and run.isdigit() else ""

    def _client(self) -> Client:
        return Client.of(self.environment, self.inputs.github_token)

    def _number(self) -> int:
        if not self.event.number:
            hint = "run it on pull_request: opened, reopened, synchronize and closed"
            raise InputError("command", "preview is for events of a pull request", hint)
        return self.event.number


def _boolean(value: bool) -> str:
    return "true" if value else "false"
