// SPDX-License-Identifier: MIT
//
// routesview.js — the routes panel: layers from bottom to top, only the blocks that are on a route on the other axis,
// each hop a line as thick as its mass.

import { byId, headName, make, sharePercent, tokensOf } from "./elements.js";
import { colourOf } from "./colours.js";
import { findRoutes } from "./routes.js";
import { SvgPainter } from "./painter.js";
import { change, parseSpans, state } from "./state.js";

const SHOWN = 12;
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito

export class RoutesView {
    constructor(selections, text) {
        this.selections = selections;
        this.g = selections.geometry;
        this.text = text;
        this.box = byId("routes-picture");
        byId("edge").addEventListener("input", (event) => change({ edge: event.target.value }));
        byId("from-last").addEventListener("click", () => change({ from: "" }));
        byId("from-selection").addEventListener("click", () => {
            const [span] = parseSpans(state().sel, this.g.nTok);
            if (span) change({ from: span.join("-"), sel: "" });
        });
        new ResizeObserver(() => this.draw()).observe(this.box);
    }

    // Where routes end: a span of tokens, by default the last block.
    reader() {
        const last = Math.max(1, Math.min(this.g.nTok, this.g.rowEnd || this.g.nTok));
        return parseSpans(state().from, this.g.nTok)[0] ?? [Math.floor((last - 1) / this.g.bk) * this.g.bk, last];
    }

    async update() {
        const [source] = parseSpans(state().sel, this.g.nTok);
        const reader = this.reader();
        const turn = (this.turn = (this.turn ?? 0) + 1);
        byId("edge").value = state().edge;
        byId("edge-value").textContent = sharePercent(Number(state().edge));
        byId("routes-ends").textContent = source
            ? `from ${tokensOf(...source)} to ${tokensOf(...reader)}`
            : `to ${tokensOf(...reader)}: select in the text where they should come from`;
        this.routes = [];
        if (source && source[0] < reader[1]) {
            const tell = (share) => {
                if (turn === this.turn)
                    byId("routes-state").textContent = share < 1 ? `looking, ${Math.round(100 * share)}\u2009%` : "";
            };
            const found = await findRoutes(this.selections, source, reader, Number(state().edge), SHOWN, tell);
            if (turn !== this.turn) return;
            this.routes = found;
            byId("routes-state").textContent = found.length > 0 ? "" : "No route of hops this strong.";
        }
        this.draw();
        this.list();
    }

    list() {
        byId("routes").replaceChildren(
            ...this.routes.map((route, n) => {
                const steps = route.hops
                    .map((hop) => `${headName(hop)} ${sharePercent(hop.mass)} \u2192 ${hop.reader * this.g.bk}`)
                    .join(", ");
                return make(
                    "li",
                    {},
                    make(
                        "button",
                        { onclick: () => this.choose(n) },
                        make("span", { class: "share" }, sharePercent(route.weight)),
                        ` ${route.hops[0].source * this.g.bk} \u2192 ${steps}`,
                    ),
                );
            }),
        );
    }

    choose(n, hop = this.routes[n].hops[0]) {
        this.chosen = n;
        this.draw();
        const span = (c) => [c * this.g.bk, Math.min(this.g.nTok, (c + 1) * this.g.bk)];
        const quote = (c) => (this.text ? `\u201c${this.text.snippet(...span(c), 60)}\u201d` : tokensOf(...span(c)));
        byId("routes-state").replaceChildren(
            make(
                "button",
                { class: "who", onclick: () => change({ head: `${hop.layer}.${hop.head}`, panel: "map" }) },
                headName(hop),
            ),
            ` ${sharePercent(hop.mass)}: ${tokensOf(...span(hop.reader))} `,
            make("bdi", {}, quote(hop.reader)),
            ` read ${tokensOf(...span(hop.source))} `,
            make("bdi", {}, quote(hop.source)),
        );
    }

    draw() {
        const box = this.box.getBoundingClientRect();
        if (box.width < 60 || box.height < 60) return;
        const painter = new SvgPainter(box.width, box.height);
        this.paint(painter, (line, n, hop) => {
            line.classList.add("hop");
            line.addEventListener("click", () => this.choose(n, hop));
        });
        painter.root.setAttribute("role", "img");
        painter.root.setAttribute("aria-label", `${this.routes?.length ?? 0} routes; the list beside tells the same`);
        this.box.replaceChildren(painter.root);
    }

    paint(painter, onHop = () => {}) {
        const routes = this.routes ?? [];
        const layers = this.selections.trace.recorded.map((l) => l.layer);
        const ink = colourOf("ink");
        const [left, right, top, bottom] = [46, 20, 14, 54];
        const height = painter.height - top - bottom;
        const y = (position) => top + height - (position / layers.length) * height;
        const blocks = [...new Set(routes.flatMap((r) => r.hops.flatMap((hop) => [hop.source, hop.reader])))].sort(
            (a, b) => a - b,
        );
        const x = (block) =>
            left + ((blocks.indexOf(block) + 0.5) / Math.max(1, blocks.length)) * (painter.width - left - right);
        const every = Math.ceil(layers.length / Math.max(1, height / 16));
        layers.forEach((layer, i) => {
            if (i % every === 0) painter.text(left - 10, y(i + 0.5) + 4, `L${layer}`, ink, { size: 10, anchor: "end" });
            painter.line(left - 4, y(i + 0.5), painter.width - right, y(i + 0.5), colourOf("hair"), 0.5);
        });
        const room = (painter.width - left - right) / Math.max(1, blocks.length);
        blocks.forEach((block, n) => {
            painter.line(x(block), y(0), x(block), y(layers.length), colourOf("faint"), 1);
            const low = room < 60 && n % 2 === 1 ? 14 : 0;
            painter.text(x(block), y(0) + 16 + low, String(block * this.g.bk), ink, { size: 10, anchor: "middle" });
            if (this.text && room > 110)
                painter.text(
                    x(block),
                    y(0) + 30,
                    this.text.snippet(
                        block * this.g.bk,
                        Math.min(this.g.nTok, (block + 1) * this.g.bk),
                        Math.floor(room / 6.5),
                    ),
                    ink,
                    { size: 10, anchor: "middle" },
                );
        });
        painter.text(
            painter.width / 2,
            painter.height - 6,
            "key block, by its first token (only those on a route)",
            ink,
            { size: 11, anchor: "middle" },
        );
        for (let n = routes.length - 1; n >= 0; n--)
            for (const hop of routes[n].hops) {
                const at = layers.indexOf(hop.layer);
                const colour = this.chosen === n ? ink : PALETTE[n % PALETTE.length];
                const line = painter.line(
                    x(hop.source),
                    y(at),
                    x(hop.reader),
                    y(at + 1),
                    colour,
                    1.5 + 6 * Math.sqrt(hop.mass),
                );
                if (line) onHop(line, n, hop);
            }
    }

    picture() {
        const box = this.box.getBoundingClientRect();
        return {
            width: Math.max(box.width, 300),
            height: Math.max(box.height, 200),
            draw: (painter) => this.paint(painter),
        };
    }
}
