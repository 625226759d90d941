"""The next character of a text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self, TypeVar

from stepscape.datasets import Data
from stepscape.datasets._user_file import FOUND, UserFile
from stepscape.errors import Mistake, Mistaken
from stepscape.fields import Count, Index, describe
from stepscape.registry import member
from stepscape.study.identity import digest

if TYPE_CHECKING:
    import numpy as np

S = TypeVar("S", str, "np.ndarray")


@member("text")
class NextCharacter(UserFile):
    """Windows of a user's text, UTF-8, one-hot characters; the class is the character behind the window.

    Classes are the characters that the text holds, in the order of their code points. Training windows are drawn
    without replacement from the first nine tenths of the text, test windows from the rest. Another `train_size` or
    `test_size` leaves the windows that both have as they were.
    """

    has_classes: ClassVar[bool] = True
    context: Annotated[Count, describe("length of a window", "characters")] = 16
    train_size: Annotated[Count, describe("training windows", "windows")] = 1000
    test_size: Annotated[Count, describe("test windows", "windows")] = 500
    subset_seed: Annotated[Index, describe("draws the windows; apart from the run's seed")] = 0
    outputs: Annotated[Index, describe(f"{FOUND}different characters")] = 0

    @classmethod
    def is_found(cls) -> frozenset[str]:
        return frozenset({"content", "outputs"})

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.context, self.outputs)

    def found(self, path: Path, where: str) -> Self:
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise Mistaken([Mistake(where, f"{path}, which cannot be read ({error})", "a text in UTF-8")]) from None
        for name, part, size in zip(("train", "test"), _parts(text), (self.train_size, self.test_size), strict=True):
            windows = max(0, len(part) - self.context)
            if size > windows:
                given = f"{name}_size {size}, of {windows} windows in {path}"
                raise Mistaken([Mistake(where, given, "as many windows as there are, or a longer text")])
        return dataclasses.replace(self, path=None, content=digest(text), outputs=len(set(text)))

    def copied(self, path: Path) -> bytes:
        return path.read_bytes()

    def load(self) -> Data:
        import numpy as np

        text = self.copy().read_bytes().decode(errors="replace")
        if digest(text) != self.content:
            raise self.damaged("its content is not what its name says")
        points = np.frombuffer(text.encode("utf-32-le"), "<u4")
        train, test = _parts(np.unique(points, return_inverse=True)[1])
        return Data(*self._windows(train, "training", self.train_size), *self._windows(test, "test", self.test_size))

    def _windows(self, characters: np.ndarray, part: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (size, context, outputs) and targets (size, outputs) in one part of the text."""
        import numpy as np

        from stepscape.training.random import generator

        places = len(characters) - self.context
        starts = generator(self.subset_seed, f"{part} windows").permutation(places)[:size]
        one_hot = np.eye(self.outputs)
        return one_hot[characters[starts[:, None] + np.arange(self.context)]], one_hot[
            characters[starts + self.context]
        ]


def _parts(text: S) -> tuple[S, S]:
    """The first nine tenths, for training, and the rest."""
    border = 9 * len(text) // 10
    return text[:border], text[border:]
