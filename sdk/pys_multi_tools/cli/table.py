"""Every command with the module that holds it and its one line of help; imports nothing."""

from __future__ import annotations

#: Set by the shell while it asks for completions.
COMPLETION_VARIABLE = "_PYS_MULTI_COMPLETE"

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Write": {
        "new": ("write", "Make a project that runs at once."),
        "dev": ("dev", "Run the service in the foreground; reload on edit."),
        "check": ("write", "Say everything that keeps the service from running."),
        "show": ("write", "Show the service: functions, triggers, resources, grants."),
        "openapi": ("write", "Print the OpenAPI 3.1 document of the routes."),
    },
    "Deploy": {
        "plan": ("deploy", "Show what a deploy would change."),
        "cost": ("cost", "Estimate what a month costs."),
        "render": ("deploy", "Write the native configuration for review."),
        "bundle": ("bundle", "Build what is uploaded."),
        "deploy": ("deploy", "Bring the service to a cloud, or to this machine."),
        "rollback": ("deploy", "Return to a former build."),
        "destroy": ("deploy", "Remove all that deploy made."),
    },
    "Observe": {
        "status": ("observe", "Show what is live."),
        "logs": ("observe", "Show the logs of all functions."),
        "metrics": ("observe", "Show counts and latencies."),
        "invoke": ("observe", "Call a route, or hand an event to a trigger."),
        "dead": ("dead", "Show dead letters, and have them delivered again."),
    },
    "Automate": {
        "affected": ("affected", "List the services of a repository that a change touches."),
        "previews": ("previews", "List preview environments, and remove those that are over."),
        "workflow": ("workflow", "Write the GitHub workflows of the project."),
    },
    "Set up": {
        "providers": ("setup", "List the installed providers and what each can do."),
        "doctor": ("setup", "Look at credentials, versions and endpoints."),
        "permissions": ("setup", "Print the rights that deploying needs."),
        "completion": ("setup", "Show or install shell completion."),
    },
}

#: Commands that have ``--cloud`` and place nothing there.
NO_FLAGS = frozenset({"workflow"})

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


def help_text() -> str:
    """Return the help of the command as a whole."""
    lines = [
        "Usage: pys-multi COMMAND [OPTIONS]",
        "",
        "Write a serverless Python service once, run it on any cloud.",
    ]
    for title, commands in SECTIONS.items():
        lines += ["", f"{title}:", *(f"  {name:<12}{text}" for name, (_, text) in commands.items())]
    lines += [
        "",
        "Options:",
        "  --version   Show the version.",
        "  --help      Show this text, or the options of a command.",
    ]
    return "\n".join(lines)
