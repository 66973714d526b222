# SPDX-License-Identifier: Apache-2.0
"""JPEG, then total-variation minimisation: the hybrid that is often proposed for chest radiographs."""

from radproof.core.types import Defense
from radproof.defenses.compose import Composed
from radproof.defenses.jpeg import Jpeg
from radproof.defenses.registry import Gap, Iterations, Lambda, Quality, Subsampling, defense
from radproof.defenses.tvm import Tvm


@defense(title="JPEG, then total-variation minimisation", paper="Guo et al., ICLR 2018")
def jpeg_tvm(
    quality: Quality = 75,
    subsampling: Subsampling = "4:2:0",
    lam: Lambda = 0.1,
    gap: Gap = 1e-3,
    max_iterations: Iterations = 500,
) -> Defense:
    """The JPEG codec first, then min ‖u − f‖² + lambda TV(u) of what it decoded."""
    return Composed((Jpeg(quality, subsampling), Tvm(lam, gap, max_iterations)))
