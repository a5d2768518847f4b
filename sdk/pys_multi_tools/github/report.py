"""Markdown for a pull request and a job summary. Every name in it comes from somebody else and is shown as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pys_multi_tools.github.comparison import Difference

_SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-"}
_ACTIONS = tuple(_SIGNS)
_HEADINGS = {
    "endpoint": "Public endpoints",
    "permission": "Permissions",
    "function": "Functions",
    "trigger": "Triggers",
    "resource": "Resources",
}


@dataclass(slots=True, kw_only=True)
class CloudPlan:
    """The plan on one cloud. changes, cost: as ``plan --json`` prints them; error: why there is none."""

    cloud: str
    changes: Sequence[Mapping[str, Any]] = ()
    cost: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def pending(self) -> list[Mapping[str, Any]]:
        return [change for change in self.changes if change.get("action") in _SIGNS]

    @property
    def losses(self) -> list[Mapping[str, Any]]:
        """What would be lost with all that is in it."""
        return [change for change in self.pending if change["action"] in ("delete", "replace") and change.get("data")]


@dataclass(slots=True, kw_only=True)
class Weight:
    """A bundle: bytes of the largest archive, the same unpacked, and milliseconds to import; None is not known."""

    packed: int
    unpacked: int
    import_ms: float | None

    @classmethod
    def of(cls, artefacts: Sequence[Mapping[str, Any]]) -> Weight:
        """The weight of artefacts, as ``bundle --json`` prints them."""
        times = [artefact["import_ms"] for artefact in artefacts if artefact.get("import_ms") is not None]
        return cls(
            packed=max((artefact["bytes"] for artefact in artefacts), default=0),
            unpacked=max((artefact["unzipped_bytes"] for artefact in artefacts), default=0),
            import_ms=max(times, default=None),
        )


@dataclass(slots=True, kw_only=True)
class Findings:
    """All that a report may say."""

    service: str = ""
    stage: str = ""
    path: str = "."
    offline: bool = False
    problems: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    plans: Sequence[CloudPlan] = ()
    differences: Sequence[Difference] | None = None
    weights: Mapping[str, tuple[Weight | None, Weight]] = field(default_factory=dict)
    #: By cloud, before and after, as ``cost --json`` prints them.
    costs: Mapping[str, tuple[Mapping[str, Any] | None, Mapping[str, Any]]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def code(text: object) -> str:
    """Text as code, whatever is in it: no Markdown, no HTML, no mention, no line break."""
    line = "".join(c if c.isprintable() else " " for c in str(text)).strip() or "-"
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest and (line.startswith("`") or line.endswith("`")) else ""
    # In a table a bar ends the cell even inside code.
    return f"{fence}{space}{line}{space}{fence}".replace("|", "\\|")


def block(text: str, lines: int = 60) -> str:
    """Lines as code, whatever is in them."""
    kept = ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()[:lines]]
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *kept, fence])


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def title(what: str, findings: Findings) -> str:
    """The first line of a report."""
    place = f", {code(findings.path)}" if findings.path != "." else ""
    service = f" {code(findings.service)}" if findings.service else ""
    stage = f", stage {code(findings.stage)}" if findings.stage else ""
    return f"### pys-multi {what}{service}{stage}{place}"


def plan_report(what: str, findings: Findings) -> str:
    """What a change does: on each cloud, to who may call and who may do what, and to the bundle."""
    parts = [title(what, findings)]
    if findings.offline:
        parts.append(
            "This comes from a fork, so no cloud was asked: this is what the change does to the service, not what is "
            "deployed."
        )
    parts += _errors(findings)
    parts += _problems(findings)
    if findings.plans:
        parts.append(_totals(findings.plans))
        parts += [_changes(plan) for plan in findings.plans if plan.pending]
        losses = [f"- {code(p.cloud)}: {_named(change)}" for p in findings.plans for change in p.losses]
        if losses:
            parts.append("**Data would be lost**\n" + "\n".join(losses))
    parts += _differences(findings.differences)
    if findings.weights:
        parts.append(_weights(findings.weights))
    if findings.costs:
        parts.append(_costs(findings.costs))
    parts += findings.notes
    return "\n\n".join(parts) + "\n"


def deploy_report(what: str, findings: Findings, outputs: Mapping[str, Mapping[str, Any]]) -> str:
    """What serves after a deploy."""
    parts = [title(what, findings), *_errors(findings), *_problems(findings)]
    if outputs:
        rows = [
            [
                code(cloud),
                link(str(one.get("url", ""))),
                code(", ".join(sorted(set(dict(one.get("build_ids", {})).values())))),
            ]
            for cloud, one in outputs.items()
        ]
        parts.append(table(("cloud", "URL", "build"), rows))
        values = [
            [code(cloud), code(name), code(value)]
            for cloud, one in outputs.items()
            for name, value in dict(one.get("values", {})).items()
        ]
        if values:
            details = table(("cloud", "output", "value"), values)
            parts.append(f"<details><summary>Outputs</summary>\n\n{details}\n\n</details>")
    if findings.plans:
        parts += [_changes(plan) for plan in findings.plans if plan.pending]
    parts += findings.notes
    return "\n\n".join(parts) + "\n"


def status_report(findings: Findings, services: Sequence[Mapping[str, Any]]) -> str:
    """What is live."""
    rows = [
        [
            code(one.get("provider")),
            code(one.get("state")),
            link(str(one.get("url") or "")),
            code(", ".join(sorted({f["build_id"] for f in one.get("functions", ()) if f.get("build_id")}))),
        ]
        for one in services
    ]
    parts = [title("status", findings), *_errors(findings)]
    if rows:
        parts.append(table(("cloud", "state", "URL", "build"), rows))
    return "\n\n".join(parts) + "\n"


def link(url: str) -> str:
    """An address to follow, where it is one."""
    return f"<{url}>" if re.fullmatch(r"https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+", url) else code(url)


def _errors(findings: Findings) -> list[str]:
    return [f"**{name}**\n\n{block(text)}" for name, text in findings.errors.items()]


def _problems(findings: Findings) -> list[str]:
    rows = [
        [code(cloud), problem["severity"], code(problem["where"]), f"{code(problem['what'])} → {code(problem['hint'])}"]
        for cloud, problems in findings.problems.items()
        for problem in problems
    ]
    return [table(("cloud", "", "where", "what, and what to do"), rows)] if rows else []


def _totals(plans: Sequence[CloudPlan]) -> str:
    rows = []
    for plan in plans:
        counts = [sum(change["action"] == action for change in plan.pending) for action in _ACTIONS]
        rows.append([code(plan.cloud), *(["failed", "", "", ""] if plan.error else map(str, counts))])
    return table(("cloud", *_ACTIONS), rows)


def _changes(plan: CloudPlan) -> str:
    lines = []
    for change in plan.pending:
        marks = " **public**" if change.get("public") else ""
        marks += " **loses data**" if change.get("data") and change["action"] in ("delete", "replace") else ""
        reason = f" ({code(change['reason'])})" if change.get("reason") else ""
        lines.append(f"- {code(_SIGNS[change['action']])} {_named(change)}{marks}{reason}")
        for name, before, after in change.get("properties", ()):
            lines.append(f"  - {code(name)}: {code(before)} → {code(after)}")
    count = len(plan.pending)
    summary = f"{plan.cloud}: {count} change{'s' if count != 1 else ''}"
    return f"<details><summary>{summary}</summary>\n\n" + "\n".join(lines) + "\n\n</details>"


def _named(change: Mapping[str, Any]) -> str:
    return f"{change['action']} {code(change.get('kind'))} {code(change.get('name'))}"


def _differences(differences: Sequence[Difference] | None) -> list[str]:
    if differences is None:
        return []
    if not differences:
        return ["Against the base branch the service is the same: routes, permissions, functions and resources."]
    parts = []
    for about, heading in _HEADINGS.items():
        lines = [
            f"- {code(one.sign)} {code(one.name)}" + (f": {code(one.detail)}" if one.detail else "")
            for one in differences
            if one.about == about
        ]
        if lines:
            parts.append(f"**{heading}**\n" + "\n".join(lines))
    return parts


def _weights(weights: Mapping[str, tuple[Weight | None, Weight]]) -> str:
    rows = []
    for cloud, (before, after) in weights.items():
        rows.append(
            [
                code(cloud),
                _grown(before.packed / 1e6 if before else None, after.packed / 1e6, "MB"),
                _grown(before.unpacked / 1e6 if before else None, after.unpacked / 1e6, "MB"),
                _grown(before.import_ms if before else None, after.import_ms, "ms"),
            ]
        )
    return table(("bundle", "zip", "unpacked", "import"), rows)


def _costs(costs: Mapping[str, tuple[Mapping[str, Any] | None, Mapping[str, Any]]]) -> str:
    rows = []
    for cloud, (before, after) in costs.items():
        charges = ", ".join(f"{charge['meter']} {charge['usd']:,.2f}" for charge in after["charges"])
        total = _grown(before["usd"] if before else None, after["usd"], "USD")
        rows.append([code(cloud), total, code(charges), code(f"{after['as_of']}, {after['place']}")])
    shown = table(("cost", "a month, about", "of which", "prices of"), rows)
    uncounted = sorted({name for _, after in costs.values() for name in after["uncounted"]})
    names = f"; no profile: {', '.join(map(code, uncounted))}" if uncounted else ""
    return f"{shown}\n\nBy the profile in the settings, for functions alone{names}."


def _grown(before: float | None, after: float | None, unit: str) -> str:
    if after is None:
        return "-"
    shown = f"{after:,.2f} {unit}"
    if before is None or f"{after - before:+.2f}" in ("+0.00", "-0.00"):
        return shown
    return f"{shown} ({after - before:+,.2f})"
