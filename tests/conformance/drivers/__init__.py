"""The drivers there are; a provider adds its own here."""

from __future__ import annotations

from tests.conformance.driver import Driver
from tests.conformance.drivers.aws import AwsDriver
from tests.conformance.drivers.azure import AzureDriver
from tests.conformance.drivers.gcp import GcpDriver
from tests.conformance.drivers.in_process import InProcessDriver
from tests.conformance.drivers.local import LocalDriver

DRIVERS: dict[str, type[Driver]] = {
    "aws": AwsDriver,
    "azure": AzureDriver,
    "gcp": GcpDriver,
    "in-process": InProcessDriver,
    "local": LocalDriver,
}
