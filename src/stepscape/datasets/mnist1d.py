"""MNIST-1D: digits as one-dimensional signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.datasets import Data, Dataset
from stepscape.datasets._classes import class_targets
from stepscape.fields import Count, Index, NonNegativeReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
"""The ten digits as the paper draws them, twelve points each."""

_FEWEST, _MOST = 36, 60
_LENGTH = 12 + _MOST
_SHIFTS = 48
_POINTS = 40
_STANDARD = 4000


@member("mnist1d", source="arXiv:2011.14439")
class MNIST1D(Dataset):
    """Ten templates of twelve points, padded, stretched, scaled, shifted, made noisy and sheared; 40 points a signal.

    The recipe and its constants are the paper's; the samples are drawn anew, so no set of a given size is that of the
    paper's archive. A template has mean 0, standard deviation 1/6, and starts at 0. Padded by 36 to 60 zeros and
    stretched to 72 points, it is scaled by 0.8 to 1.2 and rotated by up to 47 points; smooth noise fills the padding,
    white noise is added to all; a ramp that rises or falls by up to half of `shear` is taken off; 40 points are read
    from it. Mean and standard deviation of the first 4,000 training signals become 0 and 1. Sample i is of class
    i mod 10. Another `train_size` or `test_size` leaves the samples that both have as they were.
    """

    has_classes: ClassVar[bool] = True
    train_size: Annotated[Count, describe("training signals", "signals")] = 4000
    test_size: Annotated[Count, describe("test signals", "signals")] = 1000
    smooth_noise: Annotated[
        NonNegativeReal, describe("standard deviation of the noise in the padding, before it is smoothed", "signal")
    ] = 0.25
    white_noise: Annotated[NonNegativeReal, describe("standard deviation of the noise everywhere", "signal")] = 0.02
    shear: Annotated[NonNegativeReal, describe("spread of the slope of the ramp", "signal")] = 0.75
    subset_seed: Annotated[Index, describe("draws the signals; apart from the run's seed")] = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (_POINTS,)

    @property
    def outputs(self) -> int:
        return 10

    def load(self) -> Data:
        import numpy as np

        train, test = (np.arange(size) % 10 for size in (max(self.train_size, _STANDARD), self.test_size))
        signals = self._signals(train, "training")
        mean, scale = signals[:_STANDARD].mean(), signals[:_STANDARD].std()
        return Data(
            (signals[: self.train_size] - mean) / scale,
            class_targets(train[: self.train_size], 10, "one_hot"),
            (self._signals(test, "test") - mean) / scale,
            class_targets(test, 10, "one_hot"),
        )

    def _signals(self, labels: np.ndarray, subset: str) -> np.ndarray:
        """Signals (n, 40) of the classes (n,)."""
        import numpy as np
        from scipy.ndimage import gaussian_filter1d

        from stepscape.training.random import generator

        def drawn(what: str) -> np.random.Generator:
            return generator(self.subset_seed, f"{subset} signals: {what}")

        n = len(labels)
        padding = drawn("padding").integers(_FEWEST, _MOST + 1, size=n)
        signals = np.stack([_stretched(*sample) for sample in zip(templates()[labels], padding, strict=True)])
        signals *= 1 + 0.4 * (drawn("scale").random((n, 1)) - 0.5)
        shifts = drawn("shift").integers(_SHIFTS, size=(n, 1))
        signals = np.take_along_axis(signals, (np.arange(_LENGTH) - shifts) % _LENGTH, axis=1)
        smooth = gaussian_filter1d(drawn("smooth noise").standard_normal((n, _LENGTH)), 2, axis=1)
        signals = np.where(signals == 0, self.smooth_noise * smooth, signals)
        signals += self.white_noise * drawn("white noise").standard_normal((n, _LENGTH))
        slopes = self.shear * (drawn("shear").random((n, 1)) - 0.5)
        return _resampled(signals - slopes * np.linspace(-0.5, 0.5, _LENGTH), _POINTS)


def templates() -> np.ndarray:
    """The templates (10, 12): standardised over six, each beginning at 0."""
    import numpy as np

    drawn = np.array(TEMPLATES, dtype=np.float64)
    centred = drawn - drawn.mean(axis=1, keepdims=True)
    scaled = centred / centred.std(axis=1, keepdims=True)
    return (scaled - scaled[:, :1]) / 6


def _stretched(template: np.ndarray, padding: int) -> np.ndarray:
    """A template with zeros behind it, as `_LENGTH` points; where it is 0 itself, it is not taken for padding."""
    import numpy as np

    tiny = 1e-8
    return _resampled(np.append(template + tiny, np.zeros(padding)), _LENGTH)


def _resampled(signals: np.ndarray, points: int) -> np.ndarray:
    """Signals (..., length) at `points` evenly spaced places, linear in between."""
    import numpy as np

    length = signals.shape[-1]
    places = np.linspace(0, length - 1, points)
    left = np.minimum(places.astype(np.int64), length - 2)
    share = places - left
    resampled: np.ndarray = (1 - share) * signals[..., left] + share * signals[..., left + 1]
    return resampled
