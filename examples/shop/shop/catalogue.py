"""The catalogue: everybody reads it, the shopkeeper writes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any

from pys_multi import HTTPError, Query, Response, Router
from shop.access import shopkeeper
from shop.models import Article
from shop.resources import stock

router = Router("/stock")


@router.get("", public=True)
def list_articles(tag: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[dict[str, Any]]:
    """Articles, those with a tag where one is given."""
    found: list[dict[str, Any]] = []
    for item in stock.query():
        if tag is None or tag in item.get("tags", ()):
            found.append(item)
            if len(found) == limit:
                break
    return found


@router.get("/export.csv", public=True)
def export() -> Response:
    """The whole catalogue as CSV, row by row as it is read."""

    def rows() -> Iterator[str]:
        yield "sku,name,price,available\r\n"
        for item in stock.query():
            line = io.StringIO()
            csv.writer(line).writerow([item["sku"], item["name"], item["price"], item["available"]])
            yield line.getvalue()

    return Response.stream(rows(), content_type="text/csv; charset=utf-8")


@router.get("/{sku}", public=True)
def read_article(sku: str) -> dict[str, Any]:
    item = stock.get(sku)
    if item is None:
        raise HTTPError(404, f"there is no article {sku}")
    return item


@router.put("/{sku}", auth=shopkeeper, uses=[stock.put])
def write_article(sku: str, article: Article) -> Article:
    """Adds an article or replaces it."""
    if article.sku != sku:
        raise HTTPError(409, f"the body is about {article.sku}, the path about {sku}")
    stock.put(article)
    return article
