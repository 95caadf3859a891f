"""Lossless video: frames go into an mp4 and come back bit for bit."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from simworld.data.files import damaged

# Quantiser 0 of x264's RGB mode is lossless; one thread keeps the bytes the same on every machine, and the
# fastest preset costs a tenth of the space of the slowest for a quarter of its time.
CODEC = "libx264rgb"
ENCODER_OPTIONS = {"qp": "0", "preset": "ultrafast", "threads": "1"}


def frame_rate(dt_s: float) -> Fraction:
    """Frames per second as a ratio of small integers."""
    return (1 / Fraction(dt_s).limit_denominator(100_000)).limit_denominator(1001)


def encode_video(frames: NDArray[np.uint8], dt_s: float) -> bytes:
    """Encode frames (t, h, w, 3) as mp4; the same frames give the same bytes."""
    rate = frame_rate(dt_s)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream(CODEC, rate=rate, options=ENCODER_OPTIONS)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "rgb24"
        stream.codec_context.thread_count = 1
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_video(path: Path, num_frames: int) -> NDArray[np.uint8]:
    """Read all frames (t, h, w, 3); ValueError naming the file where it is missing, cut or of another length."""
    try:
        with av.open(io.BytesIO(path.read_bytes()), "r", format="mp4") as container:
            container.streams.video[0].codec_context.thread_count = 1
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise damaged(path, error) from error
    if len(frames) != num_frames:
        raise damaged(path, f"it holds {len(frames)} frames, its episode {num_frames}")
    return np.stack(frames)
