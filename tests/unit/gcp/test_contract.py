"""What of the contract of providers needs no cloud; the rest is tested against a control plane of the tests' own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from pys_multi_tools.testing import ProviderContract

#: Checks without the fixture `deployed` that ask the cloud all the same.
ASKING = {
    "test_a_plan_submits_what_render_writes",
    "test_a_first_plan_creates_every_function",
    "test_no_secret_is_in_configuration_plan_or_bundle",
    "test_what_was_never_deployed_is_absent",
    "test_what_was_never_deployed_cannot_be_invoked",
    "test_what_was_never_deployed_can_be_destroyed",
}


def needing_a_cloud() -> Iterator[str]:
    for name, check in inspect.getmembers(ProviderContract, inspect.isfunction):
        if name.startswith("test_") and (name in ASKING or "deployed" in inspect.signature(check).parameters):
            yield name


class TestGcpProvider(ProviderContract):
    name = "gcp"
    settings = {"project": "contract", "region": "europe-west1"}  # noqa: RUF012  (as the contract has it)

    for _name in list(needing_a_cloud()):
        locals()[_name] = None
