"""Pictures from strangers: each kind of file that people send, and each that they shouldn't."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from bot.service import pictures
from bot.service.errors import InvalidImage
from bot.service.limits import MAX_INPUT_BYTES


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims that size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


RED = (255, 0, 0)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_accepted_format_is_decoded_by_its_bytes(format: str) -> None:
    picture = pictures.decode_picture(encoded(Image.new("RGB", (24, 16), RED), format))
    assert (picture.mode, picture.size) == ("RGB", (24, 16))
    red, green, blue = picture.getpixel((12, 8))
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text",
        b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        encoded(Image.new("RGB", (8, 8)), "BMP"),
        encoded(Image.new("RGB", (8, 8)), "TIFF"),
        b"%PDF-1.7",
    ],
    ids=["empty", "text", "svg", "bmp", "tiff", "pdf"],
)
def test_other_files_are_refused_with_what_to_send(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="The image is not a PNG, JPEG, WebP or GIF"):
        pictures.decode_picture(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_truncated_file_is_refused(format: str) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    data = encoded(noise, format)
    with pytest.raises(InvalidImage):
        pictures.decode_picture(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(20000, 20000), (12000, 9000), (4097, 2000)])
def test_too_many_pixels_are_refused_from_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage, match="larger than 4096 pixels"):
        pictures.decode_picture(png_header(*size))


def test_header_without_pixels_is_refused_as_damaged() -> None:
    with pytest.raises(InvalidImage, match="damaged"):
        pictures.decode_picture(png_header(64, 64))


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(InvalidImage, match="larger than 10 MiB"):
        pictures.decode_picture(b"\x89PNG\r\n\x1a\n" + bytes(MAX_INPUT_BYTES))


def test_text_chunk_bomb_is_refused() -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("bomb", "0" * 200_000_000, zip=True)
    with pytest.raises(InvalidImage):
        pictures.decode_picture(encoded(Image.new("RGB", (64, 64)), pnginfo=chunks))


def test_strip_of_a_picture_is_refused() -> None:
    with pytest.raises(InvalidImage, match="500x100: at most 4 times"):
        pictures.decode_picture(encoded(Image.new("RGB", (500, 100))))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    red, green, blue = pictures.decode_picture(data).getpixel((8, 8))
    assert red > 240
    assert max(green, blue) < 15


def test_transparency_becomes_white_also_in_palettes() -> None:
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (0, 0, 8, 16))
    from_palette = pictures.decode_picture(encoded(palette, transparency=0))
    from_alpha = pictures.decode_picture(encoded(Image.new("RGBA", (16, 16), (255, 0, 0, 0))))
    from_key = pictures.decode_picture(encoded(Image.new("RGB", (16, 16), RED), transparency=RED))
    from_grey = pictures.decode_picture(encoded(Image.new("LA", (16, 16), (0, 0))))
    assert (from_palette.getpixel((2, 2)), from_palette.getpixel((12, 2))) == ((0, 0, 255), (255, 255, 255))
    for picture in (from_alpha, from_key, from_grey):
        assert picture.getpixel((8, 8)) == (255, 255, 255)


def test_cmyk_becomes_rgb() -> None:
    picture = pictures.decode_picture(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = picture.getpixel((8, 8))
    assert picture.mode == "RGB"
    assert red > 240
    assert max(green, blue) < 15


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    deep = Image.new("I;16", (16, 16), 0x8000)
    grey = pictures.decode_picture(encoded(deep)).getpixel((8, 8))
    assert grey in ((127, 127, 127), (128, 128, 128))


def test_one_bit_picture_is_decoded() -> None:
    assert pictures.decode_picture(encoded(Image.new("1", (16, 16), 1))).getpixel((8, 8)) == (255, 255, 255)


def test_orientation_of_a_phone_is_applied() -> None:
    sideways = Image.new("RGB", (32, 16), "blue")
    sideways.paste("red", (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture = pictures.decode_picture(encoded(sideways, "JPEG", exif=exif, quality=95))
    assert picture.size == (16, 32)
    assert picture.getpixel((8, 2))[0] > 200
    assert picture.getpixel((8, 28))[2] > 200


def test_sender_metadata_is_not_kept() -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "somebody else's prompt")
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    data = encoded(Image.new("RGB", (16, 16)), pnginfo=chunks, exif=exif)
    stored = pictures.encode(pictures.decode_picture(data))
    with Image.open(io.BytesIO(stored)) as image:
        image.load()
        assert not image.info
    assert b"secret" not in stored


# Masks


PICTURE = Image.new("RGB", (32, 16))


def half_mask() -> Image.Image:
    mask = Image.new("L", (32, 16), 0)
    mask.paste(255, (16, 0, 32, 16))
    return mask


def test_mask_is_cut_at_128() -> None:
    grey = Image.new("L", (32, 16), 127)
    grey.putpixel((0, 0), 128)
    mask = pictures.decode_mask(encoded(grey), PICTURE)
    assert (mask.mode, mask.getbbox(), mask.getpixel((0, 0))) == ("L", (0, 0, 1, 1), 255)


def test_transparent_part_of_a_mask_is_kept() -> None:
    clear = Image.new("RGBA", (32, 16), (255, 255, 255, 0))
    clear.paste((255, 255, 255, 255), (0, 0, 4, 4))
    assert pictures.decode_mask(encoded(clear), PICTURE).getbbox() == (0, 0, 4, 4)


@pytest.mark.parametrize("mask", [Image.new("L", (16, 32), 255), Image.new("L", (64, 32), 255)])
def test_mask_of_another_size_is_refused_with_both_sizes(mask: Image.Image) -> None:
    with pytest.raises(InvalidImage, match=f"{mask.width}x{mask.height} and the image is 32x16"):
        pictures.decode_mask(encoded(mask), PICTURE)


def test_black_mask_is_refused() -> None:
    with pytest.raises(InvalidImage, match="all black"):
        pictures.decode_mask(encoded(Image.new("L", (32, 16), 100)), PICTURE)


def test_damaged_mask_is_named_in_the_refusal() -> None:
    with pytest.raises(InvalidImage, match="The mask is not"):
        pictures.decode_mask(b"text", PICTURE)


def test_thin_stroke_survives_shrinking_and_stays_binary() -> None:
    mask = Image.new("L", (1024, 1024), 0)
    mask.paste(255, (500, 0, 502, 1024))
    small = pictures.fit_mask(mask, (64, 64))
    assert small.getbbox() is not None
    assert {value for _, value in small.getcolors()} == {0, 255}


# Sizes


def test_picture_is_fitted_to_the_models_area() -> None:
    fitted = pictures.fit_to_area(Image.new("RGB", (1000, 700)), 512)
    assert fitted.size == (608, 424)


def test_picture_of_the_right_size_is_left_alone() -> None:
    image = Image.new("RGB", (512, 512))
    assert pictures.fit_to_area(image, 512) is image


# Pasting


def noise(width: int, height: int) -> Image.Image:
    return Image.merge("RGB", [Image.effect_noise((width, height), 90) for _ in range(3)])


def test_outside_of_the_mask_equals_the_original_exactly() -> None:
    original, mask = noise(100, 70), Image.new("L", (100, 70), 0)
    mask.paste(255, (20, 30, 60, 50))
    drawn = Image.new("RGB", (72, 48), RED)
    png, size = pictures.paste_inside(encoded(drawn), encoded(original), encoded(mask))
    with Image.open(io.BytesIO(png)) as pasted:
        pasted.load()
    assert pasted.size == size == (100, 70)
    assert pasted.crop((20, 30, 60, 50)).getcolors() == [(40 * 20, RED)]
    pasted.paste(original.crop((20, 30, 60, 50)), (20, 30))
    assert pasted.tobytes() == original.tobytes()


def test_pasting_keeps_the_drawings_text_chunks() -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a fox\nSteps: 20, Seed: 7")
    chunks.add_itxt("recipe", '{"prompt": "ein Füchslein 🦊"}')
    mask = Image.new("L", (16, 16), 255)
    drawn = encoded(Image.new("RGB", (8, 8)), pnginfo=chunks)
    png, _ = pictures.paste_inside(drawn, encoded(Image.new("RGB", (16, 16))), encoded(mask))
    with Image.open(io.BytesIO(png)) as pasted:
        pasted.load()
        assert pasted.info["parameters"] == "a fox\nSteps: 20, Seed: 7"
        assert pasted.info["recipe"] == '{"prompt": "ein Füchslein 🦊"}'


def test_withheld_picture_is_one_flat_grey() -> None:
    with Image.open(io.BytesIO(pictures.withheld(24, 16))) as image:
        assert image.size == (24, 16)
        assert len(image.getcolors()) == 1
