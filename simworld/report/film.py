"""Films for people: strips of real frames above imagined ones, and the same side by side as GIF or MP4."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frames = NDArray[np.uint8]

INK, PAPER, MUTED, WARN = (31, 35, 40), (255, 255, 255), (110, 119, 129), (176, 42, 42)
GAP_PX = 4


def strip(
    real: Frames,
    imagined: Frames,
    steps: Sequence[int],
    *,
    dt_s: float,
    labels: tuple[str, str] = ("real", "imagined"),
    notes: tuple[str, str] = ("", ""),
    scale: int = 3,
) -> Frames:
    """One picture, uint8 (H, W, 3): the real film above the imagined one, a column for each of `steps`.

    real, imagined (t + 1, h, w, 3) uint8 start at the same frame and may end at different ones; past its end a film
    shows its last frame, faded. `notes` stand under the labels, e.g. how each run ended.
    """
    if not steps or min(steps) < 0:
        raise ValueError("a strip needs at least one step, and none below 0")
    h, w = real.shape[1] * scale, real.shape[2] * scale
    margin, head = 132, 22
    width = margin + len(steps) * (w + GAP_PX)
    picture = Image.new("RGB", (width, head + 2 * (h + GAP_PX)), PAPER)
    draw = ImageDraw.Draw(picture)
    for row, (film, label, note) in enumerate(zip((real, imagined), labels, notes, strict=True)):
        top = head + row * (h + GAP_PX)
        draw.text((6, top + 4), label, INK, label_font(15))
        for i, line in enumerate(_wrapped(note, 19)):
            draw.text((6, top + 26 + 14 * i), line, MUTED, label_font(12))
        for column, step in enumerate(steps):
            left = margin + column * (w + GAP_PX)
            picture.paste(_tile(film, step, (w, h), dt_s), (left, top))
            if row == 0:
                draw.text((left + 2, 4), f"{step * dt_s:.1f} s", INK, label_font(13))
    return np.asarray(picture)


def side_by_side(
    real: Frames, imagined: Frames, *, dt_s: float, labels: tuple[str, str] = ("real", "imagined"), scale: int = 3
) -> Frames:
    """A film (t + 1, H, W, 3) uint8 of both at once, real above imagined, as long as the longer one."""
    h, w = real.shape[1] * scale, real.shape[2] * scale
    head = 18
    out = []
    for step in range(max(len(real), len(imagined))):
        picture = Image.new("RGB", (w, 2 * (h + head)), PAPER)
        draw = ImageDraw.Draw(picture)
        for row, (film, label) in enumerate(zip((real, imagined), labels, strict=True)):
            top = row * (h + head)
            draw.text((3, top + 2), f"{label}, {step * dt_s:.1f} s", INK, label_font(12))
            picture.paste(_tile(film, step, (w, h), dt_s), (0, top + head))
        out.append(np.asarray(picture))
    return np.stack(out)


def png_bytes(picture: Frames) -> bytes:
    """A picture (h, w, 3) uint8 as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(path: str | Path, picture: Frames) -> None:
    """Write a picture (h, w, 3) uint8."""
    with _aside(Path(path)) as temporary:
        temporary.write_bytes(png_bytes(picture))


def write_gif(path: str | Path, frames: Frames, *, dt_s: float, scale: int = 1) -> None:
    """Write frames (t, h, w, 3) uint8 as an endless GIF; its clock has steps of 10 ms."""
    images = [Image.fromarray(_enlarged(f, scale)).quantize(128, dither=Image.Dither.NONE) for f in frames]
    if not images:
        raise ValueError("a film needs at least one frame")
    with _aside(Path(path)) as temporary:
        images[0].save(
            temporary, "GIF", save_all=True, append_images=images[1:], duration=max(10, round(1000 * dt_s)), loop=0
        )


def write_mp4(path: str | Path, frames: Iterable[Frames], *, dt_s: float, scale: int = 1) -> None:
    """Write frames (t, h, w, 3) uint8, or pictures as they come, as H.264; odd sides lose their last row or column."""
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("a film needs at least one frame")
    with _aside(Path(path)) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1 / dt_s).limit_denominator(1000))
        stream.height, stream.width = (side * scale // 2 * 2 for side in first.shape[:2])
        stream.pix_fmt = "yuv420p"  # what browsers play
        stream.options = {"crf": "20", "preset": "veryfast"}
        for frame in itertools.chain([first], pictures):
            picture = np.ascontiguousarray(_enlarged(frame, scale)[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _tile(film: Frames, step: int, size: tuple[int, int], dt_s: float) -> Image.Image:
    """The frame of a film at `step`, enlarged; faded and marked once the film has ended."""
    tile = Image.fromarray(film[min(step, len(film) - 1)]).resize(size, Image.Resampling.BICUBIC)
    if step >= len(film):
        tile = Image.blend(tile, Image.new("RGB", size, PAPER), 0.65)
        ImageDraw.Draw(tile).text((5, 4), f"ended {(len(film) - 1) * dt_s:.1f} s", WARN, label_font(13))
    return tile


def _enlarged(frame: Frames, scale: int) -> Frames:
    return frame if scale == 1 else frame.repeat(scale, axis=0).repeat(scale, axis=1)


def label_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface of labels, `size` in pixels."""
    return ImageFont.load_default(size)


def _wrapped(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line] if line else lines


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place if nothing goes wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
