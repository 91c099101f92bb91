"""The dashboard for Grafana in deploy/: its queries are run against a store in PostgreSQL.

Grafana itself is not here. What it does to a query is done here: first it writes the values of variables into it, then
its data source for PostgreSQL replaces the macros.
"""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest

from temporis_dagster.data_source.store import SqlStore
from tests.support.store_tools import put

DASHBOARD = json.loads((Path(__file__).parents[2] / "deploy" / "grafana" / "temporis.json").read_text())
FROM, TO, INTERVAL_S = -7_200, 7_200, 3_600
NAME = "o'r\"d 📈"
CHOSEN = {"account": ["default"], "data_source": ["metrics"], "series": [NAME, "visits"]}
MACROS = {
    "unixEpochFilter": lambda column: f"{column} >= {FROM} AND {column} <= {TO}",
    "unixEpochGroupAlias": lambda column, _: f'floor(({column})/{INTERVAL_S})*{INTERVAL_S} AS "time"',
}


def written_out(query: str) -> str:
    """A query as it reaches the server."""
    for name, values in CHOSEN.items():
        quoted = ",".join("'" + value.replace("'", "''") + "'" for value in values)
        query = query.replace(f"${{{name}:sqlstring}}", quoted)
    query = query.replace("$__interval", "1h")

    def replaced(macro: re.Match[str]) -> str:
        return MACROS[macro[1]](*macro[2].split(","))

    return re.sub(r"\$__(\w+)\(([^)]*)\)", replaced, query)


@pytest.fixture
def answers(postgres_url):
    """The columns and rows of the query of each panel, by title, and the values of each variable."""
    with closing(SqlStore(postgres_url)) as store:
        for source in ("metrics", "old"):
            store.create_data_source(source)
        put(store, {(second, NAME): float(second) for second in (-9_000, -5_400, -60, 0, 1_800, 3_600)})
        put(store, {(60, "visits"): 7.0, (0, "other"): 1.0})
        store.set_archived("old", archived=True)
    queries = {panel["title"]: target["rawSql"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    queries |= {one["name"]: one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"}
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        done = {what: connection.execute(written_out(query)) for what, query in queries.items()}
        yield {
            what: ([column.name for column in cursor.description], cursor.fetchall()) for what, cursor in done.items()
        }


def test_the_queries_of_the_dashboard_show_what_is_stored(answers):
    """Each panel and each variable, with a name that has quotes in it, and hours before 1970."""
    assert answers["account"][1] == [("default",)]
    assert answers["data_source"][1] == [("metrics",), ("old",)]
    assert {name for (name,) in answers["series"][1]} == {NAME, "visits", "other"}
    columns, rows = answers["Series over time, means of each interval"]
    assert columns == ["time", "metric", "value"]
    assert sorted(rows) == [
        (-7200.0, NAME, -5400.0),
        (-3600.0, NAME, -60.0),
        (0.0, NAME, 900.0),
        (0.0, "visits", 7.0),
        (3600.0, NAME, 3600.0),
    ]
    moment = datetime.fromtimestamp(60, timezone.utc)
    assert ("visits", 7.0, moment) in answers["The last observation of each series"][1]
    assert len(answers["The last observation of each series"][1]) == 2
    assert all(ago > 0 for _, ago in answers["Since the last observation"][1])
    columns, rows = answers["Data sources"]
    assert columns == ["data_source", "archived", "series", "first observation", "last observation"]
    assert rows[1] == ("old", True, 0, None, None)


def test_the_dashboard_can_be_imported():
    """It names no store of ours: each panel has the one that is chosen. Panels have ids of their own, and places."""
    panels = DASHBOARD["panels"]
    assert (
        DASHBOARD["templating"]["list"][0] | {"name": "store", "type": "datasource"}
        == DASHBOARD["templating"]["list"][0]
    )
    sources = [panel["datasource"]["uid"] for panel in panels]
    sources += [target["datasource"]["uid"] for panel in panels for target in panel["targets"]]
    assert set(sources) == {"${store}"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
