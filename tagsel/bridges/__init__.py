"""Event lists for other systems: the files that PanDA, Ganga, CRAB, edmPickEvents and POOL take as their input.

Invariant: no server is asked, and the same list, catalog and settings give the same bytes.
"""

from tagsel.bridges.order import Order, Written
from tagsel.bridges.systems import SYSTEMS, Exported, System, export

__all__ = ["SYSTEMS", "Exported", "Order", "System", "Written", "export"]
