"""Data sets of other formats are read once for the same files, the same wishes and the same version."""

import nibabel
import numpy as np

from radproof.core.guard_process import INSIDE
from radproof.data import foreign


def test_another_version_reads_anew(tmp_path, monkeypatch):
    monkeypatch.setenv(INSIDE, "1")  # works in this process: starting one takes seconds
    (tmp_path / "in").mkdir()
    for name in "ab":
        image = nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
        nibabel.save(image, tmp_path / "in" / f"{name}.nii")
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\na,x\nb,y\n")

    def places():
        foreign.import_foreign("nifti", tmp_path / "in", tmp_path / "cache", {"labels": str(labels)})
        return len(list((tmp_path / "cache").iterdir()))

    assert [places(), places()] == [1, 1]
    monkeypatch.setattr(foreign, "__version__", "999")
    assert places() == 2
