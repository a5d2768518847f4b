from __future__ import annotations

from conftest import SHOPKEEPER

from pys_multi_tools.testing import Client


def test_everybody_reads_the_catalogue(stocked: Client) -> None:
    assert stocked.get("/stock/apple").json()["price"] == 50
    assert {item["sku"] for item in stocked.get("/stock").json()} == {"apple", "pear"}


def test_articles_are_found_by_tag(stocked: Client) -> None:
    assert len(stocked.get("/stock", query={"tag": "fruit"}).json()) == 2
    assert stocked.get("/stock?tag=bread").json() == []


def test_an_unknown_article_is_404(client: Client) -> None:
    assert client.get("/stock/nothing").status == 404


def test_only_the_shopkeeper_writes(client: Client) -> None:
    article = {"sku": "plum", "name": "Plum", "price": 30}
    assert client.put("/stock/plum", json=article).status == 401
    assert client.put("/stock/plum", json=article, headers=SHOPKEEPER).status == 200


def test_a_bad_article_is_refused_field_by_field(client: Client) -> None:
    reply = client.put("/stock/plum", json={"sku": "plum", "price": 0}, headers=SHOPKEEPER)
    assert reply.status == 422
    assert {error["field"] for error in reply.json()["errors"]} == {"name", "price"}


def test_the_catalogue_is_exported_as_csv(stocked: Client) -> None:
    reply = stocked.get("/stock/export.csv")
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.text.splitlines()[0] == "sku,name,price,available"
    assert "apple,Apple,50,10" in reply.text


def test_the_shop_front_may_call_from_its_own_origin(stocked: Client) -> None:
    reply = stocked.get("/stock/apple", headers={"origin": "https://shop.example"})
    assert reply.headers["access-control-allow-origin"] == "https://shop.example"
    assert "server-timing" in reply.headers
