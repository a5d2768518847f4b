"""Write a serverless Python service once, run it on any cloud.

    from pys_multi import App

    app = App("shop")

    @app.get("/orders/{order_id}", public=True)
    def read_order(order_id: int) -> dict: ...

This package ships inside every bundle and imports the standard library only; what a service does not
use is not imported either.
"""

from __future__ import annotations

from pys_multi.app import App
from pys_multi.http import Request, Response
from pys_multi.messages import Context, Event, Message, current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pys_multi.app import Function as Function
    from pys_multi.auth import JWT as JWT
    from pys_multi.auth import APIKey as APIKey
    from pys_multi.auth import Webhook as Webhook
    from pys_multi.cors import CORS as CORS
    from pys_multi.errors import ConditionFailed as ConditionFailed
    from pys_multi.errors import DefinitionError as DefinitionError
    from pys_multi.errors import GrantError as GrantError
    from pys_multi.errors import HTTPError as HTTPError
    from pys_multi.errors import NotFound as NotFound
    from pys_multi.errors import ResourceError as ResourceError
    from pys_multi.idempotency import idempotency_key as idempotency_key
    from pys_multi.idempotency import idempotent as idempotent
    from pys_multi.multipart import UploadedFile as UploadedFile
    from pys_multi.parameters import Body as Body
    from pys_multi.parameters import Cookie as Cookie
    from pys_multi.parameters import Form as Form
    from pys_multi.parameters import Header as Header
    from pys_multi.parameters import Query as Query
    from pys_multi.triggers import Router as Router

__version__ = "0.1.0"

#: Name → the module that has it; imported when first asked for.
_LATER = {
    "Function": "app",
    "Router": "triggers",
    "APIKey": "auth",
    "JWT": "auth",
    "Webhook": "auth",
    "CORS": "cors",
    "ConditionFailed": "errors",
    "DefinitionError": "errors",
    "GrantError": "errors",
    "HTTPError": "errors",
    "NotFound": "errors",
    "ResourceError": "errors",
    "idempotency_key": "idempotency",
    "idempotent": "idempotency",
    "UploadedFile": "multipart",
    "Body": "parameters",
    "Cookie": "parameters",
    "Form": "parameters",
    "Header": "parameters",
    "Query": "parameters",
}

__all__ = ["App", "Context", "Event", "Message", "Request", "Response", "current_context", *_LATER]


if not TYPE_CHECKING:  # a type checker would take it to have every name

    def __getattr__(name: str) -> object:
        module = _LATER.get(name)
        if module is None:
            raise AttributeError(f"module 'pys_multi' has no attribute {name!r}")
        from sys import modules

        qualified = f"pys_multi.{module}"
        __import__(qualified)
        value = globals()[name] = getattr(modules[qualified], name)
        return value
