"""What somebody else's tool reads of what was deployed: gcloud, where it is on the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_control.state import PROJECT, REGION
from tests.support.gcp_stage import GcpStage

GCLOUD = shutil.which("gcloud")


@pytest.mark.skipif(GCLOUD is None, reason="gcloud is not on this machine")
def test_gcloud_lists_and_describes_what_was_deployed(
    quick: GcpStage, answering: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outputs = quick.deploy()
    settings = {
        **answering.endpoints(answering.url),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{answering.url}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CONFIG": str(tmp_path_factory.mktemp("gcloud")),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
    }
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("CLOUDSDK_", "GOOGLE_", "PYTHON"))}

    def gcloud(*words: str) -> Any:
        command = [GCLOUD or "", *words, f"--project={PROJECT}", "--format=json", "--quiet"]
        ran = subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    function = gcloud("functions", "describe", f"{quick.service}-test-api", f"--region={REGION}", "--v2")
    assert function["state"] == "ACTIVE"
    assert function["labels"]["pys-multi-build"] == outputs.build_ids["api"]
    assert function["serviceConfig"]["uri"] == outputs.url
    topics = gcloud("pubsub", "topics", "list", f"--filter=labels.pys-multi-service={quick.service}")
    assert f"projects/{PROJECT}/topics/{quick.service}-test-jobs" in [topic["name"] for topic in topics]
    subscription = gcloud("pubsub", "subscriptions", "describe", f"{quick.service}-test-jobs")
    assert subscription["pushConfig"]["pushEndpoint"].startswith(outputs.url.replace("-api", "-worker"))
    assert subscription["deadLetterPolicy"]["deadLetterTopic"].endswith(f"{quick.service}-test-jobs.dead")
    [job] = gcloud("scheduler", "jobs", "list", f"--location={REGION}")
    assert job["schedule"] == "0 4 * * *"
