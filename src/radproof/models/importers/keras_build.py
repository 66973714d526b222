# SPDX-License-Identifier: Apache-2.0
"""A checked Keras configuration, rebuilt and filled with its weights, by Keras itself on torch."""

import os
import sys
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from torch import nn

from radproof.errors import BadInput, BadModel

_STATES = 4096  # of random generators, which .h5 files leave out


def import_keras() -> Any:
    """Keras on torch, with the package's own defaults: no settings file is read or written.

    Raises BadInput where it is missing, or runs on another backend already.
    """
    if "keras" not in sys.modules:
        with _environment(KERAS_BACKEND="torch", KERAS_HOME=os.devnull):
            try:
                import keras
            except ImportError:
                raise BadInput("Keras files need two more packages: pip install 'radproof[keras]'") from None
    import keras

    if keras.backend.backend() != "torch":
        raise BadInput(
            f"Keras runs on {keras.backend.backend()} in this process already; set KERAS_BACKEND=torch before it starts"
        )
    return keras


def rebuilt(config: Mapping[str, Any], weights: Path, *, zipped: bool, elements: int) -> nn.Module:
    """The network that a checked configuration describes, with its weights, frozen.

    Nothing is allocated before its weights are counted against the `elements` that the file holds. Raises BadModel.
    """
    keras = import_keras()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _blamed(weights.name, "rebuild this network"), keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(dict(config), safe_mode=True)
        wanted = sum(prod(variable.shape) for variable in model.variables)
        if wanted > elements + _STATES:
            raise BadModel(
                f"{weights.name} describes a network of {wanted:,} weights, and holds {elements:,} of them; "
                "save the whole model again"
            )
        with _blamed(weights.name, "fill this network with its weights"), _suffixed(weights, zipped) as file:
            with keras.StatelessScope():
                pass  # leaving it gives every variable its place
            model.load_weights(str(file))
    if not isinstance(model, nn.Module):
        raise BadModel(f"{weights.name} holds no network that torch can run")
    return model.eval().requires_grad_(False)


@contextmanager
def _environment(**values: str) -> Generator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _suffixed(file: Path, zipped: bool) -> Generator[Path]:
    """The same file under a name that Keras tells its kind by."""
    suffix = ".keras" if zipped else ".h5"
    if file.name.endswith(suffix) and not file.name.endswith(".weights.h5"):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="radproof-") as folder:
        named = Path(folder) / f"model{suffix}"
        named.symlink_to(file.resolve())
        yield named


@contextmanager
def _blamed(name: str, what: str) -> Generator[None]:
    try:
        yield
    except (MemoryError, BadModel):
        raise
    except Exception as error:  # Keras raises whatever a layer's own code raises
        said = " ".join(str(error).split())[:200]
        raise BadModel(f"{name}: Keras cannot {what} ({type(error).__name__}: {said})") from None
