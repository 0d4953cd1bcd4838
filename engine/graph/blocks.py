"""Weights of ONNX Runtime's MatMulNBits and GatherBlockQuantized: codes of 2 to 8 bits, packed, with a scale and a zero point for every
block of a column, or of a table's row.

The operator, in the domain com.microsoft, multiplies (…, K) by (K, N) whose columns lie as N rows of blocks, codes from the lowest bit up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from engine.graph.graph import Array


@dataclass(frozen=True)
class Blocks:
    """How a node's weight is packed: `summed` (K) by `outputs` (N) codes of `bits` bits, `size` of them to a block."""

    summed: int
    outputs: int
    bits: int
    size: int

    @classmethod
    def of(cls, node: onnx.NodeProto, values: Mapping[str, Array]) -> Blocks | None:
        """None for every other operator, and for tables that are not bytes in blocks along their rows; `values`: its constants.

        A table's last column may be there to fill a byte (`cut`).
        """
        stated = {a.name: int(a.i) for a in node.attribute}
        if node.op_type == "GatherBlockQuantized":
            table, bits = values.get(node.input[0]), stated.get("bits", 4)
            if (
                table is None
                or table.dtype != np.uint8
                or stated.get("quantize_axis", 1) % table.ndim != table.ndim - 1
            ):
                return None
            columns = table.shape[-1] * 8 // bits
            return cls(columns, table.size * 8 // bits // columns, bits, stated.get("block_size", 128))
        if node.op_type != "MatMulNBits":
            return None
        return cls(stated["K"], stated["N"], stated.get("bits", 4), stated["block_size"])

    def cut(self, reader: onnx.NodeProto | None, values: Mapping[str, Array]) -> Blocks:
        """Without a table's last column where its only reader takes it away at once: it is there to fill a byte."""
        if reader is None or reader.op_type != "Slice" or not {*reader.input[1:4]} <= values.keys():
            return self
        begin, end, axis = (values[name].reshape(-1) for name in reader.input[1:4])
        filler = self.bits == 4 and len(end) == 1 and not begin[0] and axis[0] == -1 and end[0] == self.summed - 1
        return replace(self, summed=self.summed - 1) if filler else self

    @property
    def codes(self) -> int:
        """How many weights there are."""
        return self.summed * self.outputs

    def nonzero(self, packed: Array, zero: Array | None) -> int:
        """How many weights are not zero: codes that differ from their block's zero point, which is the middle code where none is stored."""
        count = math.ceil(self.summed / self.size)
        codes = self._unpacked(
            packed.reshape(self.outputs, -1), min(count * self.size, packed.size * 8 // self.bits // self.outputs)
        )
        codes = np.pad(codes, [(0, 0), (0, count * self.size - codes.shape[1])])
        middle: Array = np.full((self.outputs, count), 1 << (self.bits - 1))
        if zero is not None:
            # Packed as the codes are, or numbers of the scales' type.
            bare = zero.dtype == np.uint8
            middle = (
                self._unpacked(zero.reshape(self.outputs, -1), count) if bare else zero.reshape(self.outputs, count)
            )
        differs = codes.reshape(self.outputs, count, self.size) != middle[:, :, None]
        return int(differs.reshape(self.outputs, -1)[:, : self.summed].sum())

    def _unpacked(self, rows: Array, count: int) -> Array:
        """The first `count` codes of each row of bytes."""
        bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")[:, : count * self.bits]
        values: Array = bits.reshape(len(rows), count, self.bits) @ (1 << np.arange(self.bits))
        return values
