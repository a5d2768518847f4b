"""The names of a template are known without Resource Manager, and are the ones that it makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.arm.expressions import PURE, evaluate
from tests.support.azure_service import CONTEXT, UNIQUE, deployment
from tests.support.azure_service import template as rendered

from pys_multi import App
from pys_multi_providers.azure import index
from pys_multi_providers.azure.expressions import sub
from pys_multi_providers.azure.names import UNIQUE as END


@given(st.lists(st.sampled_from([*"ab'[]{}$,()\\ \"é", END]), min_size=1).map("".join))
def test_a_name_is_what_resource_manager_makes_of_it(text: str) -> None:
    functions = {**PURE, "parameters": lambda _: UNIQUE}
    assert index.named(sub(text), UNIQUE) == evaluate(sub(text), functions) == text.replace(END, UNIQUE)


def test_every_resource_of_a_template_is_found_by_its_id() -> None:
    app = App("shop")
    jobs, news, files, stock, key = (
        app.queue("jobs"),
        app.topic("news"),
        app.bucket("files"),
        app.table("stock", key="sku"),
        app.secret("KEY"),
    )
    api = app.function("api", uses=[jobs.send, news.publish, files.read, stock.write, key])

    @api.get("/")
    def home() -> None: ...

    @api.subscribe(news)
    def hear(message: object) -> None: ...

    made = rendered(deployment(app, secrets={"KEY": "env:KEY"}))
    group = CONTEXT.group_id
    found = index.resources(made.template.text, group, UNIQUE)
    wanted = {r["id"].lower() for r in made.resources if r["type"] != "Microsoft.Authorization/roleAssignments"}
    assert set(found) == wanted
    assert all(index.word(index.split(id)[1]) != index.split(id)[1] for id in found)


@pytest.mark.parametrize(
    ("id", "called"),
    [
        ("Microsoft.ServiceBus/namespaces/n/queues/jobs", "queue jobs"),
        ("Microsoft.Web/sites/shop-api/basicPublishingCredentialsPolicies/scm", "publishing policy shop-api/scm"),
        ("Microsoft.Storage/storageAccounts/a/blobServices/default/containers/pictures", "bucket pictures"),
        (
            "Microsoft.Storage/storageAccounts/a/blobServices/default/containers/pys-multi-releases",
            "container pys-multi-releases",
        ),
        (
            "Microsoft.ServiceBus/namespaces/n/queues/jobs/providers/Microsoft.Authorization/roleAssignments/1-2-3",
            "role assignment on queue jobs",
        ),
        ("microsoft.alertsmanagement/smartDetectorAlertRules/Failure - shop", "alert rule Failure - shop"),
    ],
)
def test_what_a_reader_is_told_of_has_a_name_that_says_what_it_is(id: str, called: str) -> None:
    assert index.called(f"/subscriptions/1/resourceGroups/g/providers/{id}") == called


def test_a_path_of_what_if_leads_into_a_resource() -> None:
    resource = {"properties": {"a": [{"B": 1}], "c": None}}
    assert index.at(resource, "properties.a[0].b") == 1
    assert index.at(resource, "properties.a[1].b") is None
    assert index.at(resource, "properties.c.d") is None
    assert index.at(resource, "properties") == resource["properties"]
