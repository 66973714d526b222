# SPDX-License-Identifier: Apache-2.0
"""What a detector that learnt from pixels asks of images: as many channels as those it learnt from."""

from torch import Tensor

from radproof.errors import BadInput


def require_channels(x: Tensor, channels: int, what: str) -> None:
    """Raise BadInput where images have another number of channels than those a detector learnt."""
    if x.shape[1] != channels:
        raise BadInput(
            f"this {what} detector learnt images with {_told(channels)}, got {_told(x.shape[1])}; "
            "load images as they were loaded for it, or fit it again on such images"
        )


def _told(channels: int) -> str:
    return f"{channels} channel{'s' * (channels > 1)}"
