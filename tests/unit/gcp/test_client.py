"""Where Google is asked, and as whom."""

from __future__ import annotations

from typing import Any

import pytest

from pys_multi_providers.gcp.client import Cloud
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.settings import GcpSettings

VARIABLES = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "PUBSUB_EMULATOR_HOST")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)


def cloud(**settings: Any) -> Cloud:
    return Cloud(GcpSettings.model_validate({"project": "shop-1", "region": "europe-west1", **settings}))


def test_endpoints_come_from_settings_then_gcloud_then_emulators(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cloud().endpoint("pubsub") == "https://pubsub.googleapis.com"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085")
    assert cloud().endpoint("pubsub") == "http://127.0.0.1:8085"
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", "https://pubsub-x.p.googleapis.com/")
    assert cloud().endpoint("pubsub") == "https://pubsub-x.p.googleapis.com"
    own = cloud(endpoints={"pubsub": "https://pubsub.example/base"})
    assert own.endpoint("pubsub") == "https://pubsub.example/base"
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", "http://127.0.0.1:1/storage/v1/")
    assert cloud().endpoint("storage") == "http://127.0.0.1:1"


def test_emulators_of_this_machine_are_asked_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    apis = ("cloudfunctions", "run", "storage")
    here = cloud(endpoints=dict.fromkeys(apis, "http://127.0.0.1:9"))
    assert here.identity_token("https://f") == ""
    assert "Anonymous" in here.identity
    monkeypatch.setenv("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
    assert "Anonymous" in cloud().identity


def test_project_and_region_have_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
    nowhere = Cloud(GcpSettings(project=None, region=None))
    with pytest.raises(GcpError, match="no project is named") as caught:
        _ = nowhere.project
    assert "--project" in caught.value.hint
    with pytest.raises(GcpError, match="no region is named"):
        _ = nowhere.region
    assert cloud().location == "projects/shop-1/locations/europe-west1"


def test_a_field_that_google_does_not_have_is_refused_without_its_value() -> None:
    from pys_multi_providers.gcp.client import FUNCTIONS

    here = cloud(endpoints=dict.fromkeys(("cloudfunctions", "run", "storage"), "http://127.0.0.1:9"))
    with pytest.raises(GcpError, match="has no such field") as caught:
        here.call(FUNCTIONS, "create", parent=here.location, functionId="f", body={"descriptoin": "s3cr3t"})
    assert "s3cr3t" not in str(caught.value)
