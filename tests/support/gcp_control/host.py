"""Runs uploaded functions: functions-framework is imported once, and every revision is a fork of this process.

Reads lines of JSON: {"folder", "environment", "port", "log", "target"}; answers {"pid"} for each. What a revision
prints is in its log; one that does not start ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import Any


def main() -> None:
    import flask  # noqa: F401  (for the forks)
    import functions_framework
    from werkzeug.serving import make_server

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid:
            print(json.dumps({"pid": pid}), flush=True)
            continue
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            os.chdir(wanted["folder"])
            os.environ.clear()
            os.environ.update(wanted["environment"])
            sys.path[:] = [wanted["folder"], *sys.path]
            app = functions_framework.create_app(wanted["target"], os.environ["FUNCTION_SOURCE"], "http")
            import logging

            logging.getLogger("werkzeug").setLevel(logging.ERROR)
            make_server("127.0.0.1", wanted["port"], app, threaded=True).serve_forever()
        except BaseException:
            traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    main()
