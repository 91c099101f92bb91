"""Plan: what an upsert would do, before it does it, and which stored rows a frame no longer has.

Comes in: counts and arrays that a store or a mirror has compared. Goes out: plans, ghosts, and what exceeds a limit.
Never: reads or writes a database (``store/compare.py`` does), or changes what is stored.

The rooms
---------
``within``  which stored rows an upsert is about: windows of time, names of series
``inputs``  the keys of a frame, valid or not
``ghosts``  stored rows of these windows whose key is not in the frame
``changes`` rows whose value would change, and by how much
``plan``    Plan: new, changed, unchanged, ghosts; series by series
``limits``  how much of that may happen
"""

from temporis_dagster.data_source.plan.ghosts import Ghosts
from temporis_dagster.data_source.plan.limits import Limits
from temporis_dagster.data_source.plan.plan import Plan
from temporis_dagster.data_source.plan.within import Within

__all__ = ["Ghosts", "Limits", "Plan", "Within"]
