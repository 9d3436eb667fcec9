"""Descriptions of model parts: frozen dataclasses that are stored in JSON under their class names.

This module imports neither absl nor TensorFlow.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

_log = logging.getLogger(__name__)

_PACKAGE = __name__.partition(".")[0]
# With postponed evaluation of annotations, the types of fields are strings.
_TYPES = {"float": float, "int": int, "str": str, "bool": bool}


class Description:
    """Base class for all kinds of model parts, such as `glow_tf.layers.Layer`.

    Each direct subclass is a kind of part, named by its attribute `kind`. Subclasses of a kind are registered under
    their class name, which JSON stores, along with the module of classes from outside this package: of classes with the
    same name it tells which one is meant. Base classes that are not parts themselves are declared as
    `class Base(Layer, abstract=True)` and are not registered.
    """

    kind: ClassVar[str]
    classes: ClassVar[dict[str, type["Description"]]]
    _classes_by_module: ClassVar[dict[tuple[str, str], type["Description"]]]
    _kinds: ClassVar[dict[str, type["Description"]]] = {}

    def __init_subclass__(cls, abstract: bool = False, **kwargs):
        super().__init_subclass__(**kwargs)
        if Description in cls.__bases__:
            cls.classes, cls._classes_by_module = {}, {}
            Description._kinds[cls.kind] = cls
            return
        if abstract:
            return
        known = cls.classes.get(cls.__name__)
        if known is not None and known.__module__ != cls.__module__ and is_from_this_package(known):
            raise ValueError(f"There is a {cls.kind} {cls.__name__} in {known.__module__}: choose another name.")
        cls.classes[cls.__name__] = cls._classes_by_module[cls.__module__, cls.__name__] = cls

    @classmethod
    def upgrade(cls, fields: dict[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
        """Returns fields from JSON, converted to current ones if an earlier version of the class had others.

        Args:
          fields: the fields in JSON.
          model: the JSON of the whole model.
        """
        return fields


def is_from_this_package(cls: type) -> bool:
    """Returns whether a class belongs to this package."""
    return cls.__module__.partition(".")[0] == _PACKAGE


def check(where: str, part: Any, kind: type[Description]) -> None:
    """Checks that `part` is a description of the given kind that can be stored.

    Raises:
      ValueError: if it is not.
    """
    if not isinstance(part, kind):
        raise ValueError(f"{where}={part!r} is not a {kind.kind}; known are {', '.join(kind.classes)}.")
    # An undecorated subclass would have the fields of its base class.
    if "__dataclass_fields__" not in vars(type(part)):
        name = type(part).__name__
        raise ValueError(f"{name} must be decorated with @dataclasses.dataclass(frozen=True, kw_only=True).")
    # JSON stores the names of the class and the module under these keys.
    for field in _stored_fields(type(part)):
        if field.name in (kind.kind, "module"):
            raise ValueError(f"{type(part).__name__} has a field {field.name!r}: choose another name for it.")
        name, value = f"{where}.{field.name}", getattr(part, field.name)
        if isinstance(value, Description):
            check(name, value, Description._kinds[value.kind])
            continue
        try:
            to_json(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} cannot be stored ({error}): a field may be a number, a string, a tuple of these, or a part."
            ) from error


def to_json(fields: Any, indent: int | None = None) -> str:
    """Returns the JSON of what `to_fields` returns; NumPy scalars become Python numbers.

    Raises:
      TypeError: if a value has another type than those of JSON.
      ValueError: if a number is not finite.
    """
    return json.dumps(fields, indent=indent, allow_nan=False, default=_python_number)


def _python_number(value: Any) -> Any:
    if getattr(value, "shape", None) != () or not hasattr(value, "item"):
        raise TypeError(f"JSON has no {type(value).__name__}")
    return value.item()


def to_fields(part: Description) -> dict[str, Any]:
    """Returns a description as stored in JSON, from which `from_fields` restores it."""
    cls = type(part)
    named = {part.kind: cls.__name__, **({} if is_from_this_package(cls) else {"module": cls.__module__})}
    values = {field.name: getattr(part, field.name) for field in _stored_fields(cls)}
    return {**named, **{n: to_fields(v) if isinstance(v, Description) else v for n, v in values.items()}}


def from_fields(where: str, fields: Any, kind: type[Description], model: Mapping[str, Any]) -> Description:
    """Returns the description stored by `to_fields`.

    Args:
      where: the path in JSON, for error messages.
      fields: the value at that path.
      kind: the expected kind.
      model: the JSON of the whole model.

    Raises:
      ValueError: if it does not describe a part of that kind; the message names the field.
    """
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where} must be a dictionary, and not {fields!r}.")
    fields = dict(fields)
    name, module = fields.pop(kind.kind, None), fields.pop("module", None)
    if not isinstance(name, str) or name not in kind.classes:
        raise ValueError(
            f"{where}.{kind.kind}={name!r} is not one of {', '.join(kind.classes)}.{_advice(name, module)}"
        )
    cls = _class(where, kind, name, module)
    for key, value in fields.items():
        # A part stores its class name under its kind, before its fields, which may have the name of another kind.
        items = value.items() if isinstance(value, Mapping) else ()
        nested = [Description._kinds[k] for k, text in items if k in Description._kinds and isinstance(text, str)]
        if nested:
            fields[key] = from_fields(f"{where}.{key}", value, nested[0], model)
    try:
        fields = cls.upgrade(fields, model)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from error
    return construct(cls, f"{where}.", fields)


def modules(fields: Any) -> list[str]:
    """Returns the modules outside this package that define the classes of the parts in JSON."""
    if isinstance(fields, list):
        return [name for item in fields for name in modules(item)]
    if not isinstance(fields, Mapping):
        return []
    named = any(isinstance(fields.get(kind), str) for kind in Description._kinds)
    here = [fields["module"]] if named and isinstance(fields.get("module"), str) else []
    return list(dict.fromkeys([*here, *(name for value in fields.values() for name in modules(value))]))


def _class(where: str, kind: type[Description], name: str, module: Any) -> type[Description]:
    """Returns the class of a name that was stored with a module; that of another module if there is none in it."""
    if isinstance(module, str) and (module, name) in kind._classes_by_module:
        return kind._classes_by_module[module, name]
    cls = kind.classes[name]
    # Modules are renamed, and classes move from one to another.
    if isinstance(module, str) and module != "__main__":
        _log.warning(
            "%s: %s was defined in the module %s, and that of %s is taken. If the former still has it, import it "
            "first, by --plugins=%s in a command",
            where,
            name,
            module,
            cls.__module__,
            module,
        )
    return cls


def _advice(name: Any, module: Any) -> str:
    if not isinstance(module, str):
        return ""
    if module == "__main__":
        return f" {name} was defined in the program that saved the model: put it into a module, and import that first."
    return f" It was defined in the module {module}: import {module} first, by --plugins={module} in a command."


def construct(cls: type, where: str, fields: Mapping[str, Any]) -> Any:
    """Returns an instance of a dataclass from JSON values, whose names and types are checked.

    Raises:
      ValueError: if a field is unknown, missing, of the wrong type, or refused by the class.
    """
    known = {field.name: field for field in _stored_fields(cls)}
    values = {}
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"{where}{name} is not a field of a {cls.__name__}; they are {', '.join(known)}.")
        expected = _TYPES.get(known[name].type, known[name].type)
        right = {float: (float, int), int: int, str: str, bool: bool}.get(expected, object)
        # bool is a subclass of int.
        if not isinstance(value, right) or (expected in (int, float) and isinstance(value, bool)):
            raise ValueError(f"{where}{name}={value!r} must be of type {expected.__name__}.")
        values[name] = _with_tuples(value)
    missing = [
        name
        for name, field in known.items()
        if name not in fields and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}{missing[0]} is missing.")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def _stored_fields(cls: type) -> list[dataclasses.Field]:
    """Returns the fields of a dataclass that its constructor takes; others follow from these."""
    return [field for field in dataclasses.fields(cls) if field.init]


def _with_tuples(value: Any) -> Any:
    """Converts lists, also in lists, to tuples, which JSON lacks."""
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
