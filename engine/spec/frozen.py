"""What all parts of a spec are."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Frozen(BaseModel):
    """A part of a spec: immutable, hashable, no unknown keys.

    `came_later`: fields that are written down only where they say something, so that a spec, a recipe and a node from before them keep
    their ids and keys, and what was finished under those is found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    came_later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stated: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        silent = {n for n in self.came_later if getattr(self, n) == fields[n].default}
        return {name: value for name, value in stated.items() if name not in silent}
