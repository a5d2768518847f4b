"""A build that does not start is taken back: what served before serves again, and what the start said is told.

Flex Consumption has no slots, so a package replaces the one before it, whether its code starts or not. The bundles of
former releases are still there, and one of them is published again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pys_multi_providers.azure import journal
from pys_multi_providers.azure.apps import Live
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError, ToolError
from pys_multi_tools.patience import Pause, each

if TYPE_CHECKING:
    from pys_multi_providers.azure.engine import Engine

#: Seconds in which the former build must answer, once Azure took its package.
_PATIENCE = 120.0
#: Levels of records that may say why a start failed, and how many of the last ones are told.
_WRONG, _TOLD = ("error", "critical"), 5


def rescued(
    engine: Engine,
    former: Mapping[str, Live],
    builds: Mapping[str, str],
    began: float,
    error: DeployError,
    progress: Callable[[Progress], None],
) -> DeployError:
    """Has the former builds serve again, and returns the error with what was found and done.

    former: what each function served before; builds: what it should serve now. began: seconds since the epoch, before
    the packages were sent. Raises nothing of its own: what goes wrong here is told in the error, too.
    """
    said = _said(engine, began)
    done = each(
        lambda name: _back(engine, former[name], builds[name], name), [name for name in builds if name in former]
    )
    for text in done:
        if text:
            progress(Progress(step="rescue", text=text))
    told = "; ".join(text for text in done if text)
    hint = error.hint if not said else "correct it, and deploy again"
    return DeployError(
        f"{error.what}{'; ' if told else ''}{told}",
        where=error.where,
        hint=hint,
        detail="\n".join(said) or error.detail,
    )


def _said(engine: Engine, began: float) -> list[str]:
    """What went wrong in the apps since then, as far as it is told yet."""
    try:
        records = list(journal.read(engine, function=None, since=began, follow=False))
    except ToolError:  # whoever may deploy need not be able to read logs
        return []
    texts = [record.message.strip() for record in records if record.level in _WRONG]
    return list(dict.fromkeys(text for text in texts if text))[-_TOLD:]


def _back(engine: Engine, before: Live, build: str, function: str) -> str:
    """Has one function serve its former build again; returns what became of it, empty where there is nothing to do."""
    old = before.build_id
    try:
        live = engine.apps.live(before.app)
        # What serves another build is somebody else's deploy.
        if not old or old == build or before.app is None or live.build_id:
            return ""
        if not engine.artefacts.has_bundle(old):
            return f"{function}: the former build {old} is no longer there"
        engine.apps.publish(function, before.app, old, lambda: engine.artefacts.bundle(old))
        deadline, pause = time.monotonic() + _PATIENCE, Pause(first=0.1, most=5.0)
        while engine.apps.live(before.app).build_id != old:
            if time.monotonic() > deadline:
                return f"{function}: the former build {old} does not serve again"
            pause()
    except ToolError as error:
        return f"{function}: the former build {old} could not be put back: {error.what}"
    return f"{function} serves the former build {old} again"
