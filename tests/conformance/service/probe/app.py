"""The app: what it keeps, its functions, and the modules that fill them."""

from __future__ import annotations

from probe import bodies, echo, failures, returns, typed
from probe.resources import app

api = app.function("api", memory=256, timeout=10, concurrency=8, environment={"GREETING": "hello from the function"})
api.include(echo.router)
api.include(bodies.router)
api.include(returns.router)
api.include(typed.router)
api.include(failures.router)

# Each of these defines its own functions on the app.
from probe import data, events, live, security, web  # noqa: E402, F401  (after the app is there)

__all__ = ["app"]
