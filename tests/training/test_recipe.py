import pytest
from pydantic import ValidationError

from radproof.training.recipe import AugmentRecipe, TrainingRecipe, plain, without_folders


def test_defaults_are_the_published_recipe_made_safe_for_the_thorax():
    recipe = TrainingRecipe()
    assert (recipe.architecture, recipe.hidden, recipe.dropout, recipe.unfreeze) == ("densenet121", 256, 0.5, 50)
    assert (recipe.optimiser, recipe.lr, recipe.batch) == ("adam", 1e-5, 32)
    assert recipe.augment.enabled
    assert not recipe.augment.flip


def test_json_round_trip():
    recipe = TrainingRecipe(unfreeze="all", augment=AugmentRecipe(enabled=False), weights="w.safetensors")
    assert TrainingRecipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-3},
        {"lr": 0},
        {"lr": float("nan")},
        {"dropout": 1.0},
        {"unfreeze": "some"},
        {"unfreeze": -1},
        {"batch": 3},
        {"optimiser": "sgd"},
        {"epochs": -1},
        {"seed": -1},
        {"input_size": 4},
        {"augment": {"vertical_flip": True}},
        {"augment": {"rotation": 90}},
    ],
)
def test_refuses(changes):
    with pytest.raises(ValidationError):
        TrainingRecipe(**changes)


def test_every_parameter_is_described():
    for record in (TrainingRecipe, AugmentRecipe):
        assert all(entry.description for entry in record.model_fields.values())


def test_digests_know_an_inner_attacks_file_by_its_content_and_cards_by_its_name(tmp_path):
    told = []
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "style.onnx"
        file.write_bytes(content)
        recipe = TrainingRecipe.model_validate({"adversarial": {"attack": {"name": "stm", "network": str(file)}}})
        told.append(plain(recipe)["adversarial"]["attack"]["params"]["network"])
        assert (
            without_folders(recipe, lambda path: path.name)["adversarial"]["attack"]["params"]["network"] == file.name
        )
    assert told[0] == told[1] != told[2]
    assert str(tmp_path) not in "".join(told)
