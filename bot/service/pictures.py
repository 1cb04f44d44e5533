"""Pictures from strangers, and what becomes of them before and after drawing. Knows Pillow and no files.

An upload's type is read from its bytes, never from its name; its size is read from the header and refused before a
single pixel is decoded. What is stored is always a fresh PNG of ours: no EXIF, no profiles, no text of the sender.
Every function may take a second for a large picture: callers run them in a thread.
"""

from __future__ import annotations

import io
from fractions import Fraction
from math import isqrt

from PIL import Image, ImageOps, PngImagePlugin

from bot.service.errors import InvalidImage
from bot.service.limits import MAX_INPUT_BYTES, MAX_INPUT_RATIO, MAX_INPUT_SIDE

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
REPAINT_FROM = 128
"""Mask values from this on are repainted, as in diffusers' mask processor (0.5 of the range)."""

_TEXT_KEYWORD_CHARS = 79
_WITHHELD_GREY = (54, 57, 63)


def decode(data: bytes, *, what: str) -> Image.Image:
    """The upload as an upright picture in mode "L", "LA", "RGB" or "RGBA"; `what` names it in refusals.

    Of an animation it is the first frame; 16-bit grey is scaled to 8 bits, palettes and CMYK become RGB.
    Raises InvalidImage.
    """
    if len(data) > MAX_INPUT_BYTES:
        raise InvalidImage(f"The {what} is larger than {MAX_INPUT_BYTES // 2**20} MiB. Send a smaller file.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(what) from None
    except Exception as error:  # decoders raise anything on crafted bytes: struct.error, SyntaxError, KeyError, ...
        raise InvalidImage(f"The {what} is not a PNG, JPEG, WebP or GIF picture. Send one of these.") from error
    with image:
        _check_size(image, what)
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            plain = _eight_bits(upright)
        except Exception as error:
            raise InvalidImage(f"The {what} is damaged or incomplete. Save it again and resend it.") from error
    _check_size(plain, what)
    return plain


def decode_picture(data: bytes, *, what: str = "image") -> Image.Image:
    """An upload to start from, as RGB; what is transparent becomes white. Raises InvalidImage."""
    return _flatten(decode(data, what=what), "white")


def decode_mask(data: bytes, picture: Image.Image) -> Image.Image:
    """A mask for the picture as "L" of 0 (keep) and 255 (repaint); what is transparent is kept.

    Raises InvalidImage when it isn't of the picture's size, or repaints nothing.
    """
    mask = decode(data, what="mask")
    if mask.size != picture.size:
        raise InvalidImage(
            f"The mask is {_size(mask)} and the image is {_size(picture)}. Draw the mask on a copy of the image, "
            "so that both have the same size."
        )
    binary = _flatten(mask, "black").convert("L").point(lambda value: 255 if value >= REPAINT_FROM else 0)
    if binary.getbbox() is None:
        raise InvalidImage("The mask is all black, so nothing would change. Paint white what is to be repainted.")
    return binary


def area_size(native_size: int, ratio: tuple[int, int]) -> tuple[int, int]:
    """Width and height of that ratio with about the area `native_size` squared, multiples of 8 and at least 8.

    Both sides are rounded down: a picture of any ratio costs at most what a square one does.
    """
    width, height = ratio
    area = native_size * native_size
    return max(8, isqrt(area * width // height) // 8 * 8), max(8, isqrt(area * height // width) // 8 * 8)


def fit_to_area(image: Image.Image, native_size: int) -> Image.Image:
    """The picture at the model's own area, its ratio kept up to the rounding to multiples of 8."""
    size = area_size(native_size, image.size)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def fit_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The binary mask at the size of its resized picture; a stroke thinner than a pixel there still marks it."""
    if mask.size == size:
        return mask
    return mask.resize(size, Image.Resampling.BOX).point(lambda value: 255 if value else 0)


def encode(image: Image.Image) -> bytes:
    """The picture as PNG."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def paste_inside(result: bytes, original: bytes, mask: bytes) -> tuple[bytes, tuple[int, int]]:
    """The drawn PNG, resized to the original's size and pasted into it where the mask says so; and that size.

    Every pixel outside the mask equals the original's exactly. The PNG's text chunks are kept.
    """
    with Image.open(io.BytesIO(original)) as base, Image.open(io.BytesIO(mask)) as where:
        whole = base.convert("RGB")
        inside = where.convert("L").point(lambda value: 255 if value >= REPAINT_FROM else 0)
    with Image.open(io.BytesIO(result)) as drawn:
        drawn.load()
        chunks = _text_chunks(drawn)
        whole.paste(drawn.convert("RGB").resize(whole.size, Image.Resampling.LANCZOS), (0, 0), inside)
    out = io.BytesIO()
    whole.save(out, "PNG", pnginfo=chunks, compress_level=3)
    return out.getvalue(), whole.size


def withheld(width: int, height: int) -> bytes:
    """What is stored and shown in the place of a picture that the safety checker withheld."""
    return encode(Image.new("RGB", (width, height), _WITHHELD_GREY))


def _check_size(image: Image.Image, what: str) -> None:
    width, height = image.size
    if max(width, height) > MAX_INPUT_SIDE:
        raise _too_large(what)
    ratio = Fraction(max(width, height), max(1, min(width, height)))
    if ratio > MAX_INPUT_RATIO:
        raise InvalidImage(
            f"The {what} is {_size(image)}: at most {MAX_INPUT_RATIO} times as long as wide. Crop it and resend it."
        )


def _too_large(what: str) -> InvalidImage:
    return InvalidImage(f"The {what} is larger than {MAX_INPUT_SIDE} pixels on a side. Send a smaller one.")


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


def _eight_bits(image: Image.Image) -> Image.Image:
    """The same picture in one of the modes L, LA, RGB, RGBA."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion would clip at 255 instead of scaling.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        # A grey or RGB PNG may name one colour as transparent.
        return image.convert("RGBA") if "transparency" in image.info else image.copy()
    if image.mode == "1":
        return image.convert("L")
    has_alpha = image.has_transparency_data
    return image.convert("RGBA" if has_alpha else "RGB")


def _flatten(image: Image.Image, background: str) -> Image.Image:
    """As RGB, over the background."""
    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    whole = Image.new("RGBA", rgba.size, background)
    return Image.alpha_composite(whole, rgba).convert("RGB")


def _text_chunks(image: Image.Image) -> PngImagePlugin.PngInfo:
    """The text chunks of an opened PNG, to be written again. iTXt throughout: it holds any Unicode."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str) and 0 < len(key) <= _TEXT_KEYWORD_CHARS:
            chunks.add_itxt(key, value)
    return chunks
