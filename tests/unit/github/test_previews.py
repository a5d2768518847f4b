"""Which previews there are, and which of them are over."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.github_server import GitHub

from pys_multi_tools import previews
from pys_multi_tools.errors import ToolError
from pys_multi_tools.github.client import Client
from pys_multi_tools.previews import Preview


def register(client: Client, number: int = 7, **more: Any) -> int:
    fields: dict[str, Any] = {"service": "shop", "clouds": ["local"], "path": ".", "commit": "a" * 40, "seconds": 3600}
    return previews.register(client, number=number, **{**fields, **more})


def deployed(server: GitHub, client: Client, number: int = 7, **more: Any) -> int:
    if number not in server.pulls:
        server.open(number)
    deployment = register(client, number, **more)
    previews.mark(client, deployment, "success", url="http://127.0.0.1:1/", log="https://github.com/x")
    return deployment


def reaped(client: Client, **more: Any) -> list[str]:
    destroyed: list[str] = []

    def destroy(preview: Preview) -> None:
        destroyed.append(preview.stage)

    found = list(previews.reap(client, destroy, **more))
    assert not any(one.error for one in found)
    return destroyed


def test_it_is_written_down_before_anything_is_deployed(server: GitHub, client: Client) -> None:
    deployment = register(client)
    assert server.state_of(deployment) == "in_progress"
    [found] = previews.live(client)
    assert (found.service, found.stage, found.clouds, found.number, found.running) == (
        "shop",
        "pr-7",
        ("local",),
        7,
        True,
    )
    assert found.expires == pytest.approx(time.time() + 3600, abs=30)
    made = server.deployments[0]
    assert made["transient_environment"] is True
    assert made["production_environment"] is False


def test_an_open_one_stays(server: GitHub, client: Client) -> None:
    deployed(server, client)
    assert reaped(client) == []
    [found] = previews.live(client)
    assert found.url == "http://127.0.0.1:1/"


def test_a_closed_one_goes(server: GitHub, client: Client) -> None:
    ids = [deployed(server, client), deployed(server, client)]
    deployed(server, client, 8)
    server.close(7)
    assert reaped(client) == ["pr-7"]
    assert [server.state_of(id_) for id_ in ids] == ["inactive", "inactive"]
    assert reaped(client) == []
    assert [preview.number for preview in previews.live(client)] == [8]


def test_one_whose_time_is_over_goes(server: GitHub, client: Client) -> None:
    deployed(server, client, seconds=-1)
    assert reaped(client) == ["pr-7"]


def test_a_push_renews_it(server: GitHub, client: Client) -> None:
    deployed(server, client, seconds=-1)
    deployed(server, client, seconds=3600)
    assert reaped(client) == []


def test_one_whose_pull_request_is_gone_goes(server: GitHub, client: Client) -> None:
    deployed(server, client)
    del server.pulls[7]
    assert reaped(client) == ["pr-7"]


def test_a_killed_deploy_is_found_until_it_surely_does_not_run_any_more(server: GitHub, client: Client) -> None:
    server.open(7)
    deployment = register(client)
    server.close(7)
    # Its deploy may still run and bring the stage back: the record stays.
    assert reaped(client) == ["pr-7"]
    assert reaped(client) == ["pr-7"]
    assert server.state_of(deployment) == "in_progress"
    old = datetime.fromtimestamp(time.time() - 2 * 86400, UTC)
    server.deployments[0]["created_at"] = old.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert reaped(client) == ["pr-7"]
    assert server.state_of(deployment) == "inactive"


def test_one_that_cannot_be_removed_does_not_keep_the_others(server: GitHub, client: Client) -> None:
    for number in (7, 8):
        deployed(server, client, number)
        server.close(number)

    def destroy(preview: Preview) -> None:
        if preview.number == 8:
            raise ToolError("the cloud said no")

    found = {one.preview.number: one.error for one in previews.reap(client, destroy)}
    assert found == {8: "the cloud said no", 7: ""}
    assert [preview.number for preview in previews.live(client)] == [8]


def test_a_dry_run_removes_nothing(server: GitHub, client: Client) -> None:
    deployed(server, client)
    server.close(7)
    assert reaped(client, dry_run=True) == []
    assert len(list(previews.live(client))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "prod"},
        {"stage": "pr-8"},
        {"stage": "pr-7; rm -rf /"},
        {"service": "../x"},
        {"clouds": ["$(x)"]},
        {"path": "/etc"},
        {"path": "../other"},
        {"pull_request": "7"},
        {"schema_version": 2},
    ],
)
def test_a_record_that_is_not_ours_is_never_believed(server: GitHub, client: Client, change: dict[str, Any]) -> None:
    deployed(server, client)
    server.close(7)
    server.deployments[0]["payload"] |= change
    assert list(previews.live(client)) == []
    assert reaped(client) == []


def test_other_deployments_are_nobodys_business(server: GitHub, client: Client) -> None:
    client.add_deployment({"ref": "main", "environment": "shop-pr-7", "required_contexts": []})
    server.deployments[0]["payload"] = "text"
    assert list(previews.live(client)) == []


def test_what_is_long_gone_is_not_asked_about(server: GitHub, client: Client) -> None:
    for number in (7, 8):
        deployed(server, client, number)
    server.deployments[0]["created_at"] = "2020-01-01T00:00:00Z"
    assert [preview.number for preview in previews.live(client)] == [8]
