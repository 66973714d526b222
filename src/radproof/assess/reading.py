# SPDX-License-Identifier: Apache-2.0
"""What a guarded process may read: the files that were named and those that belong to them, never what lies beside."""

from collections.abc import Iterator
from pathlib import Path

from radproof.assess.plan import FILES, Plan
from radproof.assess.sections import DataPlan
from radproof.data.manifest import NAME, Manifest
from radproof.data.shards import shard_paths
from radproof.errors import BadData
from radproof.models.card import CARD


def of_model(path: Path) -> list[Path]:
    """A model's folder; or its file, where it leads, and the cards beside either."""
    if path.is_dir():
        return [path]
    places = dict.fromkeys((path, path.resolve()))
    cards = [file.with_name(name) for file in places for name in (f"{file.stem}.card.yaml", CARD)]
    return [*places, *(card for card in cards if card.is_file())]


def of_data(data: DataPlan) -> list[Path]:
    """A data set's folder, file or shards, its tables, and where a manifest's images lie. Raises BadData."""
    return [*(Path(table) for table in (data.labels, data.patients) if table), *_of_images(data)]


def of_plan(plan: Plan) -> list[Path]:
    """Every file and folder that the work on a plan reads."""
    recipes = [other.train for other in (plan.model, *plan.surrogates.values(), *plan.hardened.values())]
    told = [plan.model.card, *(recipe.weights for recipe in recipes if recipe is not None)]
    for part in (*plan.attacks, *plan.adaptive, *plan.detection.aware):
        told += [part.params[key] for key in FILES if isinstance(part.params.get(key), str)]
    found = [*of_data(plan.data), *(path for network in networks(plan) for path in of_model(network))]
    return [path for path in (*found, *(Path(name) for name in told if name)) if path.exists()]


def networks(plan: Plan) -> Iterator[Path]:
    """Every network that a plan names by path."""
    for other in (plan.model, *plan.surrogates.values(), *plan.hardened.values()):
        if other.path is not None:
            yield Path(other.path)


def image_root(manifest: Path) -> Path:
    """Where a manifest's images lie. Raises BadData where a guarded process would see a whole home or machine."""
    root = Manifest.read(manifest).root
    if _holds_home(root):
        raise BadData(
            f"{manifest.name} says that its images lie in a folder which holds the whole home folder or disk; "
            "a guarded process would read it all: move the data set into a folder of its own, and import it again"
        )
    return root


def own_images(manifest: Path) -> Manifest:
    """The manifest of images that a guarded process left: they lie in its own folder. Raises BadData otherwise."""
    found = Manifest.read(manifest)
    folder = manifest if manifest.is_dir() else manifest.parent
    if found.root.resolve() != folder.resolve():
        raise BadData("the manifest of a run's images says that they lie elsewhere; it was changed, make the run again")
    return found


def _of_images(data: DataPlan) -> list[Path]:
    if data.path is None:
        return []
    path = Path(data.path)
    if path.is_dir():
        return [path, *([image_root(path / NAME)] if (path / NAME).is_file() else [])]
    if not path.exists() and data.kind == "webdataset":
        return shard_paths(path)
    return [path, *([image_root(path)] if path.is_file() and path.suffix == ".parquet" else [])]


def _holds_home(root: Path) -> bool:
    real = root.resolve()
    if real == Path(real.anchor):
        return True
    try:
        home = Path.home().resolve()
    except RuntimeError:
        return False
    return home.is_relative_to(real)
