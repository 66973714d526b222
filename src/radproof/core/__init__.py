# SPDX-License-Identifier: Apache-2.0
"""The nouns that everything else is made of."""
