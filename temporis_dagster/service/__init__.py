"""The local service: the Temporis API over a store. Needs the extra ``[service]``.

For development, for tests, and for teams that host their own. What the API's documentation leaves open is decided in
``answers`` (what is answered) and ``records`` (what a record may be), where it is marked ``choice``.
"""

from temporis_dagster.service.app import application
from temporis_dagster.service.serve import serve

__all__ = ["application", "serve"]
