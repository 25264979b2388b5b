"""Photographs from outside as 8-bit sRGB arrays, or the reason why not."""

import io
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from study.images import Pixels

READ = frozenset(".jpg .jpeg .jpe .jfif .png .webp .avif .tif .tiff .bmp .jp2 .j2k .ppm .gif".split())
UNREAD = frozenset(".heic .heif .jxl .psd .svg .exr .hdr".split())
RAW = frozenset(".3fr .arw .cr2 .cr3 .dng .nef .orf .pef .raf .raw .rw2 .srw".split())
# Named, so that no file is handed to a decoder that runs programs (EPS), whatever its name ends in.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "JPEG2000", "PPM", "GIF")

_SRGB_WITHIN = 2  # levels; a profile that moves no colour further is sRGB in other words, and is left alone


class Refused(Exception):
    """This file is not used; the message is the reason, to be shown to the study's author."""


def find(folder: Path) -> tuple[list[str], int]:
    """The files below `folder` that should be photographs, as sorted relative paths, and how many others there are.

    What a file is goes by the end of its name in any case. Hidden files and folders are passed over, and so is a
    study's folder that lies in this one.
    """
    sources: list[str] = []
    others = 0
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if not (name.startswith(".") or (Path(place, name) / "study.toml").exists())
        ]
        for name in names:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in READ | UNREAD | RAW:
                sources.append(Path(place, name).relative_to(folder).as_posix())
            else:
                others += 1
    return sorted(sources), others


def read(path: Path) -> Pixels:
    """The `(H, W, 3)` uint8 sRGB pixels of a photograph, upright, its colour profile applied.

    16-bit samples are rounded to 8, greyscale is spread to three channels, an opaque alpha channel is dropped. Raises
    Refused with the reason for everything else.
    """
    if not path.is_file():  # a pipe would be waited for
        raise Refused("not a regular file, or a link to nothing")
    try:
        str(path).encode()
    except UnicodeEncodeError:  # no table could name it
        raise Refused("its name is not UTF-8; rename it") from None
    return _read(path, path.suffix.lower())


def read_bytes(data: bytes, name: str) -> Pixels:
    """`read` of a file that is in memory. `name`: what it is called where it comes from."""
    return _read(data, Path(name).suffix.lower())


def _read(file: Path | bytes, suffix: str) -> Pixels:
    if suffix in RAW:
        raise Refused("a camera's raw file; develop it to TIFF or PNG first")
    if suffix in UNREAD:
        raise Refused(f"{suffix} files are not read; convert it to PNG first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata and sizes; what matters is refused below
            with _open(file) as image:
                return _pixels(image, file)
    except UnidentifiedImageError:
        raise Refused("not an image that can be read") from None
    except (Refused, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise Refused(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels; scale it down") from None
    except Exception as error:  # decoders meet damage with nearly every exception there is; nothing is written here
        raise Refused(f"damaged or unreadable ({str(error) or type(error).__name__})") from None


def _open(file: Path | bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS)


def _pixels(image: Image.Image, file: Path | bytes) -> Pixels:
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # an MPO is a camera's JPEG; its first is the one
        raise Refused(f"{getattr(image, 'n_frames', 1)} frames or pages; save the one to use as PNG")
    deep = _sixteen_bits(image, file)
    image.load()
    orientation = image.getexif().get(0x0112, 1)
    profile = image.info.get("icc_profile")
    if deep is not None:
        image = Image.fromarray(((deep.astype(np.uint32) + 128) // 257).astype(np.uint8))  # round(255 v / 65535)
    image = _opaque(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise Refused(f"samples of a kind that is not read ({image.mode}); save it with 8 or 16 bits a sample")
    image = _srgb(image, profile)
    image.getexif()[0x0112] = orientation
    return np.array(ImageOps.exif_transpose(image))


def _sixteen_bits(image: Image.Image, file: Path | bytes) -> np.ndarray | None:
    """The samples of a 16-bit image as (H, W) or (H, W, C) uint16; None for one that has 8 bits or fewer.

    Pillow keeps 16 bits of greyscale, but only the high byte of colour. Read again in the other byte order, the file
    gives its low byte.
    """
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    if not isinstance(image, ImageFile.ImageFile) or ";16" not in str([tile.args for tile in image.tile]):
        return None
    if "transparency" in image.info:
        raise Refused("16-bit samples with a transparent colour; flatten it onto a background first")
    with _open(file) as again:
        again.tile = [tile._replace(args=_other_order(tile.args)) for tile in again.tile]
        try:
            low = np.array(again)
        except ValueError:
            raise Refused("16-bit samples in a layout that is not read; save it as 16-bit RGB PNG") from None
    return np.array(image).astype(np.uint16) * 256 + low


def _other_order(args: Any) -> Any:
    native, foreign = ("L", "B") if sys.byteorder == "little" else ("B", "L")
    if isinstance(args, tuple):
        return tuple(map(_other_order, args))
    if not isinstance(args, str):
        return args
    for order, other in ((";16L", ";16B"), (";16B", ";16L"), (";16N", f";16{foreign}")):
        if order in args:
            return args.replace(order, other)
    return args


def _opaque(image: Image.Image) -> Image.Image:
    """The image without its alpha channel. Raises Refused where a pixel is transparent."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    if np.array(image.getchannel("A")).min() < 255:
        raise Refused("transparent pixels; flatten it onto a background first")
    return image.convert("RGB")


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image as sRGB by its colour profile; without one, RGB and greyscale are taken to be sRGB."""
    if image.mode == "CMYK" and not profile:
        raise Refused("CMYK without a colour profile: what its colours are is not known; convert it to sRGB")
    if image.mode not in ("L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if image.mode == "LAB":
        raise Refused("Lab colours; convert it to sRGB")
    if not profile:
        return image.convert("RGB")
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if image.mode == "L" and space == "RGB":
            image = image.convert("RGB")
        if space != {"L": "GRAY"}.get(image.mode, image.mode):
            raise Refused(f"its colour profile is for {space}, its pixels are {image.mode}; convert it to sRGB")
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if image.mode == "RGB" and _moves(transform) <= _SRGB_WITHIN:
            return image
        return ImageCms.applyTransform(image, transform)  # type: ignore[return-value]  # None only when in place
    except (OSError, ImageCms.PyCMSError) as error:
        raise Refused(f"its colour profile is damaged ({error}); remove it or convert the file to sRGB") from None


def _moves(transform: ImageCms.ImageCmsTransform) -> int:
    """The most levels by which a transform of RGB changes a channel of any colour on a grid of 17 a side."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 255, 17).round()] * 3), axis=-1).astype(np.uint8).reshape(17, -1, 3)
    moved = ImageCms.applyTransform(Image.fromarray(grid), transform)
    return int(np.abs(np.array(moved).astype(int) - grid).max())
