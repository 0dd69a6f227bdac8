"""Pictures of a study: figures over the epochs, one figure against another, maps side by side.

All are functions of values; `wsrpn.report.draw.save` writes them. An arm has the colour of its
place in the study in all of them, as in the forest plot of `wsrpn.report.compare`.
"""

from wsrpn.report.over_epochs import curves
from wsrpn.report.pick import chosen
from wsrpn.report.side_by_side import maps
from wsrpn.report.tradeoff import pareto

__all__ = ["chosen", "curves", "maps", "pareto"]
