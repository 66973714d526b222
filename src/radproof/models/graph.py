# SPDX-License-Identifier: Apache-2.0
"""Imported graphs made usable: `tidy` them, `take_off` their softmax, `cut` them into backbone and top."""

from radproof.models.graph_backbone import GraphBackbone
from radproof.models.graph_clean import notes_of, tidy
from radproof.models.graph_cut import cut
from radproof.models.graph_end import take_off

__all__ = ["GraphBackbone", "cut", "notes_of", "take_off", "tidy"]
