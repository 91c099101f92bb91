"""The local service: the Temporis API over a store. Needs the extra ``[service]``.

For development, for tests, and for teams that host their own service. What the API's documentation leaves open is
decided in ``answers`` (the answers) and ``records`` (what a record may be), where it is marked ``choice``.

Rooms, from the socket inwards:

* ``serve``: the server on a listening socket. ``connection``: one client's socket, bounded in time and bytes.
* ``middleware``: what HTTP demands of every request and answer. ``access_log``: one line per request.
* ``app``: the routes and the order of the checks. ``body``: the bytes of a request, and the memory for all of them.
* ``records``: JSON becomes observations. ``answers``: every refusal.
* ``metrics``: what was answered and stored, for Prometheus. ``log_lines``: the log as JSON.
"""

from temporis_dagster.service.app import application
from temporis_dagster.service.serve import serve

__all__ = ["application", "serve"]
