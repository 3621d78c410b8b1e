"""How alike two pictures are: PSNR over RGB and SSIM of the luma.

Source: Wang et al. 2004, "Image Quality Assessment" (SSIM, Gaussian window of sigma 1.5); ITU-R BT.601 (luma).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIGMA = 1.5
STABLE = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)  # C1 and C2 of the paper
LUMA = (0.299, 0.587, 0.114)


class Likeness(NamedTuple):
    """Of two pictures."""

    psnr_db: float
    ssim: float


def liken(ours: NDArray[np.float64], best: NDArray[np.float64]) -> Likeness:
    """Two pictures of the same shape, [height, width, 3], 0 to 255."""
    error = np.mean((ours - best) ** 2)
    psnr_db = 10 * np.log10(255**2 / error) if error else np.inf
    return Likeness(float(psnr_db), structural_similarity(ours @ LUMA, best @ LUMA))


def structural_similarity(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """SSIM of two planes."""
    means = [blur(one), blur(other)]
    variances = [blur(plane**2) - mean**2 for plane, mean in zip((one, other), means, strict=True)]
    covariance = blur(one * other) - means[0] * means[1]
    luminance = (2 * means[0] * means[1] + STABLE[0]) / (means[0] ** 2 + means[1] ** 2 + STABLE[0])
    return float(np.mean(luminance * (2 * covariance + STABLE[1]) / (sum(variances) + STABLE[1])))


def blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    return gaussian_filter(plane, SIGMA)
