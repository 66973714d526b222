"""From a manifest to tensors, and to resampled files that say where they came from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radproof.core.depth import EIGHT, SIXTEEN, Depth
from radproof.core.files import sha256_file
from radproof.data.audit import audit
from radproof.data.images import StoredImage, read_image, resize
from radproof.data.load import grids, import_images, load_image, load_images, partition, read_sample, store
from radproof.data.manifest import Manifest, Sample
from radproof.data.shortcuts import thumbnail_features
from radproof.data.twins import thumbnail
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
    assert loaded.depths == (EIGHT, EIGHT, EIGHT, SIXTEEN, EIGHT)
    assert [tuple(x.shape) for x in loaded.images] == [(1, 32, 32), (3, 32, 32), (1, 40, 40), (1, 32, 32), (1, 32, 32)]
    for image, picture, depth in zip(loaded.images, pictures, loaded.depths, strict=True):
        assert image.dtype == torch.float32
        levels = (image.double() * depth.top).round().permute(1, 2, 0).squeeze(2).numpy()
        assert (levels == picture).all()


def test_grids_and_their_partition(mixed):
    manifest, _ = mixed
    stored = grids(manifest.samples, manifest.root)
    sizes = [(32, 32, 1), (32, 32, 3), (40, 40, 1), (32, 32, 1), (32, 32, 1)]
    assert stored == [(*size, depth) for size, depth in zip(sizes, (EIGHT, EIGHT, EIGHT, SIXTEEN, EIGHT), strict=True)]
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
    assert first.depth == SIXTEEN
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


@pytest.fixture
def windowed(tmp_path):
    """Images of 16 bits whose grey levels end at 3000, the last at 2000; the second is held."""
    depths, samples = (Depth(3000), Depth(3000, held=True), Depth(2000)), []
    for i, depth in enumerate(depths):
        pixels = np.random.default_rng(i).integers(0, depth.top + 1, (24, 24, 1)).astype(np.uint16)
        pixels[0, 0], pixels[0, 1] = 0, depth.top
        samples.append(store(Sample(f"id{i}", "", f"p{i}", ("A",)), StoredImage(pixels, depth), tmp_path / "source"))
    return Manifest(tmp_path / "source", ("A",), tuple(samples)), depths


def test_grey_levels_end_where_the_sample_says(windowed):
    manifest, depths = windowed
    assert [(s.top, s.held) for s in manifest.samples] == [(3000, False), (3000, True), (2000, False)]
    loaded = load_images(manifest.samples, manifest.root)
    assert loaded.depths == depths
    for image, sample, depth in zip(loaded.images, manifest.samples, depths, strict=True):
        stored = np.asarray(Image.open(manifest.root / sample.path)).astype(np.float64)
        assert (float(image.min()), float(image.max())) == (0, 1)
        np.testing.assert_allclose(image[0].numpy(), stored / depth.top, atol=1e-7)


def test_images_of_different_tops_are_never_in_one_batch(windowed):
    manifest, depths = windowed
    stored = grids(manifest.samples, manifest.root)
    assert stored == [(24, 24, 1, depth) for depth in depths]
    assert partition(stored, 8) == ((0,), (1,), (2,))
    alike = [replace(sample, held=False) for sample in manifest.samples]
    assert partition(grids(alike, manifest.root), 8) == ((0, 1), (2,))


def test_a_file_with_other_levels_than_its_sample_tells_is_refused(windowed, mixed):
    manifest, _ = windowed
    wrong = replace(manifest.samples[0], top=2999)
    for work in (load_images, grids):
        with pytest.raises(BadImage, match=r"image id0: .*grey level 3000.*end at 2999"):
            work([wrong], manifest.root)
    with pytest.raises(BadImage, match=r"images/id0\.png: .*grey level 3000"):
        import_images(manifest.only([wrong]), manifest.root / "out", size=None)
    assert audit(manifest.only([wrong])).unreadable[0].reason.startswith("the file holds the grey level 3000")
    eight, _ = mixed
    with pytest.raises(BadImage, match=r"image id0: the file holds 8 bits, too few for the levels 0\.\.3000"):
        load_image(replace(eight.samples[0], top=3000), eight.root)


def test_imported_pixels_are_held_as_long_as_they_are_the_files_own(windowed, tmp_path):
    manifest, _ = windowed
    kept = import_images(manifest, tmp_path / "kept", size=None)
    assert [(s.top, s.held) for s in kept.samples] == [(3000, False), (3000, True), (2000, False)]
    assert [s.sha256 for s in kept.samples] == [s.sha256 for s in manifest.samples]
    for changed in (
        import_images(manifest, tmp_path / "small", size=12),
        import_images(manifest, tmp_path / "seen", size=None, window=(0.1, 0.9)),
    ):
        assert [(s.top, s.held) for s in changed.samples] == [(3000, False), (3000, False), (2000, False)]
        assert max(float(image.max()) for image in load_images(changed.samples, changed.root).images) <= 1
        for before, after in zip(manifest.samples, changed.samples, strict=True):
            means = [float(load_image(s, m.root).mean()) for s, m in ((before, manifest), (after, changed))]
            assert means[0] == pytest.approx(means[1], abs=0.02)


def test_a_glance_at_a_window_is_as_bright_as_the_window(windowed):
    """Neither twins nor shortcuts see 3001 levels of 65536 as darkness."""
    manifest, depths = windowed
    for sample, depth in zip(manifest.samples, depths, strict=True):
        share = np.asarray(Image.open(manifest.root / sample.path)).mean() / depth.top
        assert float(thumbnail(read_sample(sample, manifest.root)).mean()) == pytest.approx(share, abs=0.01)
        assert float(thumbnail_features(sample, manifest.root)[16:].mean()) == pytest.approx(share, abs=0.01)
