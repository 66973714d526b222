# SPDX-License-Identifier: Apache-2.0
"""What may be kept of a DICOM header: a short list of technique, and of words that the standard itself defines.

A keep-list, not a list of what to remove: names hide in too many places. Words of free choice are dropped even where
their element is kept, for people write names into them.
"""

import re
from typing import TYPE_CHECKING

from radproof.core.records import Record
from radproof.data.dicom import terms
from radproof.data.dicom.header import Header
from radproof.data.dicom.look import macro
from radproof.data.dicom.values import items_of, numbers_of, registered_name, values_of
from radproof.data.inventory import parse_age, pseudonym

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_VIEW_CODES = {"R-10206": "AP", "R-10214": "PA", "R-10236": "LL", "R-10232": "RL"}  # SNOMED RT, CID 4010
_VIEW_WORDS = (
    (r"postero-?anterior", "PA"),
    (r"antero-?posterior", "AP"),
    (r"\bleft lateral\b", "LL"),
    (r"\bright lateral\b", "RL"),
    (r"\blateral\b", "LATERAL"),
)


class Facts(Record):
    """The technique of one image: no UID, name, date, place, device number, comment or private element."""

    modality: str = ""
    sop_class: str = ""
    image_type: tuple[str, ...] = ()
    view: str = ""
    laterality: str = ""
    body_part: str = ""
    age: int | None = None  # years
    sex: str = ""  # M, F or O
    rows: int
    columns: int
    frames: int = 1
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric_interpretation: str
    presentation_lut_shape: str = ""
    rescale_slope: float | None = None
    rescale_intercept: float | None = None
    rescale_type: str = ""
    window_centers: tuple[float, ...] = ()
    window_widths: tuple[float, ...] = ()
    voi_lut_function: str = ""
    pixel_spacing: tuple[float, ...] = ()  # mm, rows then columns, as the file says
    imager_pixel_spacing: tuple[float, ...] = ()
    transfer_syntax: str
    lossy: bool = False
    lossy_ratios: tuple[float, ...] = ()
    lossy_methods: tuple[str, ...] = ()
    kvp: float | None = None
    exposure: float | None = None  # mAs
    exposure_time: float | None = None  # ms
    burned_in: str = ""  # YES or NO, where the file says whether letters are in the pixels
    orientation: tuple[str, ...] = ()  # where rows and columns lead: ("L", "F")
    intensity: str = ""  # LIN or LOG, of the X-ray beam
    intensity_sign: int | None = None  # 1 or -1


def facts_of(header: Header, frame: int = 0) -> Facts:
    """The facts of one frame."""
    dataset, shape = header.dataset, header.shape
    modality = macro(dataset, "PixelValueTransformationSequence", frame)
    voi = macro(dataset, "FrameVOILUTSequence", frame)
    return Facts(
        modality=_word(dataset, "Modality", terms.MODALITIES),
        sop_class=registered_name(header.text("SOPClassUID")),
        image_type=_words(dataset, "ImageType", terms.IMAGE_TYPES),
        view=view_of(dataset),
        laterality=_word(dataset, "ImageLaterality", terms.LATERALITIES)
        or _word(dataset, "Laterality", terms.LATERALITIES),
        body_part=_word(dataset, "BodyPartExamined", terms.BODY_PARTS),
        age=parse_age(header.text("PatientAge")),
        sex=_word(dataset, "PatientSex", terms.SEXES),
        rows=shape.rows,
        columns=shape.columns,
        frames=shape.frames,
        bits_allocated=shape.allocated,
        bits_stored=shape.stored,
        high_bit=shape.high,
        signed=shape.signed,
        photometric_interpretation=shape.photometric,
        presentation_lut_shape=_word(dataset, "PresentationLUTShape", terms.SHAPES),
        rescale_slope=_number(modality, "RescaleSlope"),
        rescale_intercept=_number(modality, "RescaleIntercept"),
        rescale_type=_word(modality, "RescaleType", terms.UNITS),
        window_centers=tuple(numbers_of(voi, "WindowCenter")),
        window_widths=tuple(numbers_of(voi, "WindowWidth")),
        voi_lut_function=_word(voi, "VOILUTFunction", terms.FUNCTIONS),
        pixel_spacing=tuple(numbers_of(macro(dataset, "PixelMeasuresSequence", frame), "PixelSpacing")),
        imager_pixel_spacing=tuple(numbers_of(dataset, "ImagerPixelSpacing")),
        transfer_syntax=header.syntax.name,
        lossy=header.text("LossyImageCompression") == "01" or header.syntax.lossy,
        lossy_ratios=tuple(numbers_of(dataset, "LossyImageCompressionRatio")),
        lossy_methods=_words(dataset, "LossyImageCompressionMethod", terms.LOSSY),
        kvp=_number(dataset, "KVP"),
        exposure=_number(dataset, "Exposure"),
        exposure_time=_number(dataset, "ExposureTime"),
        burned_in=_word(dataset, "BurnedInAnnotation", terms.YES_NO),
        orientation=_words(dataset, "PatientOrientation", terms.DIRECTIONS),
        intensity=_word(dataset, "PixelIntensityRelationship", terms.INTENSITIES),
        intensity_sign=_sign(dataset, "PixelIntensityRelationshipSign"),
    )


def patient_of(header: Header, key: bytes) -> str:
    """A keyed pseudonym from the patient's number and who gave it, "" where the file has none."""
    number = header.text("PatientID")
    issuer = header.text("IssuerOfPatientID")
    return pseudonym(f"{issuer}/{number}" if issuer and number else number, key)


def view_of(dataset: "Dataset") -> str:
    """PA, AP, LL, ... by ViewPosition, else by the code of the view; "" where neither says."""
    view = _word(dataset, "ViewPosition", terms.VIEWS)
    if view:
        return view
    for item in items_of(dataset, "ViewCodeSequence")[:1]:
        code = " ".join(str(value).strip() for value in values_of(item, "CodeValue")[:1])
        meaning = " ".join(str(value).lower() for value in values_of(item, "CodeMeaning")[:1])
        named = next((name for pattern, name in _VIEW_WORDS if re.search(pattern, meaning)), "")
        return _VIEW_CODES.get(code, named)
    return ""


def _word(dataset: "Dataset", keyword: str, known: frozenset[str]) -> str:
    found = _words(dataset, keyword, known)
    return found[0] if found else ""


def _words(dataset: "Dataset", keyword: str, known: frozenset[str]) -> tuple[str, ...]:
    words = (str(value).strip("\x00 ").upper() for value in values_of(dataset, keyword)[:8])
    return tuple(word for word in words if word in known)


def _number(dataset: "Dataset", keyword: str) -> float | None:
    found = numbers_of(dataset, keyword)
    return found[0] if len(found) == 1 else None


def _sign(dataset: "Dataset", keyword: str) -> int | None:
    found = _number(dataset, keyword)
    return int(found) if found in (1, -1) else None
