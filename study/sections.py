"""What every table of `study.toml` is made from."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of `study.toml` that knows its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
