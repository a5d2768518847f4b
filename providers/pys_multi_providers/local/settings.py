"""``[tool.pys-multi.local]`` and ``app.function(local={…})``."""

from __future__ import annotations

from pydantic import Field

from pys_multi_tools.settings import SettingsTable


class LocalSettings(SettingsTable):
    """How this machine runs the service."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Anything but loopback lets other machines call the public routes."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """Port to listen on. Default: the one of last time, at first a free one from 8000 on; 0: any free one."""
    instances: int | dict[str, int] = 1
    """Processes per function: a number for every function, or a table of function = number."""
    backlog: int = Field(default=1000, ge=0)
    """Calls that may wait for an instance of one function before further ones are refused with 503."""
    start_timeout: float = Field(default=30.0, gt=0)
    """Seconds in which an instance must become ready."""

    def instances_of(self, function: str) -> int:
        """Processes of one function."""
        return self.instances if isinstance(self.instances, int) else self.instances.get(function, 1)


class LocalOptions(SettingsTable):
    """Options of one function on this provider."""

    instances: int | None = Field(default=None, ge=1, le=64)
    """Processes of this function; the settings win over it only where they name the function."""
