"""Scores of tiles: a trained run over slides, slide by slide, on one machine or several."""

from wsrpn.scoring.engine import refuse_radiographs
from wsrpn.scoring.scored import Options, Scored, Stopped, score
from wsrpn.scoring.shards import Shard

__all__ = ["Options", "Scored", "Shard", "Stopped", "refuse_radiographs", "score"]
