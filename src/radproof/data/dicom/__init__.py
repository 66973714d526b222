# SPDX-License-Identifier: Apache-2.0
"""DICOM files in: checked by their header before a pixel is decoded, shown as the file says, and without a name.

`read.read_dicom` reads one image, `folder.read_dicom_folder` a folder of them into PNG files and a manifest.
"""
