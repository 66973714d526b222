# SPDX-License-Identifier: Apache-2.0
"""What randomised smoothing proved."""

from radproof.core.records import Estimate, Record


class CertifiedAt(Record):
    """One point of the curve of certified accuracy."""

    radius: float  # L2, in [0, 1] pixel units
    accuracy: Estimate  # answered rightly, and proved to stay so up to this radius; abstentions count as wrong


class Certificate(Record):
    """What randomised smoothing proved of one image."""

    sample: str
    truth: str
    selected: str  # most frequent among the selection draws
    hits: int  # estimation draws with that answer
    p_low: float  # lower bound of its probability
    answer: str | None  # the certified class; None: abstained
    radius: float  # L2, in [0, 1] pixel units; 0 where it abstained
    predicted: str | None  # what the smoothed network answers; None: abstained


class Certified(Record):
    """Randomised smoothing of one network."""

    network: str  # "model", or a hardened network's name
    sigma: float  # of the noise, in [0, 1] pixel units
    n0: int  # draws that select a class
    n: int  # draws that estimate its probability
    alpha: float  # chance that one certificate is wrong
    cap: float  # the largest radius that so many draws can prove
    values: int  # pixel values of an image (of the largest)
    images: int
    plain: Estimate  # accuracy of the network itself, without noise
    accuracy: Estimate  # of the smoothed network; abstentions count as wrong
    abstained: Estimate  # share of images without a certificate
    curve: tuple[CertifiedAt, ...]
    average_radius: Estimate  # wrong and abstained images count 0
    certificates: tuple[Certificate, ...]
