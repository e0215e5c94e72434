from pathlib import Path

import numpy as np
import pytest

from owlabel.images import files as images
from owlabel.images.files import ImageError

# ---- folders


def test_scan_finds_images_in_natural_order(tmp_path: Path) -> None:
    names = ["b/10.png", "b/9.JPG", "b/9a.png", "a2.tif", "a10.tif", "A3.webp", "b/c/1.png"]
    for name in (*names, "notes.txt", ".hidden.png", ".git/1.png", "p.owlabel/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in images.scan(tmp_path)]
    expected = ["a2.tif", "A3.webp", "a10.tif", "b/9.JPG", "b/9a.png", "b/10.png", "b/c/1.png"]
    assert found == expected


def test_scan_does_not_leave_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    for path in (inside / "1.png", outside / "2.png"):
        path.touch()
    (inside / "3.png").symlink_to(outside / "2.png")
    (inside / "4.png").symlink_to(inside / "1.png")
    (inside / "5.png").symlink_to(inside / "5.png")
    (inside / "6.png").symlink_to(inside / "gone.png")
    (inside / "up").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    assert [path.name for path in images.scan(inside)] == ["1.png", "4.png"]


def test_scan_refuses_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a folder"):
        images.scan(tmp_path / "gone")


def test_the_content_hash_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    assert images.content_hash(tmp_path / "a.png") == "ba7816bf8f01cfea414140de5dae2223"


# ---- thumbnails


def test_a_thumbnail_shows_the_box_in_its_middle() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[80:120, 140:180] = 200
    small = images.thumbnail(image, (80, 140, 120, 180), 48)
    assert small.shape == (48, 48, 3)
    assert (small[12:36, 12:36] == 200).all()  # 2/3 of the side, less the blurred rim
    assert (small[:6] == 0).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (0, 0, 50, 400), (-9, 390, 20, 410), (49, 0, 50, 400)]
)
@pytest.mark.parametrize("side", [1, 7, 64])
def test_a_thumbnail_at_the_border_is_letterboxed(box, side: int) -> None:
    small = images.thumbnail(np.full((50, 400, 3), 200, np.uint8), box, side)
    assert small.shape == (side, side, 3)
    assert set(np.unique(small)) <= {40, 200}
    assert 200 in small


def test_a_thumbnail_of_nothing_is_refused() -> None:
    image = np.zeros((50, 40, 3), np.uint8)
    for box in ((5, 5, 5, 9), (60, 0, 70, 9), (9, 9, 5, 12)):
        with pytest.raises(ValueError, match="must overlap"):
            images.thumbnail(image, box, 32)
    with pytest.raises(ValueError, match="side"):
        images.thumbnail(image, (0, 0, 9, 9), 0)
