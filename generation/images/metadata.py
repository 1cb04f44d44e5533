"""What a PNG says about its own making. Pillow only.

Two text chunks: `parameters` in the convention of AUTOMATIC1111 (which other tools read) and `limner`, JSON with the
whole recipe and the digest of the weights (which is enough to draw the picture again). A model that lies in a folder of
the operator's machine is named by its last part only: pictures travel, and a path tells a user name.
"""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import PurePath

from PIL import Image, PngImagePlugin

from generation.errors import InvalidRecipe
from generation.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PictureMetadata:
    """`index` is the picture's place in its grid, `model_digest` the sha256 of the weights (hex)."""

    recipe: Recipe
    index: int
    model_digest: str


def encode_png(picture: Image.Image, metadata: PictureMetadata) -> bytes:
    """The picture as PNG with both chunks."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("parameters", parameters_text(metadata))
    chunks.add_itxt("limner", _to_json(metadata))
    out = io.BytesIO()
    picture.save(out, format="PNG", pnginfo=chunks)
    return out.getvalue()


def read_metadata(png: bytes) -> PictureMetadata | None:
    """The `limner` chunk of a picture; None when there is none or it can't be trusted to be complete."""
    try:
        with Image.open(io.BytesIO(png)) as picture:
            found = json.loads(picture.info["limner"])
        recipe = Recipe.from_json(json.dumps(found["recipe"]))
        return PictureMetadata(recipe, int(found["index"]), str(found["model_digest"]))
    except (OSError, ValueError, KeyError, TypeError, InvalidRecipe):
        return None


def parameters_text(metadata: PictureMetadata) -> str:
    """Prompt, negative prompt and a line of settings, as AUTOMATIC1111's web UI writes them."""
    recipe = metadata.recipe
    settings: dict[str, object] = {
        "Steps": recipe.num_inference_steps,
        "Sampler": recipe.scheduler or "default",
        "CFG scale": recipe.guidance_scale,
        "Seed": recipe.seeds()[metadata.index],
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": metadata.model_digest[:10],
        "Model": _public_name(recipe.model),
    }
    if recipe.strength is not None:
        settings["Denoising strength"] = recipe.strength
    loras = [f"<lora:{name}:{scale:g}>" for name, scale in recipe.loras]
    lines = [" ".join([recipe.prompt, *loras])]
    if recipe.negative_prompt:
        lines.append(f"Negative prompt: {recipe.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _public_name(model: str) -> str:
    """A hub id ("owner/name") stays whole; of a path only its last part does."""
    path = PurePath(model)
    is_hub_id = (
        len(path.parts) == 2 and not path.anchor and path.parts[0] not in ("..", "~") and path.suffix != ".safetensors"
    )
    return model if is_hub_id else path.name


def _to_json(metadata: PictureMetadata) -> str:
    return json.dumps(
        {
            "recipe": dataclasses.asdict(metadata.recipe) | {"model": _public_name(metadata.recipe.model)},
            "index": metadata.index,
            "model_digest": metadata.model_digest,
        },
        sort_keys=True,
    )
