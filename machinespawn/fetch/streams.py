"""Simplestreams: a server's list of products, and what the latest version of one is made of.

streams/v1/images.json -> products -> versions -> items, as images.linuxcontainers.org has it.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from machinespawn.errors import NetworkError, NotFoundError
from machinespawn.fetch.download import Web
from machinespawn.text import _

LIST = "streams/v1/images.json"
LIST_MAX = 256 << 20
ITEM = "root.tar.xz"
"""The item that is a root file system as a plain tar."""


@dataclass(frozen=True)
class Item:
    """One file of one version of a product."""

    url: str
    sha256: str
    size: int
    """Bytes; 0 where the list does not say."""
    version: str


def latest(server: str, product: str, web: Web) -> Item:
    """The root file system of the product's latest version. Raises NotFoundError for an unknown product."""
    base = server.rstrip("/") + "/"
    content = web.read(base + LIST, LIST_MAX)
    try:
        return _latest(content, base, product)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NetworkError(
            _("{url} is no list of images: {error}").format(url=base + LIST, error=f"{type(error).__name__} {error}"),
            _("check the recipe's streams: URL, and whether a proxy or a login page answers in its place"),
        ) from error


def _latest(content: bytes, base: str, product: str) -> Item:
    products: dict[str, Any] = json.loads(content)["products"]
    if product not in products:
        close = difflib.get_close_matches(product, products, 3)
        raise NotFoundError(
            _("{server} has no product {product}").format(server=base, product=product),
            _("did you mean {names}?").format(names=", ".join(close))
            if close
            else _("it may be gone: see its web page"),
        )
    versions: dict[str, Any] = products[product]["versions"]
    for version in sorted(versions, reverse=True):  # named by date and time
        item = versions[version]["items"].get(ITEM)
        if item:
            return Item(_url(base, item["path"]), _digest(item["sha256"]), int(item.get("size", 0)), version)
    raise NotFoundError(
        _("{server} has {product}, but no {item} of it").format(server=base, product=product, item=ITEM),
        _("it may be published right now: try again in an hour"),
    )


def _url(base: str, path: str) -> str:
    url = urljoin(base, path)
    if urlsplit(url)[:2] != urlsplit(base)[:2]:
        raise ValueError(_("{path!r} leads to another server").format(path=path))
    return url


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError(_("{text!r} is no sha256").format(text=text))
    return text
