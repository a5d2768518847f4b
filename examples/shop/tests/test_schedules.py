from __future__ import annotations

from datetime import UTC, datetime

from shop.resources import receipts, stock

from pys_multi_tools.testing import Client


def test_repricing_marks_what_is_sold_out_and_takes_the_mark_away(stocked: Client) -> None:
    stock.update("pear", set={"available": 0})
    stocked.trigger("reprice")
    assert (stock.get("pear") or {})["tags"] == ["fruit", "sold-out"]
    stock.update("pear", set={"available": 5})
    stocked.trigger("reprice")
    assert (stock.get("pear") or {})["tags"] == ["fruit"]


def test_the_report_counts_the_stock_of_its_day(stocked: Client) -> None:
    stocked.trigger("report", time=datetime(2026, 3, 2, 5, 0, tzinfo=UTC).timestamp())
    assert receipts.get("reports/2026-03-02.csv").decode().splitlines()[1] == "2026-03-02,11"
