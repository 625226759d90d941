"""SST-2: movie reviews, liked or not."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from stepscape.datasets import Archive, Data, Dataset
from stepscape.datasets._classes import class_targets
from stepscape.datasets._root import prepared_arrays
from stepscape.fields import Count, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

_PHRASES, _SENTENCES = 67349, 872


@member("sst2", source="Socher et al. 2013; arXiv:1804.07461 (GLUE)")
class SST2(Dataset):
    """Phrases of movie reviews, of class 1 where they praise; the inputs count words.

    Input j is how often the phrase holds word j of a vocabulary: the most frequent words of all 67,349 training
    phrases, of those as frequent the first in the alphabet. Phrases are the first in the published order; those for
    tests are the sentences that GLUE publishes for development, since its test set has no labels.
    """

    has_classes: ClassVar[bool] = True
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip",
            "sha256:d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa",
        ),
    )
    vocabulary: Annotated[Count, describe("how many words are counted", "words")] = 200
    train_size: Annotated[Count, Field(le=_PHRASES), describe("training phrases", "phrases")] = 1000
    test_size: Annotated[Count, Field(le=_SENTENCES), describe("test sentences", "sentences")] = 500

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.vocabulary,)

    @property
    def outputs(self) -> int:
        return 2

    @classmethod
    def unpack(cls, files: Sequence[Path]) -> Mapping[str, np.ndarray]:
        """For `train` and `test`: the ranks of all words, where each phrase begins in them, and its label."""
        import numpy as np

        with zipfile.ZipFile(files[0]) as archive:
            parts = {
                part: _phrases(archive, f"SST-2/{name}.tsv") for part, name in (("train", "train"), ("test", "dev"))
            }
        frequency = Counter(word for phrase, _ in parts["train"] for word in phrase)
        words = sorted(frequency, key=lambda word: (-frequency[word], word))
        rank = {word: index for index, word in enumerate(words)}
        arrays = {}
        for part, phrases in parts.items():
            known = [[rank[word] for word in phrase if word in rank] for phrase, _ in phrases]
            arrays[f"{part}_ranks"] = np.array([word for phrase in known for word in phrase], np.int32)
            arrays[f"{part}_starts"] = np.cumsum([0, *map(len, known)], dtype=np.int64)
            arrays[f"{part}_labels"] = np.array([label for _, label in phrases], np.int64)
        return arrays

    def load(self) -> Data:
        arrays = prepared_arrays(type(self))
        train, test = (
            _counts(arrays[f"{part}_ranks"], arrays[f"{part}_starts"][: size + 1], self.vocabulary)
            for part, size in (("train", self.train_size), ("test", self.test_size))
        )
        return Data(
            train,
            class_targets(arrays["train_labels"][: self.train_size], 2, "one_hot"),
            test,
            class_targets(arrays["test_labels"][: self.test_size], 2, "one_hot"),
        )


def _phrases(archive: zipfile.ZipFile, name: str) -> list[tuple[list[str], int]]:
    """The words and the label of each line of a table, behind its heading."""
    heading, *lines = archive.read(name).decode().splitlines()
    if heading != "sentence\tlabel":
        raise ValueError(f"{name} begins with {heading!r}")
    rows = (line.rpartition("\t") for line in lines)
    return [(phrase.split(), int(label)) for phrase, _, label in rows]


def _counts(ranks: np.ndarray, starts: np.ndarray, vocabulary: int) -> np.ndarray:
    """How often each of the first words is in each phrase, (phrases, vocabulary)."""
    import numpy as np

    phrase = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    rank = ranks[: starts[-1]]
    counts = np.zeros((len(starts) - 1, vocabulary))
    np.add.at(counts, (phrase[rank < vocabulary], rank[rank < vocabulary]), 1)
    return counts
