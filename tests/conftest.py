"""What holds for every test."""

from __future__ import annotations

import os
import signal
import sys

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the code. In CI the examples are the
# same in every run, so that a red run is about its change; everywhere else they go on looking.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("tests")

# Tests write a module, import it, and write it again within the second and at the same size, which is all that Python
# looks at before it trusts its cached bytecode. Theirs is not cached, nor that of the commands they run.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

# A shell makes what it runs in the background ignore Ctrl-C, and so would everything that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
