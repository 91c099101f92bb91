"""The dashboard: pages on which people look at the data sources of a store, and manage them and their tokens.

Part of ``temporis serve``, and of the extra ``[service]``. Each page is complete without JavaScript, and has a twin in
JSON. It keeps nothing: the store has the data sources and the tokens, the browser has the session in a signed cookie.

Rooms, from the request inwards:

* ``routes``: the paths, and what is checked before a page is made. ``forms``: the body of a request as fields.
  ``headers``: what browsers have to obey on each page. ``turns``: how much is done at once.
* ``login``: who may come in. ``attempts``: how often that may be tried. ``sessions``: the cookie of those who are in.
  ``csrf``: that a form comes from a page of theirs.
* ``visit``: what the pages know of a request. ``sources_page``, ``source_page``, ``tokens_page`` and ``activity_page``:
  the content of each page. ``selection``: the query of a URL. ``activity``: what this process has answered lately.
  ``pending``: what waits in a mirror. ``csv_rows``: the file of a data source.
* ``rendering``: one content as a page or as JSON. ``formatting``: numbers and times. ``drawing``: SVG.

``templates`` and ``static`` have the markup, one style sheet and one script. Next to them is uPlot 1.6.32, unchanged,
with its licence (npm package ``uplot``).
"""

from temporis_dagster.dashboard.login import LoginOptions
from temporis_dagster.dashboard.routes import Dashboard

__all__ = ["Dashboard", "LoginOptions"]
