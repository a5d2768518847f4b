"""The tests' GitHub and our client against GitHub's own description of its API, as githubkit makes models of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel
from tests.support.github_server import GitHub

from pys_multi_tools import previews
from pys_multi_tools.github import comment
from pys_multi_tools.github.client import Client

#: Method and path → the names of the models of what is sent and of what is answered; "" for none.
_DESCRIBED = {
    ("GET", r".*/issues/\d+/comments"): ("", "IssueComment"),
    ("POST", r".*/issues/\d+/comments"): ("ReposOwnerRepoIssuesIssueNumberCommentsPostBody", "IssueComment"),
    ("PATCH", r".*/issues/comments/\d+"): ("ReposOwnerRepoIssuesCommentsCommentIdPatchBody", "IssueComment"),
    ("DELETE", r".*/issues/comments/\d+"): ("", ""),
    ("GET", r".*/deployments"): ("", "Deployment"),
    ("POST", r".*/deployments"): ("ReposOwnerRepoDeploymentsPostBody", "Deployment"),
    ("GET", r".*/deployments/\d+/statuses"): ("", "DeploymentStatus"),
    ("POST", r".*/deployments/\d+/statuses"): (
        "ReposOwnerRepoDeploymentsDeploymentIdStatusesPostBody",
        "DeploymentStatus",
    ),
}


@pytest.fixture(scope="module")
def models() -> Any:
    pytest.importorskip("githubkit", reason="githubkit is not installed, or does not go with the hishel that is")
    return pytest.importorskip("githubkit_schemas.latest.models")


def test_what_is_said_is_as_published(server: GitHub, client: Client, models: Any) -> None:
    mark = comment.marker("plan")
    for text in ("one", "two"):
        comment.keep(client, 7, mark, text)
    server.comment(7, f"{mark}\nof another run")
    comment.keep(client, 7, mark, "three")
    server.open(7)
    deployment = previews.register(
        client, service="shop", number=7, clouds=["aws"], path=".", commit="a" * 40, seconds=60
    )
    previews.mark(client, deployment, "success", url="https://shop.example", log="https://github.com/acme/shop")
    [preview] = previews.live(client)
    previews.end(client, preview)

    seen = set()
    for request in server.requests:
        for (method, pattern), (sent, answered) in _DESCRIBED.items():
            if request.method == method and re.fullmatch(pattern, request.path):
                seen.add((method, pattern))
                if sent:
                    model: type[BaseModel] = getattr(models, sent)
                    model.model_validate(request.body)
                    known = {field.alias or name for name, field in model.model_fields.items()}
                    assert set(request.body) <= known
                answers = request.answer if isinstance(request.answer, list) else [request.answer]
                for answer in answers if answered else ():
                    getattr(models, answered).model_validate(answer)
    assert seen == set(_DESCRIBED)
