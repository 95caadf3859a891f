"""Strips show the right frame in the right place; films can be read back."""

import av
import numpy as np
import pytest
from PIL import Image

from simworld.report.film import side_by_side, strip, write_gif, write_mp4, write_png


def grey_film(greys, size=16):
    return np.stack([np.full((size, size, 3), g, np.uint8) for g in greys])


def tile_centre(picture, row, column, size=48):
    return picture[22 + row * (size + 4) + size // 2, 132 + column * (size + 4) + size // 2].tolist()


def test_strip_puts_real_above_imagined():
    real, imagined = grey_film(range(0, 50, 10)), grey_film(range(100, 150, 10))
    picture = strip(real, imagined, [0, 2, 4], dt_s=0.1, notes=("ran to the end", "collision at 1.2 s"))
    assert picture.dtype == np.uint8 and picture.shape == (22 + 2 * 52, 132 + 3 * 52, 3)
    assert [tile_centre(picture, 0, c)[0] for c in range(3)] == [0, 20, 40]
    assert [tile_centre(picture, 1, c)[0] for c in range(3)] == [100, 120, 140]
    with pytest.raises(ValueError, match="at least one step"):
        strip(real, imagined, [], dt_s=0.1)
    taller = strip(real, imagined, [0, 2], dt_s=0.1, footers=["P 0.01", "P 0.50"])
    assert taller.shape[0] == picture.shape[0] + 20 and (taller[-20:, 132:] < 255).any()


def test_a_film_that_ended_is_faded():
    picture = strip(grey_film([10] * 9), grey_film([10] * 3), [2, 8], dt_s=0.1)
    assert tile_centre(picture, 1, 0)[0] == 10
    assert tile_centre(picture, 1, 1)[0] > 150
    both = side_by_side(grey_film([10] * 9), grey_film([10] * 3), dt_s=0.1)
    assert both.shape == (9, 2 * (48 + 18), 48, 3)


def test_mp4_keeps_length_rate_and_grey(tmp_path):
    write_mp4(tmp_path / "film.mp4", grey_film(range(40, 140, 10)), dt_s=0.1, scale=2)
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        assert float(stream.average_rate) == pytest.approx(10)
    assert len(frames) == 10 and frames[0].shape == (32, 32, 3)
    assert [f.mean() for f in frames] == pytest.approx(range(40, 140, 10), abs=4)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_odd_sizes_and_empty_films(tmp_path):
    write_mp4(tmp_path / "odd.mp4", grey_film([50, 60], size=15), dt_s=0.05)
    with pytest.raises(ValueError, match="at least one frame"):
        write_mp4(tmp_path / "none.mp4", grey_film([50])[:0], dt_s=0.1)
    assert not (tmp_path / "none.mp4").exists()


def test_gif_and_png(tmp_path):
    write_gif(tmp_path / "film.gif", grey_film(range(0, 250, 50)), dt_s=0.1, scale=2)
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 5 and gif.size == (32, 32) and gif.info["duration"] == 100
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    write_png(tmp_path / "p.png", picture)
    assert (np.asarray(Image.open(tmp_path / "p.png")) == picture).all()
