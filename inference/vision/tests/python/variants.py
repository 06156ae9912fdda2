"""Encodes every picture of a folder in every way that people send pictures.

usage: variants.py PICTURES OUT
"""

import io
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def main(pictures: pathlib.Path, out: pathlib.Path) -> None:
    for number, path in enumerate(sorted(pictures.iterdir())):
        picture = Image.open(path).convert("RGB")
        for name, data in variants(picture, orientation=1 + number % 8):
            (out / f"{path.stem}.{name}").write_bytes(data)


def variants(picture, orientation):
    grey = picture.convert("L")
    with_alpha = picture.copy()
    with_alpha.putalpha(grey)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    yield "png", saved(picture, "PNG", compress_level=1)
    yield "q75.jpg", saved(picture, "JPEG", quality=75)
    yield "q95.jpg", saved(picture, "JPEG", quality=95)
    yield "444.jpg", saved(picture, "JPEG", quality=90, subsampling=0)
    yield "422.jpg", saved(picture, "JPEG", quality=90, subsampling=1)
    yield "progressive.jpg", saved(picture, "JPEG", progressive=True)
    yield "restarts.jpg", saved(picture, "JPEG", restart_marker_rows=1)
    yield "grey.jpg", saved(grey, "JPEG")
    yield "cmyk.jpg", saved(picture.convert("CMYK"), "JPEG", quality=90)
    yield "ycck.jpg", ycck(picture)
    yield "exif.jpg", saved(picture, "JPEG", exif=exif)
    yield "exif.png", saved(picture, "PNG", compress_level=1, exif=exif)
    yield "exif.webp", saved(picture, "WEBP", method=0, exif=exif)
    yield "palette.png", saved(picture.quantize(64), "PNG")
    yield "alpha.png", saved(with_alpha, "PNG", compress_level=1)
    yield "grey_alpha.png", saved(with_alpha.convert("LA"), "PNG")
    yield "grey.png", saved(grey, "PNG")
    yield "bilevel.png", saved(picture.convert("1"), "PNG")
    yield "deep.png", png(deep(picture))
    yield "deep_grey.png", png(deep(grey))
    yield "interlaced.png", png(np.asarray(picture), interlaced=True)
    yield "lossy.webp", saved(picture, "WEBP", method=0, quality=80)
    yield "lossless.webp", saved(with_alpha, "WEBP", method=0, lossless=True, exact=True)
    yield "animated.webp", saved(picture, "WEBP", method=0, save_all=True, append_images=[picture.rotate(90)])
    yield "gif", saved(picture.quantize(200), "GIF")
    yield "animated.gif", saved(picture, "GIF", save_all=True, append_images=[picture.rotate(90)])
    yield "bmp", saved(picture, "BMP")


def saved(picture, form, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def ycck(picture) -> bytes:
    """A four-component JPEG whose Adobe marker says YCCK, as print software writes it."""
    luma, blue, red = (np.asarray(band) for band in picture.convert("YCbCr").split())
    black = np.full_like(luma, 230)
    # Pillow inverts four-component pictures on the way out.
    stored = 255 - np.stack([luma, blue, red, black], axis=-1)
    data = bytearray(saved(Image.fromarray(stored, "CMYK"), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def deep(picture):
    """16 bits a channel, with low bytes that are not zero."""
    values = np.asarray(picture).astype(np.uint16)
    return values * 256 + values // 2


def png(values, interlaced=False) -> bytes:
    """A PNG in the two forms that Pillow reads but does not write: 16-bit and interlaced."""
    height, width = values.shape[:2]
    colour = 2 if values.ndim == 3 else 0
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    rows = b"".join(
        b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes()
        for x, y, dx, dy in passes
        for row in values[y::dy, x::dx]
        if row.size
    )
    head = struct.pack(">IIBBBBB", width, height, values.itemsize * 8, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows, level=1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks))


def chunk(part) -> bytes:
    name, data = part
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
