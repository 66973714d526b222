# SPDX-License-Identifier: Apache-2.0
"""A Keras configuration, checked and cut down to what answers images: nothing in it names code, or a size unheard of.

Keras rebuilds the cleaned copy, never the file's own text. What matters in training alone (how weights start,
penalties, losses, optimisers) is left out, and every precision becomes float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from radproof.errors import BadModel
from radproof.models.importers.keras_names import (
    ACTIVATIONS,
    DATA,
    LAYERS,
    MODELS,
    OPERATIONS,
    PARTS,
    PLAIN_POLICIES,
    REFUSED,
)

DEPTH = 100
_LEAST = 2**22  # numbers up to this are sizes of images and feature maps
_WIDTHS = frozenset({"units", "filters", "input_dim", "output_dim", "depth_multiplier", "num_heads", "key_dim"})
_TRAINING = frozenset({"compile_config", "shared_object_id", "optimizer", "loss", "metrics", "quantization_config"})
_DROPPED_ENDS = ("_regularizer", "_constraint")
_CONVERT = "the file's owner can convert it where it was made: radproof model convert FILE --out FOLDER"


@dataclass
class Cleaner:
    """One pass over one configuration; `notes` says afterwards what was changed."""

    name: str  # of the file
    elements: int  # weights that it holds
    notes: list[str] = field(default_factory=list[str])

    def network(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration that is safe to rebuild; raises BadModel and says what is wrong with it."""
        if config.get("class_name") not in MODELS:
            raise self._bad(
                f"is a {_shown(config.get('class_name'))}, not a Sequential or functional network, so its code is not "
                "in the file"
            )
        return self._object(config, "", 0)

    def _value(self, value: Any, key: str, owner: str, depth: int) -> Any:
        if depth > DEPTH:
            raise self._bad("is nested too deep in its configuration")
        if key == "training" and value:
            raise self._bad("answers in training mode (training=True in its configuration), so each answer differs")
        if key in ("dtype", "dtype_policy"):
            return self._policy(value)
        if "activation" in key and value is not None:
            return self._activation(value, key, owner, depth)
        if isinstance(value, dict):
            if "class_name" in value:
                return self._object(value, owner, depth + 1)
            return self._entries(value, owner, depth + 1)
        if isinstance(value, list):
            return [self._value(item, key, owner, depth + 1) for item in value]
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value, key, owner)
        return value

    def _entries(self, entries: Mapping[str, Any], owner: str, depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in entries.items():
            if key in _TRAINING:
                continue
            if key.endswith("_initializer"):
                kept[key] = "zeros"
            elif key.endswith(_DROPPED_ENDS):
                kept[key] = None
            elif key == "seed" and not isinstance(value, dict):
                kept[key] = 0
            else:
                kept[key] = self._value(value, key, owner, depth)
        return kept

    def _object(self, entry: Mapping[str, Any], owner: str, depth: int) -> dict[str, Any]:
        kind, module = entry["class_name"], entry.get("module")
        if not isinstance(kind, str):
            raise self._bad("names a class by something that is no text")
        if kind in REFUSED:
            raise self._bad(f"holds {REFUSED[kind]}")
        home = _home(kind, module, entry.get("config"))
        own = module is None or module == "builtins" or str(module).split(".")[0] == "keras"
        if home is None or not own or entry.get("registered_name") not in (None, kind):
            where = "" if module is None else f" of {_shown(module)}"
            raise self._bad(
                f"needs {_shown(kind)}{where}, which is no part of Keras that image classifiers are made of"
            )
        config = entry.get("config")
        if isinstance(config, list):  # Sequential networks of old
            config = {"layers": config}
        if not isinstance(config, dict):
            raise self._bad(f"describes its {kind} by something that is no configuration")
        cleaned = self._entries({key: value for key, value in entry.items() if key != "config"}, kind, depth)
        cleaned["config"] = _modern(kind, self._entries(_with_input(kind, config), kind, depth + 1))
        if kind not in DATA:
            cleaned |= {
                "class_name": "Functional" if kind == "Model" else kind,
                "module": home,
                "registered_name": None,
            }
        return cleaned

    def _activation(self, value: Any, key: str, owner: str, depth: int) -> Any:
        if isinstance(value, dict) and value.get("class_name") == "function":
            value = value.get("config")
        if isinstance(value, str):
            if value not in ACTIVATIONS:
                raise self._bad(f"calls {_shown(value)} as an activation, which is none of Keras's own")
            return value
        if not isinstance(value, dict) or value.get("class_name") not in LAYERS | set(REFUSED):
            raise self._bad(f"has an activation in its {owner} that is none of Keras's own")
        return self._object(value, owner, depth + 1)

    def _policy(self, value: Any) -> str | None:
        if isinstance(value, dict):
            inner = value.get("config")
            value = inner.get("name") if isinstance(inner, dict) else None
        if value is not None and value not in PLAIN_POLICIES | {"uint8", "int32", "int64"}:
            raise self._bad(f"computes in {_shown(value)}, which has no gradients")
        if value not in (None, "float32"):
            self._note(f"computed in float32 where the file says {value}")
        return None if value is None else "float32"

    def _number(self, value: int, key: str, owner: str) -> int:
        most = max(self.elements, 1) if key in _WIDTHS else max(self.elements, _LEAST)
        if abs(value) > most:
            raise self._bad(
                f"has a {owner} whose {_shown(key)} is {value:.3g}, and the file holds {self.elements:,} weights"
            )
        return value

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _bad(self, reason: str) -> BadModel:
        return BadModel(f"{self.name} {reason}; {_CONVERT}")


def _home(kind: str, module: object, config: object) -> str | None:
    """The module that Keras keeps this class in; None: it is not allowed."""
    bare = module is None and kind in OPERATIONS and isinstance(config, dict) and "trainable" not in config
    if bare or str(module).startswith(("keras.src.ops", "keras.ops")):
        return OPERATIONS.get(kind)
    if kind in LAYERS:
        return "keras.layers"
    return MODELS.get(kind) or PARTS.get(kind) or ("keras" if kind in DATA else None)


def _modern(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """The same in the words of Keras 3, for files of Keras 2."""
    shape = config.pop("batch_input_shape", None)
    if kind == "InputLayer" and shape is not None:
        config["batch_shape"] = shape
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    if kind == "DepthwiseConv2D":
        config.pop("groups", None)
    return config


def _with_input(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """A Sequential network of Keras 2 tells its input's shape in its first layer: give it a layer of its own."""
    layers = config.get("layers")
    first = layers[0] if isinstance(layers, list) and layers and isinstance(layers[0], dict) else {}
    inner = first.get("config")
    if kind != "Sequential" or first.get("class_name") == "InputLayer" or not isinstance(inner, dict):
        return config
    shape = inner.get("batch_input_shape")
    if shape is None:
        return config
    given = {"class_name": "InputLayer", "config": {"batch_shape": shape, "dtype": "float32", "name": "given_input"}}
    return {**config, "layers": [given, *config["layers"]]}


def _shown(text: object) -> str:
    return ascii(text)[:60]
