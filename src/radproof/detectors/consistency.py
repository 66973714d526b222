# SPDX-License-Identifier: Apache-2.0
"""Does the answer hold when one looks a little differently? An honest image's does, a small perturbation's often not.

Feature squeezing (Xu et al., NDSS 2018) asks for the largest L1 change of the probabilities. Saturated probabilities
hide changes, so logits are compared too and flipped answers counted; and since squeezers differ in what they do to
clean images, the changes are judged together against the clean images' own.
"""
