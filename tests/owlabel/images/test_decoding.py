import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from owlabel.images import files as images
from owlabel.images.files import ImageError

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (5, 7, 3)).astype(np.uint16)


@pytest.fixture
def save(tmp_path: Path):
    def write(image: Image.Image, name: str = "a.png", **options) -> Path:
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def picture() -> Image.Image:
    return Image.fromarray(PICTURE)


def grey_tiff(path: Path, array: np.ndarray, **options) -> np.ndarray:
    tifffile.imwrite(path, array, **options)
    return images.read(path)


def same_in_all_channels(pixels: np.ndarray) -> np.ndarray:
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


# ---- what a file may hold


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_colours_come_back(save, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(picture(), f"a.{suffix}", **options)
    pixels = images.read(path)
    np.testing.assert_array_equal(pixels, PICTURE)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert images.size(path) == (5, 7)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(save, suffix: str, orientation: int) -> None:
    quadrants = np.zeros((32, 48, 3), np.uint8)
    quadrants[:16, :24], quadrants[:16, 24:], quadrants[16:, :24] = (250, 0, 0), (0, 250, 0), 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if suffix in ("jpg", "webp") else {}
    path = save(Image.fromarray(quadrants), f"a.{suffix}", exif=exif, **options)
    upright = {  # the corners as shown: top left, top right, bottom left, bottom right
        1: "rgwk", 2: "grkw", 3: "kwgr", 4: "wkrg", 5: "rwgk", 6: "wrkg", 7: "kgwr", 8: "gkrw",
    }[orientation]  # fmt: skip
    pixels = images.read(path)
    assert images.size(path) == pixels.shape[:2] == ((32, 48) if orientation < 5 else (48, 32))
    letters = {(1, 0, 0): "r", (0, 1, 0): "g", (1, 1, 1): "w", (0, 0, 0): "k"}
    corners = [pixels[r, c] for r in (3, -4) for c in (3, -4)]
    assert "".join(letters[tuple((c > 64).astype(int).tolist())] for c in corners) == upright


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_tiffs_are_turned_like_shallow_ones(tmp_path: Path, orientation: int) -> None:
    tag = [(0x0112, "H", 1, orientation, True)]
    shallow = grey_tiff(tmp_path / "8.tif", PICTURE[..., 0], extratags=tag)
    deep = grey_tiff(tmp_path / "16.tif", PICTURE[..., 0].astype(np.uint16), extratags=tag)
    np.testing.assert_array_equal(deep, shallow)
    assert images.size(tmp_path / "16.tif") == images.size(tmp_path / "8.tif") == deep.shape[:2]


def test_a_palette_becomes_colours(save) -> None:
    indexed = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert images.read(save(indexed)).tolist() == expected
    assert images.read(save(indexed, "t.png", transparency=b"\x00\x80")).tolist() == expected


def test_cmyk_becomes_colours(save) -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for name in ("a.jpg", "a.tif"):
        assert np.abs(images.read(save(inks, name)).astype(int) - [255, 0, 0]).max() <= 3


def test_alpha_is_dropped_and_colours_under_it_kept(save) -> None:
    veiled = np.dstack([PICTURE, np.arange(35, dtype=np.uint8).reshape(5, 7)])
    np.testing.assert_array_equal(images.read(save(Image.fromarray(veiled))), PICTURE)
    grey = images.read(save(Image.fromarray(veiled[..., 2:])))
    np.testing.assert_array_equal(same_in_all_channels(grey), PICTURE[..., 2])


def test_one_bit_becomes_black_and_white(save) -> None:
    bits = PICTURE[..., 0] > 127
    for name in ("a.png", "a.tif", "a.pbm"):
        pixels = images.read(save(Image.fromarray(bits), name))
        np.testing.assert_array_equal(same_in_all_channels(pixels), bits * 255)


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_the_first_of_several_frames_is_taken(save, suffix: str) -> None:
    frames = [Image.new("RGB", (9, 6), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(frames[0], f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    pixels = images.read(path)
    assert pixels.shape == (6, 9, 3)
    assert (pixels == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("most", "whole"),
    [(255, 255), (256, 1023), (1023, 1023), (1024, 4095), (4095, 4095), (4096, 65535),
     (65535, 65535)],
)  # fmt: skip
def test_depth_is_the_smallest_range_that_holds_the_largest_value(
    tmp_path: Path, save, most: int, whole: int
) -> None:
    grey = np.array([[0, most // 2, most]], np.uint16)
    expected = np.rint(grey * 255.0 / whole)
    for got in (grey_tiff(tmp_path / "a.tif", grey), images.read(save(Image.fromarray(grey)))):
        assert np.abs(same_in_all_channels(got) - expected).max() <= (most // 2 * 255 % whole == 0)
        assert got[0, 2, 0] == expected[0, 2]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits_a_channel(tmp_path: Path, channels: int) -> None:
    deep = np.dstack([DEEP, DEEP[..., :1]])[..., :channels]
    stored = deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep  # OpenCV: BGRA
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    expected = np.rint(deep[..., :3] / 257.0)
    got = images.read(tmp_path / "a.png")
    assert np.abs(got - expected).max() == 0


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"},
                                     {"bigtiff": True}, {"tile": (16, 16)}])  # fmt: skip
@pytest.mark.parametrize("planar", [False, True])
def test_tiff_of_16_bits_a_channel(tmp_path: Path, options: dict, planar: bool) -> None:
    array = np.moveaxis(DEEP, -1, 0) if planar else DEEP
    config = "separate" if planar else "contig"
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig=config, **options)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif"), np.rint(DEEP / 257.0))
    assert images.size(tmp_path / "a.tif") == (5, 7)


def test_other_kinds_of_deep_tiff(tmp_path: Path, save) -> None:
    grey = DEEP[..., 0]
    expected = np.rint(grey / 257.0)
    path = tmp_path / "a.tif"
    stack = grey_tiff(path, np.stack([grey, grey[::-1]]), photometric="minisblack")
    np.testing.assert_array_equal(same_in_all_channels(stack), expected)
    inverse = grey_tiff(path, grey, photometric="miniswhite")
    np.testing.assert_array_equal(same_in_all_channels(inverse), np.rint((65535 - grey) / 257.0))
    packed = images.read(save(Image.fromarray(grey), "lzw.tif", compression="tiff_lzw"))
    np.testing.assert_array_equal(same_in_all_channels(packed), expected)
    inks = np.zeros((4, 4, 4), np.uint16)
    inks[..., 1:3] = 65535
    assert (grey_tiff(path, inks, photometric="separated") == (255, 0, 0)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_up_to_1_and_up_to_255(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "a.tif"
    unit = grey_tiff(path, np.array([[0, 0.5, 1]], dtype))
    assert same_in_all_channels(unit).tolist() == [[0, 128, 255]]
    bytes_ = grey_tiff(path, np.array([[0, 1.2, 254.6]], dtype))
    assert same_in_all_channels(bytes_).tolist() == [[0, 1, 255]]
    colors = grey_tiff(path, (PICTURE / 255).astype(dtype), photometric="rgb")
    np.testing.assert_array_equal(colors, PICTURE)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50000), (50000, 1)])
def test_extreme_shapes(save, shape: tuple[int, int]) -> None:
    path = save(Image.new("RGB", shape[::-1], (1, 2, 3)))
    assert images.read(path).shape == (*shape, 3)
    assert images.size(path) == shape


def test_the_content_decides_not_the_suffix(save) -> None:
    os.rename(save(picture(), "a.png"), wrong := save(picture(), "b.jpg"))
    np.testing.assert_array_equal(images.read(wrong), PICTURE)


def test_a_broken_exif_block_does_not_hide_the_picture(save) -> None:
    path = save(picture(), "a.png", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(images.read(path), PICTURE)


def test_orientation_after_the_pixels_of_a_png_counts(save) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(picture(), "a.png", exif=exif)
    early = path.read_bytes()
    start = early.index(b"eXIf") - 4
    block = early[start : start + 12 + struct.unpack(">I", early[start : start + 4])[0]]
    end = early.index(b"IEND") - 4
    expected = images.read(path)
    path.write_bytes(early[:start] + early[start + len(block) : end] + block + early[end:])
    np.testing.assert_array_equal(images.read(path), expected)
    assert images.size(path) == expected.shape[:2] == (7, 5)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"IDAT") + 20] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(ImageError):
        images.read(path)


def test_the_size_does_not_need_the_pixels(save) -> None:
    path = save(picture())
    path.write_bytes(path.read_bytes()[:60])
    assert images.size(path) == (5, 7)


# ---- what is refused, in words


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "deep.tif"])
def test_a_damaged_file_is_an_image_or_one_error(tmp_path: Path, save, suffix: str) -> None:
    rng = np.random.default_rng(5)
    path = save(picture(), f"a.{suffix}")
    if suffix == "deep.tif":
        tifffile.imwrite(path, DEEP, photometric="rgb", compression="zlib")
    whole = path.read_bytes()
    for _ in range(40):
        damaged = bytearray(whole)
        for place in rng.integers(16, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            shape = images.read(path).shape
        except ImageError:
            continue
        assert shape == (*images.size(path), 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_a_file_cut_anywhere_is_one_error(save, suffix: str) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (40, 40, 3), np.uint8)
    path = save(Image.fromarray(noise), f"a.{suffix}")
    whole = path.read_bytes()
    for length in np.linspace(1, len(whole) * 0.9, 20).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ImageError, match=rf"a\.{suffix}: .*; "):
            images.read(path)


def test_a_deep_file_cut_anywhere_is_one_error(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "z.tif"):
        path = tmp_path / name
        if name == "a.png":
            cv2.imwrite(str(path), np.tile(DEEP, (9, 9, 1)))
        else:
            packing = {"z.tif": "zlib"}.get(name)
            tifffile.imwrite(path, np.tile(DEEP, (9, 9, 1)), compression=packing)
        whole = path.read_bytes()
        for length in np.linspace(1, len(whole) * 0.9, 20).astype(int):
            path.write_bytes(whole[:length])
            with pytest.raises(ImageError):
                images.read(path)


def test_files_that_are_no_image(tmp_path: Path) -> None:
    cases = {
        "text.png": (b"hello, I am a text", "not an image"),
        "empty.jpg": (b"", "empty"),
        "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "half.tif": (b"II*\x00\x08\x00\x00\x00", "cannot be read"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        for function in (images.read, images.size):
            with pytest.raises(ImageError, match=words) as caught:
                function(tmp_path / name)
            assert caught.value.path == tmp_path / name


def test_places_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in {
        "gone.png": "no such file",
        "pipe.png": "not a file",
        ".": "not a file",
    }.items():
        for function in (images.read, images.size, images.content_hash):
            with pytest.raises(ImageError, match=words):
                function(tmp_path / name)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0, 256.0], [np.nan, 1], [0, np.inf]])
def test_floats_that_are_no_brightness(tmp_path: Path, values: list[float]) -> None:
    with pytest.raises(ImageError, match=r"range over .*; rescale"):
        grey_tiff(tmp_path / "a.tif", np.array([values], np.float32))


def test_integers_that_are_no_brightness(tmp_path: Path) -> None:
    for values in (np.int16([[-1, 3]]), np.uint32([[0, 65536]])):
        with pytest.raises(ImageError, match="range over"):
            grey_tiff(tmp_path / "a.tif", values)
    assert grey_tiff(tmp_path / "a.tif", np.int16([[0, 255]]))[0, 1, 0] == 255


def bomb_png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(side + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.png").write_bytes(bomb_png(30_000))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 16), np.uint16))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(200_000)
        tiff.pages[0].tags["ImageLength"].overwrite(200_000)
    limit = Image.MAX_IMAGE_PIXELS
    for name in ("a.png", "a.tif"):
        for function in (images.read, images.size):
            with pytest.raises(ImageError, match="400 megapixels; cut it"):
                function(tmp_path / name)
    assert limit == Image.MAX_IMAGE_PIXELS
    (tmp_path / "b.png").write_bytes(bomb_png(13_000))
    assert images.size(tmp_path / "b.png") == (13_000, 13_000)


def test_an_image_error_survives_pickling(tmp_path: Path) -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ImageError(tmp_path / "a.png", "it is blue")))
    assert str(error) == f"{tmp_path / 'a.png'}: it is blue"
    assert isinstance(error, ValueError)


def test_reading_does_not_change_the_file(save) -> None:
    path = save(picture())
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    images.read(os.fspath(path))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
