"""From a manifest to tensors, and to resampled files that say where they came from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radproof.core.files import sha256_file
from radproof.data.images import read_image, resize
from radproof.data.load import grids, import_images, load_image, load_images, partition
from radproof.data.manifest import Manifest, Sample
from radproof.errors import BadImage, BadPlan


@pytest.fixture
def mixed(tmp_path, film, saved):
    root = tmp_path / "source"
    colour = np.stack([film(1, 32), film(2, 32), film(3, 32)], 2)
    pictures = [film(0, 32), colour, film(4, 40), film(5, 32).astype(np.uint16) * np.uint16(257), film(6, 32)]
    samples = []
    for i, picture in enumerate(pictures):
        path = saved(root / f"{i}.png", picture)
        samples.append(Sample(f"id{i}", path.name, f"p{i}", ("A",), sha256=sha256_file(path)))
    return Manifest(root, ("A",), tuple(samples), "softmax", {"kind": "folder"}), pictures


def test_images_come_on_their_stored_grid(mixed):
    manifest, pictures = mixed
    loaded = load_images(manifest.samples, manifest.root)
    assert loaded.bits == (8, 8, 8, 16, 8)
    assert [tuple(x.shape) for x in loaded.images] == [(1, 32, 32), (3, 32, 32), (1, 40, 40), (1, 32, 32), (1, 32, 32)]
    for image, picture, bits in zip(loaded.images, pictures, loaded.bits, strict=True):
        assert image.dtype == torch.float32
        levels = (image.double() * (2**bits - 1)).round().permute(1, 2, 0).squeeze(2).numpy()
        assert (levels == picture).all()


def test_grids_and_their_partition(mixed):
    manifest, _ = mixed
    stored = grids(manifest.samples, manifest.root)
    assert list(stored) == [(32, 32, 1, 8), (32, 32, 3, 8), (40, 40, 1, 8), (32, 32, 1, 16), (32, 32, 1, 8)]
    assert partition(stored, 4) == ((0, 4), (1,), (2,), (3,))


@given(st.lists(st.sampled_from([(1, 1), (2, 1), (2, 2)]), max_size=30), st.integers(1, 7))
def test_a_partition_holds_every_index_once_in_batches_of_one_shape(shapes, batch):
    batches = partition(shapes, batch)
    assert sorted(i for rows in batches for i in rows) == list(range(len(shapes)))
    assert all(0 < len(rows) <= batch and len({shapes[i] for i in rows}) == 1 for rows in batches)
    assert all(list(rows) == sorted(rows) for rows in batches)
    assert sum(len(rows) < batch for rows in batches) <= len(set(shapes))
    assert partition(shapes, batch) == batches


def test_a_batch_is_not_empty():
    with pytest.raises(BadPlan, match="at least 1"):
        partition([(1, 1)], 0)


def test_loading_at_a_size_equals_importing_at_it(mixed, tmp_path):
    manifest, _ = mixed
    made = import_images(manifest, tmp_path / "out", size=16)
    for before, after in zip(manifest.samples, made.samples, strict=True):
        assert torch.equal(load_image(after, made.root), load_image(before, manifest.root, size=16))


def test_imported_images_say_where_they_came_from(mixed, tmp_path):
    manifest, _ = mixed
    old = {"step": "draw", "seed": 1}
    manifest = manifest.only([replace(s, chain=(old,)) for s in manifest.samples])
    out = tmp_path / "out"
    made = import_images(manifest, out, size=16)
    assert Manifest.read(out) == made
    for before, after in zip(manifest.samples, made.samples, strict=True):
        step = {"step": "resize", "longer_side": 16, "filter": "lanczos", "from": before.sha256}
        assert after.chain == (old, step)
        assert after.sha256 == sha256_file(out / after.path)
        assert after.id == before.id
        assert (after.patient, after.labels) == (before.patient, before.labels)
    first = resize(read_image(manifest.root / "3.png"), 16)
    assert (read_image(out / "images" / "id3.png").pixels == first.pixels).all()
    assert first.bits == 16
    again = import_images(manifest, tmp_path / "again", size=16)
    assert [s.sha256 for s in again.samples] == [s.sha256 for s in made.samples]


def test_damaged_files_are_named_by_id_or_within_the_source(mixed, tmp_path):
    manifest, _ = mixed
    (manifest.root / "2.png").write_bytes(b"no image")
    for work in (load_images, grids):
        with pytest.raises(BadImage, match="image id2: the content is none of") as caught:
            work(manifest.samples, manifest.root)
        assert "2.png" not in str(caught.value)
    with pytest.raises(BadImage, match=r"2\.png: the content is none of"):
        import_images(manifest, tmp_path / "out", size=16)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
