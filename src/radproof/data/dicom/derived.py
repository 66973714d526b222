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
DX = {  # name -> UID, what it is for
    "Digital X-Ray Image Storage - For Presentation": ("1.2.840.10008.5.1.4.1.1.1.1", "FOR PRESENTATION"),
    "Digital X-Ray Image Storage - For Processing": ("1.2.840.10008.5.1.4.1.1.1.1.1", "FOR PROCESSING"),
}
_CR_NAME = "Computed Radiography Image Storage"
_PARTS = {part: ("816094009", "Chest") for part in ("CHEST", "THORAX")}  # CID 4009
_VIEWS = {  # CID 4010
    "AP": ("399348003", "antero-posterior"),
    "PA": ("272479007", "postero-anterior"),
    "LL": ("399173006", "left lateral"),
    "RL": ("399198007", "right lateral"),
}
_POLARITY = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
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
        return f"{self.kind.upper()} TEST: {self._how}"[:_LONGEST]

    @property
    def text(self) -> str:
        """The derivation, for people."""
        held = f" No pixel is changed by more than {self.levels} of {self.top} grey levels." if self.levels else ""
        return f"{self.kind.upper()} TEST IMAGE, not for diagnosis. Pixels changed by radproof: {self._how}.{held}"

    @property
    def _how(self) -> str:
        return "".join(letter if letter.isprintable() and letter != "\\" else "/" for letter in self.how)


def class_of(facts: Facts) -> str:
    """The SOP class that an image with these facts is written as."""
    if facts.sop_class in DX and _all_of_dx(facts):
        return DX[facts.sop_class][0]
    return CR if facts.sop_class == _CR_NAME else SC


def _all_of_dx(facts: Facts) -> bool:
    """Whether the source told what the DX modules must hold (PS3.3, C.8.11): none of it can be made up."""
    told = facts.intensity and facts.intensity_sign and facts.laterality and facts.burned_in
    spaced = len(facts.imager_pixel_spacing) == 2 and min(facts.imager_pixel_spacing) > 0
    plain = not facts.signed and 6 <= facts.bits_stored <= 16 >= facts.bits_allocated
    plain = plain and facts.rescale_slope in (None, 1.0) and facts.rescale_type in ("", "US")
    upright = facts.presentation_lut_shape == _POLARITY.get(facts.photometric_interpretation)
    return bool(told and spaced and plain and upright and len(facts.orientation) == 2)


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
    if sop_class not in (CR, SC):
        _digital(dataset, facts)


def _technique(dataset: "Dataset", facts: Facts, sop_class: str) -> None:
    if facts.body_part or sop_class == CR:
        dataset.BodyPartExamined = facts.body_part
    if facts.view or sop_class == CR:
        dataset.ViewPosition = facts.view
    if facts.laterality in ("L", "R"):
        dataset.Laterality = facts.laterality
    elif facts.body_part not in _PARTS:  # of what comes in pairs it must stand there
        dataset.Laterality = ""


def _digital(dataset: "Dataset", facts: Facts) -> None:
    """What Digital X-Ray asks for besides."""
    for keyword in ("Laterality", *(() if facts.body_part in _PARTS else ("BodyPartExamined",))):
        if keyword in dataset:  # the image has a laterality of its own; a body part is told with its code or not at all
            delattr(dataset, keyword)
    _put(
        dataset,
        ImageType=["DERIVED", "SECONDARY", ""],
        PresentationIntentType=DX[facts.sop_class][1],
        ImageLaterality=facts.laterality,
        PatientOrientation=list(facts.orientation),
        PixelIntensityRelationship=facts.intensity,
        PixelIntensityRelationshipSign=facts.intensity_sign,
        RescaleSlope=decimal(1),
        RescaleIntercept=decimal(facts.rescale_intercept or 0),
        RescaleType="US",
        LossyImageCompression="01" if facts.lossy else "00",
        DetectorType="",
        PositionerType="",
        AnatomicRegionSequence=_coded(_PARTS.get(facts.body_part)),
        AcquisitionContextSequence=[],
    )
    if facts.view in _VIEWS:
        dataset.ViewCodeSequence = _coded(_VIEWS[facts.view])


def _coded(code: tuple[str, str] | None) -> "list[Dataset]":
    """A sequence of one SNOMED CT code, or of none."""
    from pydicom.dataset import Dataset

    if code is None:
        return []
    item = Dataset()
    _put(item, CodeValue=code[0], CodingSchemeDesignator="SCT", CodeMeaning=code[1])
    return [item]


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
