# SPDX-License-Identifier: Apache-2.0
"""What a written image says of itself: derived, a test, of nobody. A keep-list: nothing else of the source gets in.

SOP class: Computed Radiography stays; Digital X-Ray stays where the source told all that its class asks for; everything
else, and every image of another size than its source, is Secondary Capture, the single-frame class that takes any
bits, signs and windows and MONOCHROME1 too.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from radproof import __version__
from radproof.data.dicom.burn import TEXT, Box
from radproof.data.dicom.deidentify import Facts
from radproof.data.dicom.uids import PATIENT, Identity

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CR, SC = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
_CR_NAME = "Computed Radiography Image Storage"
_LONGEST = 64  # characters of an LO element
# Type 2: must stand there and may be empty. Who the patient is and when and where it was is not told.
_EMPTY = (
    "PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName PatientOrientation"
)


@dataclass(frozen=True)
class Told:
    """What was done to the image, for its header: nothing of the patient or of the file that it came from."""

    how: str  # 'pgd, eps 4/255': what changed the pixels
    kind: str = "adversarial"  # or defended, corrupted
    levels: int | None = None  # E, where every pixel is held to so many grey levels
    top: int = 0  # the grey level that is white

    @property
    def series(self) -> str:
        """'ADVERSARIAL TEST: pgd, eps 4/255'."""
        return f"{self.kind.upper()} TEST: {self.how}"[:_LONGEST]

    @property
    def text(self) -> str:
        """The derivation, for people."""
        held = f" No pixel is changed by more than {self.levels} of {self.top} grey levels." if self.levels else ""
        return f"{self.kind.upper()} TEST IMAGE, not for diagnosis. Pixels changed by radproof: {self.how}.{held}"


def class_of(facts: Facts) -> str:
    """The SOP class that an image with these facts is written as."""
    return CR if facts.sop_class == _CR_NAME else SC


def tell(dataset: "Dataset", facts: Facts, who: Identity, told: Told, *, box: Box | None) -> None:
    """Fill in everything that is not about grey levels. `box`: where text was burnt in."""
    sop_class = class_of(facts)
    burnt = f" Text burnt into {box}, counted from 0; no budget holds there." if box else ""
    _put(
        dataset,
        SpecificCharacterSet="ISO_IR 192",
        ImageType=["DERIVED", "SECONDARY"],
        SOPClassUID=sop_class,
        SOPInstanceUID=who.instance,
        StudyInstanceUID=who.study,
        SeriesInstanceUID=who.series,
        SeriesNumber=1,
        InstanceNumber=1,
        Modality=facts.modality or "OT",
        Manufacturer="radproof",
        SoftwareVersions=__version__,
        StudyDescription="RADPROOF TEST, NOT FOR DIAGNOSIS",
        SeriesDescription=told.series,
        DerivationDescription=(told.text + burnt)[:1024],
        ImageComments=TEXT if told.kind == "adversarial" else f"{told.kind.upper()} TEST IMAGE",
        PatientName=PATIENT,
        PatientID=who.patient,
        PatientIdentityRemoved="YES",
        DeidentificationMethod="radproof: written anew, of the source only its technique",
        LongitudinalTemporalInformationModified="REMOVED",
        **dict.fromkeys(_EMPTY.split(), ""),
    )
    annotation = "YES" if box else facts.burned_in
    if annotation:  # else nobody has looked, and to be silent says so
        dataset.BurnedInAnnotation = annotation
    if sop_class == SC:
        _put(dataset, ConversionType="WSD", SecondaryCaptureDeviceManufacturer="radproof")
    _technique(dataset, facts, sop_class)
    if facts.lossy:
        _lossy(dataset, facts)


def _technique(dataset: "Dataset", facts: Facts, sop_class: str) -> None:
    if facts.body_part or sop_class == CR:
        dataset.BodyPartExamined = facts.body_part
    if facts.view or sop_class == CR:
        dataset.ViewPosition = facts.view
    if facts.laterality in ("L", "R"):
        dataset.Laterality = facts.laterality


def spacing(dataset: "Dataset", facts: Facts) -> None:
    """The size of a pixel, of images that keep their source's pixels."""
    for keyword, found in (("PixelSpacing", facts.pixel_spacing), ("ImagerPixelSpacing", facts.imager_pixel_spacing)):
        if len(found) == 2 and min(found) > 0:
            setattr(dataset, keyword, [decimal(value) for value in found])


def _lossy(dataset: "Dataset", facts: Facts) -> None:
    """What was once lost stays lost, however the pixels are stored now."""
    dataset.LossyImageCompression = "01"
    if facts.lossy_ratios:
        dataset.LossyImageCompressionRatio = [decimal(ratio) for ratio in facts.lossy_ratios]
    if facts.lossy_methods:
        dataset.LossyImageCompressionMethod = list(facts.lossy_methods)


def decimal(value: float) -> Any:
    """A number as DICOM writes it, in at most 16 characters."""
    from pydicom.valuerep import DSfloat

    return DSfloat(value, auto_format=True)


def _put(dataset: "Dataset", **values: Any) -> None:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
