"""How settings are checked, once for all of them: a constraint stands beside the field it constrains.

A settings class is a frozen dataclass of pydantic's. What lies past the bounds of its `Annotated` type, is of the wrong
type or is called by an unknown name is an error, however the settings are made: from YAML, from a model's header, or in
Python. `__post_init__` remains for what two fields say together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field

CHECKED = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)
"""What every settings class is made with: `@dataclass(frozen=True, config=CHECKED)`."""


@dataclass(frozen=True)
class Before:
    """What a key is in models that are older than the key, where its default would change their results.

    It stands in the key's `Annotated` type: `Annotated[float, Before(3, 1.0)] = 0.9` is 1.0 in models of format 2.
    """

    version: int
    value: Any


Share = Annotated[float, Field(ge=0, le=1)]
"""A share or a probability, both ends included."""
