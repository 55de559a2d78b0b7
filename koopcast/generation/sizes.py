"""How many samples are made together, and how much of them is in memory at once: from sizes alone."""

import math
from dataclasses import dataclass

import numpy as np

from koopcast.grids import FieldsInfo
from koopcast.stores.regions import BUFFER_BYTES, LEAST_CHUNK_BYTES, block_chunks, stored_bytes

BATCH_NUMBERS = 2**16
"""Numbers that step together: enough to outweigh calls, few enough to stay in the cache."""
SEQUENCE_SAMPLES = 128
"""Samples that are solved for one after another with one solver."""
SEQUENCE_BYTES = 16 * 2**20
"""Bytes of their fields."""


@dataclass(frozen=True)
class Sizes:
    """Of a dataset that is made in blocks."""

    fields: FieldsInfo
    dtype: str
    block: int

    @staticmethod
    def of(
        fields: FieldsInfo, dtype: str, block: int | None = None, computed: FieldsInfo | None = None
    ) -> "Sizes":
        """Return the sizes with a block as it is given, or as suits the fields.

        Args:
            fields: What is stored.
            dtype: Type of its numbers.
            block: Samples made together; None: as suits.
            computed: The fields before any of their points are left out; None: as stored.
        """
        chosen = default_block(fields, dtype, computed or fields) if block is None else block
        return Sizes(fields, dtype, min(chosen, fields.samples))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of each variable."""
        times = () if self.fields.is_stationary else (self.fields.time.size,)
        return (self.fields.samples, *times, *self.fields.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Chunks of each variable."""
        return block_chunks(self.shape, np.dtype(self.dtype), self.block)

    @property
    def window(self) -> int:
        """Records of a block that are in memory at once."""
        return 1 if self.fields.is_stationary else self.chunks[1]

    @property
    def stored(self) -> int:
        """Bytes of the fields on disk."""
        return self.fields.num_channels * stored_bytes(self.shape, self.chunks, np.dtype(self.dtype).itemsize)

    @property
    def num_chunks(self) -> int:
        """Files of the fields."""
        counts = (-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))
        return self.fields.num_channels * math.prod(counts)

    @property
    def buffered(self) -> int:
        """Bytes of a block in memory."""
        return self.block * self.window * _numbers(self.fields) * np.dtype(self.dtype).itemsize

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.fields.samples // self.block)


def default_block(fields: FieldsInfo, dtype: str, computed: FieldsInfo) -> int:
    """Return how many samples to make together; the number of samples itself does not matter."""
    itemsize = np.dtype(dtype).itemsize
    if fields.is_stationary:
        return max(1, min(SEQUENCE_SAMPLES, SEQUENCE_BYTES // (_numbers(computed) * itemsize)))
    together = min(LEAST_CHUNK_BYTES, _numbers(fields) * itemsize * fields.time.size)
    fitting = max(1, BUFFER_BYTES // together)
    block = min(BATCH_NUMBERS // _numbers(computed), fitting)
    return 1 << max(0, int(math.log2(max(1, block))))


def _numbers(fields: FieldsInfo) -> int:
    return fields.num_cells * fields.num_channels
