"""Makes a scenario literal: parameters and expressions become values, catalog references become what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.openscenario.expressions import evaluate
from simworld.readers.xml import parse_xml, read_bytes, where, word

_REFERENCE = re.compile(r"^\$([A-Za-z_][\w.-]*)$")
_EMBEDDED = re.compile(r"\$\{([^{}]*)\}")
# Attributes that name a thing rather than hold a value: what can't be computed in them stays as text.
_NAMES = ("name", "storyboardElementRef", "description", "author")


# What a missing catalog entry can be left out of, because it moves nothing.
_NO_MOTION = ("ObjectController", "AssignControllerAction", "ControllerAction", "EnvironmentAction")
MAX_CHAIN = 40  # parameters defined by parameters
MAX_DEPTH = 150  # elements within elements, catalogs included


class Scope:
    """Parameters in force at a place: those declared there, then those around it."""

    def __init__(self, outer: Scope | None = None) -> None:
        self._outer = outer
        self._raw: dict[str, str] = {}
        self._value: dict[str, str] = {}
        self._open: list[str] = []

    def declare(self, name: str, raw: str) -> None:
        """Add a parameter by the text of its value, worked out when first asked for."""
        self._raw[name] = raw

    def assign(self, name: str, value: str) -> None:
        """Give a parameter a value that needs no more work, such as an assignment from outside."""
        self._raw[name] = self._value[name] = value

    def names(self) -> set[str]:
        """All parameters that can be seen from here."""
        return set(self._raw) | (self._outer.names() if self._outer else set())

    def lookup(self, name: str) -> str:
        """The value of a parameter; ValueError where unknown or defined in a circle."""
        if name not in self._raw:
            if self._outer is not None:
                return self._outer.lookup(name)
            raise ValueError(f"the parameter ${name} is not declared")
        if name not in self._value:
            if name in self._open:
                raise ValueError(f"the parameters {' -> '.join([*self._open, name])} are defined in a circle")
            if len(self._open) >= MAX_CHAIN:
                raise ValueError(f"the parameter ${name} is defined over more than {MAX_CHAIN} others")
            self._open.append(name)
            self._value[name] = self.resolve(self._raw[name])
            self._open.pop()
        return self._value[name]

    def resolve(self, text: str) -> str:
        """An attribute's text with $name and ${...} worked out."""
        if "$" not in text:
            return text
        match = _REFERENCE.match(text.strip())
        if match:
            try:
                return self.lookup(match.group(1))
            except ValueError as error:
                near = get_close_matches(match.group(1), self.names())
                hint = f"; did you mean ${', $'.join(near)}?" if near else ""
                raise ValueError(f"{error}{hint}") from None
        return _EMBEDDED.sub(lambda m: evaluate(m.group(1), self.lookup), text).replace("\\$", "$")


class Catalogs:
    """Catalog entries by (catalog, entry) from the folders that a scenario names, read when first needed."""

    def __init__(self, folders: list[Path], notes: Notes) -> None:
        self._folders = folders
        self._notes = notes
        self._entries: dict[tuple[str, str], etree._Element] | None = None
        self._bytes_left = LIMITS.xml_bytes

    def find(self, catalog: str, entry: str) -> etree._Element:
        """The entry's element; ValueError that lists what there is otherwise."""
        if self._entries is None:
            self._entries = {}
            # A catalog answers to its own name and, where that is free, to the name of its file.
            for names, element in list(self._read()):
                for own_name in names:
                    self._entries.setdefault((own_name, word(element, "name", "")), element)
        found = self._entries.get((catalog, entry))
        if found is None:
            near = get_close_matches(entry, [e for c, e in self._entries if c == catalog], n=4)
            hint = f"; near are {', '.join(near)}" if near else f"; searched {', '.join(map(str, self._folders))}"
            raise ValueError(f"no catalog {catalog!r} with an entry {entry!r} was found{hint}")
        return found

    def _read(self) -> Iterator[tuple[tuple[str, str], etree._Element]]:
        """((catalog's name, file's name), entry) of every entry."""
        for folder in self._folders:
            if not folder.is_dir():
                self._notes.add(f"catalog folder {folder.name}", None, f"{folder} does not exist; left out")
                continue
            for path in sorted(folder.iterdir())[:500]:
                if path.suffix.lower() not in (".xosc", ".xml") or not path.is_file():
                    continue
                data = read_bytes(path, self._bytes_left)
                self._bytes_left -= len(data)
                catalog = parse_xml(data, path.name).find("Catalog")
                if catalog is not None:
                    for entry in catalog:
                        yield (word(catalog, "name", ""), path.stem), entry


class Expander:
    """Rewrites a tree in place; one object per document, so that its limits span all catalogs."""

    def __init__(self, catalogs: Catalogs, notes: Notes) -> None:
        self._catalogs = catalogs
        self._notes = notes
        self._expansions = 0
        self._elements = 0

    def expand(self, element: etree._Element, scope: Scope, chain: tuple[str, ...] = (), depth: int = 0) -> None:
        """Work out every attribute under `element` and put catalog entries where they are referenced."""
        self._elements += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"elements are nested more than {MAX_DEPTH} deep, at {where(element)}")
        if self._elements > LIMITS.xml_elements // 4:
            raise ValueError("the scenario grows beyond all bounds when its catalogs are filled in")
        declarations = element.find("ParameterDeclarations")
        if declarations is not None:
            scope = declared(declarations, scope)
        for name, text in element.attrib.items():
            if "$" in text:
                element.set(name, _resolved(element, name, text, scope))
        for part in list(element):
            if part.tag == "ParameterDeclarations":
                continue
            if part.tag == "CatalogReference":
                self._replace(part, scope, chain, depth + 1)
            else:
                self.expand(part, scope, chain, depth + 1)

    def _replace(self, reference: etree._Element, scope: Scope, chain: tuple[str, ...], depth: int) -> None:
        catalog = scope.resolve(word(reference, "catalogName"))
        entry = scope.resolve(word(reference, "entryName"))
        label = f"{catalog}/{entry}"
        self._expansions += 1
        if label in chain:
            raise ValueError(f"catalog entries refer to each other in a circle: {' -> '.join([*chain, label])}")
        if len(chain) >= LIMITS.catalog_depth or self._expansions > LIMITS.catalog_expansions:
            raise ValueError(f"catalog references are nested too deeply or too many, at {where(reference)}")
        try:
            copy = deepcopy(self._catalogs.find(catalog, entry))
        except ValueError as error:
            parent = reference.getparent()
            if parent.tag not in _NO_MOTION:
                raise
            self._notes.add(f"CatalogReference {label}", reference.sourceline, f"left out: {error}")
            parent.remove(reference)
            return
        inner = Scope(scope)
        for assignment in reference.iterfind("ParameterAssignments/ParameterAssignment"):
            inner.assign(word(assignment, "parameterRef").lstrip("$"), scope.resolve(word(assignment, "value")))
        assigned = {word(a, "parameterRef").lstrip("$") for a in reference.iter("ParameterAssignment")}
        for declaration in list(copy.iterfind("ParameterDeclarations/ParameterDeclaration")):
            if word(declaration, "name", "") in assigned:
                declaration.getparent().remove(declaration)
        self.expand(copy, inner, (*chain, label), depth)
        copy.set("fromCatalog", label)
        reference.getparent().replace(reference, copy)


def declared(declarations: etree._Element, outer: Scope | None) -> Scope:
    """A scope that holds the <ParameterDeclaration>s, inside `outer`."""
    scope = Scope(outer)
    for declaration in declarations.iterfind("ParameterDeclaration"):
        scope.declare(word(declaration, "name").lstrip("$"), word(declaration, "value", ""))
    return scope


def _resolved(element: etree._Element, name: str, text: str, scope: Scope) -> str:
    try:
        return scope.resolve(text)
    except ValueError as error:
        if name in _NAMES:
            return text
        raise ValueError(f"{where(element)} {name}={text[:60]!r}: {error}") from None
