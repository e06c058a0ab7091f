# SPDX-License-Identifier: MIT
"""The ways from one passage to another, through layers, heads and the residual stream (analyse.h)."""

import ctypes as c
from dataclasses import dataclass

from . import _abi
from ._arrays import whole

MOST = 1000  # ST_ROUTES_MAX
BY = (None, "value", "mass")  # st_route_weight


@dataclass(frozen=True)
class Hop:
    """In this layer this head of the tokens `query` reads from the tokens `key`, (begin, end) each. mass: as stored;
    weight: the share of the reader's state after the layer that this is, 0..1; size: of what the head writes by a read
    of this key block with all its mass, None if it was not recorded."""

    layer: int
    head: int
    query: tuple
    key: tuple
    mass: float
    weight: float
    size: float | None = None


@dataclass(frozen=True)
class Route:
    """weight: share of the target's state that came this way. hops: from the source on; none if source and target share
    a block."""

    weight: float
    hops: tuple


@dataclass(frozen=True)
class Routes:
    """flow: share of the target's state that came from the source, 0..1. routes: the heaviest, most first. heads:
    (layer, head, share of the flow that it moves), most first. layers: (layer, at_source, between, at_target), shares
    of the flow after each recorded layer. source, target: the tokens of the blocks that count as these. by: "mass" or
    "value", what the edges weigh by; not effect: `sparsetrace route --prove` and `prove` tell that."""

    flow: float
    routes: tuple
    heads: tuple
    layers: tuple
    source: tuple
    target: tuple
    by: str = "mass"


def heads_of(heads):
    pairs = [(whole(n, "layer", 0, 65535), whole(h, "head", 0, 65535)) for n, h in heads]
    if not pairs:
        raise ValueError("heads is empty; None means all")
    return (_abi.Route_Head * len(pairs))(*(_abi.Route_Head(n, h, 0.0) for n, h in pairs))


def routes(trace, source, target, n, sink, heads, by):
    if by not in BY:
        raise ValueError(f"by is {by!r}, must be one of {', '.join(map(repr, BY))}")
    p = _abi.lib.st_route_params_default()
    p.source_begin, p.source_end = trace.span(source)
    p.target_begin, p.target_end = trace.span(target)
    p.by = BY.index(by)
    p.n_route, p.sink = whole(n, "n", 0, MOST), bool(sink)
    chosen = None if heads is None else heads_of(heads)
    if chosen is not None:
        p.head, p.n_head = chosen, len(chosen)
    found = c.POINTER(_abi.Routes)()
    _abi.call("st_routes_find", trace.handle, c.byref(p), c.byref(found))
    try:
        return told(found.contents)
    finally:
        _abi.lib.st_routes_free(found)


def told(r):
    hop = lambda h: Hop(
        h.layer, h.head, (h.query_begin, h.query_end), (h.key_begin, h.key_end), h.mass, h.weight, h.size if h.size >= 0 else None
    )
    return Routes(
        r.flow,
        tuple(Route(x.weight, tuple(hop(h) for h in x.hop[: x.n_hop])) for x in r.route[: r.n_route]),
        tuple((x.layer, x.head, x.share) for x in r.head[: r.n_head]),
        tuple((x.layer, x.at_source, x.between, x.at_target) for x in r.layer[: r.n_layer]),
        (r.source_begin, r.source_end),
        (r.target_begin, r.target_end),
        "value" if r.by_value else "mass",
    )
