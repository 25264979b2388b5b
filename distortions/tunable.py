"""Codecs whose fields are their settings in `study.toml`."""

from typing import Any, ClassVar, Self

from pydantic import ValidationError

from distortions.protocol import RateSetting, Setting
from study.errors import InputError
from study.images import Pixels
from study.sections import Section


class Checked(Section):
    """Settings of `[[codecs]]`; each field's description says what is allowed."""

    name: ClassVar[str]
    rate: ClassVar[RateSetting]

    def missing(self) -> str | None:
        """What has to be installed first, and how; None where nothing has."""
        return None

    @classmethod
    def allowed(cls) -> dict[str, str]:
        """What each setting but the rate's may be."""
        fields = cls.model_fields.items()
        return {name: field.description or "" for name, field in fields if name != cls.rate.name}

    @classmethod
    def configured(cls, settings: dict[str, Any], where: str) -> Self:
        """These settings.

        Raises InputError, beginning with `where`, that names key and value and says what is allowed.
        """
        allowed = cls.allowed()
        for key, value in settings.items():
            if key == cls.rate.name:
                raise InputError(f"{where}.{key} = {value!r}: eyetune searches this one for each rate; leave it out")
            if key not in allowed:
                known = "; ".join(f"{name} ({meaning})" for name, meaning in allowed.items()) or "none"
                raise InputError(f"{where}.{key} = {value!r}: {cls.name} has no such setting; allowed: {known}")
        try:
            codec = cls.model_validate(settings)
        except ValidationError as error:
            problem = error.errors()[0]
            if not problem["loc"]:  # settings that do not go together
                raise InputError(f"{where}: {problem['msg'].removeprefix('Value error, ')}") from None
            name = str(problem["loc"][0])
            raise InputError(f"{where}.{name} = {problem['input']!r}; allowed: {allowed[name]}") from None
        missing = codec.missing()
        if missing:
            raise InputError(f"{where}: {missing}")
        return codec


class Tunable(Checked):
    """A codec whose fields are its settings."""

    @property
    def settings(self) -> dict[str, Setting]:
        """Every setting with its value."""
        return self.model_dump()

    def at(self, value: float) -> Self:
        """The same codec with its rate setting at `value`."""
        return self.model_copy(update={self.rate.name: value})

    @property
    def library(self) -> str:
        """What encodes and decodes, with its version."""
        raise NotImplementedError

    def encode(self, image: Pixels) -> bytes:
        """The whole file. Raises CodecError where the format cannot hold such an image."""
        raise NotImplementedError

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        raise NotImplementedError
