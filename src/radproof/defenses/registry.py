# SPDX-License-Identifier: Apache-2.0
"""The list of defences that a plan can name, and the parameters that several of them share."""

from typing import Annotated, Literal

from pydantic import Field

from radproof.core.registry import Registry
from radproof.core.types import Defense

defense: Registry[Defense] = Registry("defense")

Quality = Annotated[int, Field(ge=1, le=100, description="JPEG quality as libjpeg counts it.")]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
Lambda = Annotated[float, Field(gt=0, le=10, description="lambda: the price of total variation; larger is smoother.")]
Gap = Annotated[
    float, Field(ge=1e-5, le=0.5, description="Stop at this duality gap, relative to the objective: a bound on error.")
]
Votes = Annotated[int, Field(ge=1, le=1000, description="Random draws whose logits are averaged for an answer.")]
Iterations = Annotated[int, Field(ge=1, le=100_000, description="Give up after so many iterations per image.")]
