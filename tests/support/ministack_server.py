"""MiniStack with change sets that set right what was done by hand (``DeploymentMode=REVERT_DRIFT``), which it lacks.

Runs under MiniStack's own Python. Such a change set compares the template with what there is: so before one is made,
the emulator's memory of the stack is brought to what drift detection finds. An alias, its URL, permissions and retries
are gone with their function.

It ends with its standard input, so that it does not outlive tests that were killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from ministack.app import main
from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, drift, handlers

_OF_A_FUNCTION = ("Alias", "EventInvokeConfig", "Permission", "Url")


def _forget_what_drifted(stack: dict[str, Any]) -> None:
    resources, template = stack["_resources"], stack["_template"]["Resources"]
    gone = set()
    for id, record in resources.items():
        if not drift.supports_drift(record["ResourceType"]):
            continue
        found = drift.detect_resource_drift(stack, id, record, "")
        if found["StackResourceDriftStatus"] == "DELETED":
            gone.add(id)
        elif found["StackResourceDriftStatus"] == "MODIFIED":
            for difference in found["PropertyDifferences"]:
                name = difference["PropertyPath"].split("/")[1]
                for known in (template[id], record):
                    known["Properties"] = {**known["Properties"], name: None}
    functions = {resources[id]["PhysicalResourceId"] for id in gone}
    for id, record in resources.items():
        kind = record["ResourceType"].removeprefix("AWS::Lambda::")
        named = str((record.get("Properties") or {}).get("FunctionName", ""))
        if kind in _OF_A_FUNCTION and functions & {named, *named.split(":")}:
            gone.add(id)
    for id in gone:
        del resources[id]
        template.pop(id, None)


def _create_change_set(params: Any) -> Any:
    if changesets._p(params, "DeploymentMode") == "REVERT_DRIFT":
        stack = cloudformation._stacks.get(changesets._p(params, "StackName"))
        if stack is not None:
            with changesets._stack_region_context(stack, stack["StackId"]):
                _forget_what_drifted(stack)
    return changesets._create_change_set(params)


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


[actions] = [
    value for value in vars(handlers).values() if isinstance(value, dict) and "ContinueUpdateRollback" in value
]
actions["CreateChangeSet"] = _create_change_set
threading.Thread(target=_end_with_input, daemon=True).start()
sys.exit(main())
