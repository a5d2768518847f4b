"""Azure Functions, as far as an app sees it: a host of the tests' own around Microsoft's Python worker library.

image.py      an interpreter with the worker library, azure-functions and the messages of the worker protocol
worker.py     runs in that interpreter: hands FunctionRpc messages to the library, one process for an app
app.py        the process from the outside: what it has indexed, invocations, its end
front.py      HTTP: routes of ASP.NET, keys, and how the host hands requests over
triggers.py   Service Bus, timers
identity.py   the endpoint that gives an app tokens
"""
