"""Picture files decoded in a graph, compared with the data pipeline, which decodes them with Pillow."""

import functools
import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from glow_tf.data import images
from glow_tf.export import pictures

SHAPES = ((16, 16, 3), (12, 20, 1))
MOST = 300_000


@functools.cache
def decoder(shape, exact=False):
    files = tf.TensorSpec([None], tf.string)
    return tf.function(
        lambda files: pictures.decode_files(files, shape, tf.constant("files"), MOST, exact=exact)
    ).get_concrete_function(files)


def test_pictures_are_cropped_one_by_one():
    """Whole pictures of a large batch would not fit in memory."""
    files = tf.TensorSpec([None], tf.string)
    cropped = tf.function(
        lambda files: pictures.decode_files(files, (16, 16, 3), tf.constant("files"), MOST, crop_from=64)
    ).get_concrete_function(files)
    (whole,) = tf.io.encode_png(tf.zeros([64, 80, 3], tf.uint8))[tf.newaxis].numpy().tolist()
    assert cropped(tf.constant([whole] * 2)).shape == (2, 16, 16, 3)
    sizes = [output.shape for op in cropped.graph.get_operations() for output in op.outputs]
    assert tf.TensorShape([None, 16, 16, 3]) in [shape for shape in sizes if shape.rank == 4]
    assert not [shape for shape in sizes if shape.rank == 4 and shape[1] == 64]


def photograph(height, width, channels=3, seed=0):
    """Waves and noise, [height, width, channels] uint8, from the darkest to the brightest."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., np.newaxis] / 17
    waves = 128 + 140 * np.sin(y * rng.uniform(0.2, 2, channels) + x * rng.uniform(0.2, 2, channels))
    return (waves + rng.normal(0, 20, waves.shape)).clip(0, 255).astype(np.uint8)


def file_of(pixels, kind="PNG", mode=None, **options):
    written = io.BytesIO()
    image = Image.fromarray(np.squeeze(pixels))
    (image.convert(mode) if mode else image).save(written, kind, **options)
    return written.getvalue()


def by_pipeline(file, shape):
    return images.decode_file(io.BytesIO(file), shape, enlarge=True)


def turned(orientation, order="<", kind="HH"):
    """EXIF data with an orientation, as a SHORT and padding, or as a LONG."""
    mark = {"<": b"II", ">": b"MM"}[order]
    value = struct.pack(order + kind, *[orientation, 0][: len(kind)])
    entries = [(0x010F, 2, 3, b"me\0\0"), (0x0112, {"HH": 3, "I": 4}[kind], 1, value)]
    packed = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0" + mark + struct.pack(order + "HIH", 42, 8, len(entries)) + packed + bytes(4)


def png(height, width, depth, kind, chunks=(), most=None):
    """A PNG file of random samples and extra `chunks`, also of bit depths and colour types that Pillow cannot write."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    samples = np.random.default_rng(0).integers(0, 2**depth if most is None else most + 1, [height, width * channels])
    samples[0, 0] = samples[0, 0] if most is None else most
    bits = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape([*samples.shape, 2]), axis=-1)[..., -depth:]
    rows = np.packbits(bits.reshape([height, -1]), axis=-1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [
            (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
            *chunks,
            (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
            (b"IEND", b""),
        ]
    )


SIZES = [
    (16, 16),
    (12, 20),
    (32, 32),
    (48, 48),
    (17, 16),
    (16, 31),
    (100, 64),
    (63, 211),
    (5, 3),
    (1, 1),
    (300, 1),
    (7, 900),
]
PALETTE = (b"PLTE", bytes(np.random.default_rng(1).integers(0, 256, 3 * 256, np.uint8)))
ALPHAS = (b"tRNS", bytes([0, 100, 255, 3]))
ONE = (b"tRNS", b"\0\1")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
FILES = {
    **{f"PNG {h}x{w}": file_of(photograph(h, w)) for h, w in SIZES},
    **{f"JPEG {h}x{w}": file_of(photograph(h, w), "JPEG") for h, w in [*SIZES, (130, 129), (257, 300), (600, 400)]},
    "grey JPEG": file_of(photograph(90, 200, 1), "JPEG"),
    "CMYK JPEG": file_of(photograph(90, 200), "JPEG", mode="CMYK"),
    "progressive JPEG": file_of(photograph(90, 200), "JPEG", progressive=True, subsampling=0),
    "grey": file_of(photograph(40, 30, 1)),
    "transparent": file_of(photograph(70, 50, 4)),
    "grey and transparent": file_of(photograph(70, 50, 2)[..., 0], mode="LA"),
    "palette": file_of(photograph(70, 50), mode="P"),
    "palette with a transparent colour": file_of(photograph(70, 50), mode="P", transparency=3),
    **{f"grey of {depth} bits": png(40, 30, depth, 0) for depth in (1, 2, 4, 8, 16)},
    **{f"grey of {depth} bits, one transparent": png(40, 30, depth, 0, [ONE]) for depth in (1, 2, 4, 8, 16)},
    **{f"palette of {depth} bits": png(40, 30, depth, 3, [PALETTE]) for depth in (1, 2, 4, 8)},
    **{f"palette of {depth} bits, some transparent": png(40, 30, depth, 3, [PALETTE, ALPHAS]) for depth in (2, 4, 8)},
    **{f"{name} of 16 bits": png(40, 30, 16, kind) for name, kind in (("RGB", 2), ("RGBA", 6), ("grey, alpha", 4))},
    "RGB, one transparent": file_of(photograph(40, 30) // 64 * 64, transparency=(0, 0, 0)),
    **{f"turned by {i}": file_of(photograph(40, 90), "JPEG", exif=turned(i)) for i in range(10)},
    "turned, big-endian": file_of(photograph(40, 90), "JPEG", exif=turned(6, ">")),
    "turned PNG": file_of(photograph(40, 90), exif=turned(8, ">")),
    **{f"turned, 32 bits {order}": file_of(photograph(40, 90), "JPEG", exif=turned(6, order, "I")) for order in "<>"},
    "turned by XMP": file_of(photograph(40, 90), "JPEG", xmp=XMP),
    "EXIF without, XMP with orientation": file_of(photograph(40, 90), "JPEG", xmp=XMP, exif=turned(0)),
    "turned by EXIF and XMP": file_of(photograph(40, 90), "JPEG", xmp=XMP, exif=turned(3)),
    "PNG turned by XMP": png(40, 90, 8, 2, [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)]),
    "turned and shrunk": file_of(photograph(400, 300), "JPEG", exif=turned(6), icc_profile=bytes(100_000)),
    "damaged EXIF": file_of(photograph(40, 90), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("case", FILES)
def test_pixels_are_those_of_the_data_pipeline(case):
    for shape in SHAPES:
        (found,) = decoder(shape)(tf.constant([FILES[case]]))
        np.testing.assert_array_equal(found, by_pipeline(FILES[case], shape))


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize("most", [0, 1, 100, 128, 129, 255, 256, 3984, 4095, 4096])
def test_too_dark_pictures_of_16_bits_are_refused_as_by_the_pipeline(kind, most):
    file = png(40, 30, 16, kind, most=most)
    # Of colours, only the upper 8 bits are read.
    if 0 < (most if kind == 0 else most >> 8) < (4096 if kind == 0 else 16):
        with pytest.raises(ValueError, match="no value above 4095"):
            by_pipeline(file, SHAPES[0])
        with pytest.raises(tf.errors.InvalidArgumentError, match="has 16 bits, of which 12 or fewer are used"):
            decoder(SHAPES[0])(tf.constant([file]))
    else:
        (found,) = decoder(SHAPES[0])(tf.constant([file]))
        np.testing.assert_array_equal(found, by_pipeline(file, SHAPES[0]))


def test_files_of_different_sizes_are_one_batch():
    files = list(FILES.values())
    np.testing.assert_array_equal(
        decoder(SHAPES[0])(tf.constant(files)), [by_pipeline(file, SHAPES[0]) for file in files]
    )
