# SPDX-License-Identifier: Apache-2.0
"""Attacks by someone who knows the detector: fool the model, and look usual while doing so."""

from radproof.attacks.aware import evasion, feature_constrained, orthogonal

__all__ = ["evasion", "feature_constrained", "orthogonal"]
