"""Hardened XML: no document type, no entities, no network, bounded size, and numbers that are checked when read."""

from __future__ import annotations

import math
import re
from pathlib import Path

from lxml import etree

from simworld.readers.limits import LIMITS

_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_NAME = re.compile(rb"([A-Za-z_][\w.:-]*)")
# Encodings in which the bytes of "<!DOCTYPE" are what they look like, so that the search below can't be fooled.
_ASCII_SUPERSETS = {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "latin-1", "windows-1252"}


def read_bytes(path: str | Path, limit: int = LIMITS.file_bytes) -> bytes:
    """The content of a file; ValueError where it is missing, unreadable or larger than `limit` bytes."""
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError(f"{path} does not exist or is not a file")
        size = path.stat().st_size
        if size > limit:
            raise ValueError(f"{path} has {size} bytes, more than the {limit} that are read")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error


def parse_xml(data: bytes, name: str) -> etree._Element:
    """The root of an XML document, tags without namespaces, comments removed.

    `name` is what messages call the document. Raises ValueError on anything that is not plain XML:
    document types (and with them every entity), odd encodings, malformed or oversized documents.
    """
    if len(data) > LIMITS.xml_bytes:
        raise ValueError(f"{name} has {len(data)} bytes, more than the {LIMITS.xml_bytes} read as XML")
    text = data.removeprefix(b"\xef\xbb\xbf")
    declared = _ENCODING.match(text[:300])
    if b"\0" in text or not text.lstrip().startswith(b"<"):
        raise ValueError(f"{name} is not XML in UTF-8")
    if declared and declared.group(1).decode().lower() not in _ASCII_SUPERSETS:
        raise ValueError(f"{name} is XML in {declared.group(1).decode()}, save it as UTF-8")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError(f"{name} declares a document type or entities, which are refused for safety")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(text, parser, base_url=name)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise ValueError(f"{name} is not well-formed XML: {one_line(error)}") from error
    for count, element in enumerate(root.iter()):
        if count > LIMITS.xml_elements:
            raise ValueError(f"{name} has more than {LIMITS.xml_elements} elements")
        if isinstance(element.tag, str) and element.tag.startswith("{"):
            element.tag = element.tag.partition("}")[2]
    return root


def root_name(data: bytes) -> str:
    """The root element's name without namespace, looked up ahead of parsing; empty where only a parser can tell."""
    head = data[:65536]
    at = head.find(b"<")
    while at >= 0:
        if head.startswith(b"<?", at):
            at = head.find(b"?>", at)
        elif head.startswith(b"<!--", at):
            at = head.find(b"-->", at)
        else:
            found = _NAME.match(head, at + 1)
            return found.group(1).decode().rpartition(":")[2] if found else ""
        at = head.find(b"<", at) if at >= 0 else -1
    return ""


def one_line(error: BaseException) -> str:
    """What another library complains of, short and on one line."""
    return " ".join(str(error).split())[:200]


def where(element: etree._Element) -> str:
    """`<tag> at line n`, for messages."""
    return f"<{element.tag}> at line {element.sourceline}"


def word(element: etree._Element, name: str, default: str | None = None) -> str:
    """An attribute as text; ValueError where it is missing and no default is given."""
    value = element.get(name)
    if value is not None:
        return value.strip()
    if default is None:
        raise ValueError(f"{where(element)} lacks the attribute {name!r}")
    return default


def number(
    element: etree._Element,
    name: str,
    default: float | None = None,
    *,
    lowest: float = -LIMITS.coordinate_m,
    highest: float = LIMITS.coordinate_m,
) -> float:
    """An attribute as a finite number within bounds; ValueError otherwise, or where missing without default."""
    if default is not None and not (element.get(name) or "").strip():
        return default
    return to_number(word(element, name), f"{where(element)} {name}", lowest=lowest, highest=highest)


def to_number(
    text: str, label: str, *, lowest: float = -LIMITS.coordinate_m, highest: float = LIMITS.coordinate_m
) -> float:
    """Text as a finite number within bounds; `label` is what the ValueError calls it."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{label} is {text[:60]!r}, not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{label} is {text[:60]!r}, not a finite number")
    if not lowest <= value <= highest:
        raise ValueError(f"{label} is {value:g}, outside {lowest:g} to {highest:g}")
    return value


def integer(element: etree._Element, name: str, default: int | None = None) -> int:
    """An attribute as a whole number; ValueError otherwise."""
    value = number(element, name, None if default is None else float(default))
    if value != int(value):
        raise ValueError(f"{where(element)} {name} is {value:g}, not a whole number")
    return int(value)


def flag(element: etree._Element, name: str, default: bool = False) -> bool:
    """An attribute as true or false (also 1 and 0); ValueError otherwise."""
    text = (element.get(name) or "").strip().lower()
    if not text:
        return default
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError(f"{where(element)} {name} is {text[:60]!r}, not true or false")


def child(element: etree._Element, tag: str) -> etree._Element:
    """The first child with this tag; ValueError where there is none."""
    found = element.find(tag)
    if found is None:
        raise ValueError(f"{where(element)} lacks a <{tag}>")
    return found


def only_child(element: etree._Element) -> etree._Element:
    """The first child element of any tag; ValueError where there is none."""
    for found in element:
        if isinstance(found.tag, str):
            return found
    raise ValueError(f"{where(element)} is empty")
