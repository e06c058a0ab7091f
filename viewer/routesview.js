// SPDX-License-Identifier: MIT
//
// routesview.js — the routes panel: layers from bottom to top, only the tokens that are on a route on the other axis,
// each hop a line as thick as its mass. Routes come from a file of `sparsetrace route --json`, or are looked for here.

import { byId, headName, make, sharePercent, tokensOf } from "./elements.js";
import { colourOf } from "./colours.js";
import { findRoutes } from "./routes.js";
import { SvgPainter } from "./painter.js";
import { change, parseSpans, state } from "./state.js";

const SHOWN = 12;
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito
const PROOF = {
    proved: ["\u2713", "proved: the answer needs this read, and such reads are enough"],
    needed: ["n", "needed, but not enough alone"],
    enough: ["e", "enough alone, but not needed"],
    refuted: ["\u2715", "refuted: without this read the answer stays"],
};

// A route's weight is small: two digits of it.
function weightText(x) {
    return x >= 0.001 ? sharePercent(x) : `${Number((100 * x).toPrecision(2))}\u2009%`;
}

export class RoutesView {
    // files: of readRouteFile
    constructor(selections, text, files) {
        this.selections = selections;
        this.g = selections.geometry;
        this.text = text;
        this.files = files;
        this.box = byId("routes-picture");
        byId("edge").addEventListener("input", (event) => change({ edge: event.target.value }));
        byId("from-last").addEventListener("click", () => change({ from: "", routes: "found" }));
        byId("from-selection").addEventListener("click", () => {
            const [span] = parseSpans(state().sel, this.g.nTok);
            if (span) change({ from: span.join("-"), sel: "", routes: "found" });
        });
        this.listFiles();
        new ResizeObserver(() => this.draw()).observe(this.box);
    }

    // The menu of where routes come from.
    listFiles() {
        const menu = byId("routes-of");
        menu.append(
            ...this.files.map((file, n) =>
                make(
                    "option",
                    { value: n === 0 ? "" : String(n) },
                    `given: ${tokensOf(...file.from)} to ${tokensOf(...file.to)}`,
                ),
            ),
            make("option", { value: this.files.length > 0 ? "found" : "" }, "found here, from the selection"),
        );
        menu.parentElement.hidden = this.files.length === 0;
        menu.addEventListener("change", () => change({ routes: menu.value }));
    }

    // The file whose routes are shown, or null.
    file() {
        return state().routes === "found" ? null : (this.files[Number(state().routes) || 0] ?? null);
    }

    // Where routes end: a span of tokens, by default the last block.
    reader() {
        const last = Math.max(1, Math.min(this.g.nTok, this.g.rowEnd || this.g.nTok));
        return parseSpans(state().from, this.g.nTok)[0] ?? [Math.floor((last - 1) / this.g.bk) * this.g.bk, last];
    }

    async update() {
        const turn = (this.turn = (this.turn ?? 0) + 1);
        const file = this.file();
        byId("edge").value = state().edge;
        byId("edge-value").textContent = sharePercent(Number(state().edge));
        byId("routes-of").value = file ? state().routes : this.files.length > 0 ? "found" : "";
        const found = file ? this.given(file) : await this.look(turn);
        if (turn !== this.turn) return;
        this.chosen = undefined;
        this.routes = found;
        this.draw();
        this.list();
    }

    // The file's routes all of whose hops have the least mass.
    given(file) {
        const least = Number(state().edge);
        const routes = file.routes.filter((route) => route.hops.every((hop) => hop.mass >= least));
        byId("routes-ends").textContent =
            `from ${tokensOf(...file.from)} to ${tokensOf(...file.to)}, flow ${sharePercent(file.flow)}`;
        const hidden = file.routes.length - routes.length;
        byId("routes-state").textContent = hidden > 0 ? `${hidden} routes have a lighter hop and are not shown.` : "";
        return routes;
    }

    async look(turn) {
        const [source] = parseSpans(state().sel, this.g.nTok);
        const reader = this.reader();
        byId("routes-ends").textContent = source
            ? `from ${tokensOf(...source)} to ${tokensOf(...reader)}`
            : `to ${tokensOf(...reader)}: select in the text where they should come from`;
        if (!source || source[0] >= reader[1]) return [];
        const tell = (share) => {
            if (turn === this.turn)
                byId("routes-state").textContent = share < 1 ? `looking, ${Math.round(100 * share)}\u2009%` : "";
        };
        const routes = await findRoutes(this.selections, source, reader, Number(state().edge), SHOWN, tell);
        if (turn === this.turn && routes.length === 0)
            byId("routes-state").textContent = "No route of hops this strong.";
        return routes;
    }

    // ---- the list -----------------------------------------------------------------------------------------------

    list() {
        byId("routes").replaceChildren(...this.routes.map((route, n) => this.item(route, n)));
    }

    item(route, n) {
        const hops = route.hops.map((hop) =>
            make(
                "button",
                { class: "hop-button", onclick: () => this.choose(n, hop), title: PROOF[hop.proof]?.[1] ?? "" },
                `${PROOF[hop.proof]?.[0] ?? ""} ${headName(hop)} ${sharePercent(hop.mass)} \u2192 ${hop.reader[0]}`,
            ),
        );
        const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
        swatch.style.backgroundColor = PALETTE[n % PALETTE.length];
        return make(
            "li",
            {},
            make(
                "button",
                { onclick: () => this.choose(n) },
                swatch,
                make("span", { class: "share" }, weightText(route.weight)),
                ` from ${route.hops[0].source[0]}`,
            ),
            ...hops,
        );
    }

    choose(n, hop = this.routes[n].hops[0]) {
        this.chosen = n;
        this.draw();
        const quote = (span) => (this.text ? `\u201c${this.text.snippet(...span, 60)}\u201d` : "");
        byId("routes-state").replaceChildren(
            make(
                "button",
                { class: "who", onclick: () => change({ head: `${hop.layer}.${hop.head}`, panel: "map" }) },
                headName(hop),
            ),
            ` ${sharePercent(hop.mass)}: ${tokensOf(...hop.reader)} `,
            make("bdi", {}, quote(hop.reader)),
            ` read ${tokensOf(...hop.source)} `,
            make("bdi", {}, quote(hop.source)),
            hop.proof ? ` \u2013 ${PROOF[hop.proof][1]}` : "",
        );
    }

    // ---- the picture --------------------------------------------------------------------------------------------

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
        const [left, right, top, bottom] = [46, 20, 14, 54];
        const width = painter.width - left - right;
        const height = painter.height - top - bottom;
        const y = (position) => top + height - (position / layers.length) * height;
        const ends = new Map(
            routes.flatMap((r) => r.hops.flatMap((hop) => [hop.source, hop.reader].map((s) => [s[0], s]))),
        );
        const places = [...ends.values()].sort((a, b) => a[0] - b[0]);
        const column = new Map(places.map((span, n) => [span[0], n]));
        const x = (span) => left + ((column.get(span[0]) + 0.5) / Math.max(1, places.length)) * width;
        this.paintAxes(painter, {
            layers,
            places,
            x,
            y,
            left,
            right,
            height,
            room: width / Math.max(1, places.length),
        });
        for (let n = routes.length - 1; n >= 0; n--)
            for (const hop of routes[n].hops) {
                const at = Math.max(0, layers.indexOf(hop.layer));
                const place = [x(hop.source), y(at), x(hop.reader), y(at + 1)];
                const line = this.paintHop(painter, place, hop, n);
                if (line) onHop(line, n, hop);
            }
    }

    paintHop(painter, [x0, y0, x1, y1], hop, n) {
        const colour = this.chosen === n ? colourOf("ink") : PALETTE[n % PALETTE.length];
        const dash = hop.proof === "refuted" ? [5, 5] : [];
        const line = painter.line(x0, y0, x1, y1, colour, 1.5 + 6 * Math.sqrt(hop.mass), dash);
        const mark = PROOF[hop.proof]?.[0];
        if (mark) {
            const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
            painter.rect(x - 7, y - 7, 14, 14, colourOf("ground"));
            painter.text(x, y + 4, mark, colourOf("ink"), { size: 12, anchor: "middle", bold: true });
        }
        return line;
    }

    paintAxes(painter, { layers, places, x, y, left, right, height, room }) {
        const ink = colourOf("ink");
        const every = Math.ceil(layers.length / Math.max(1, height / 16));
        layers.forEach((layer, i) => {
            if (i % every === 0) painter.text(left - 10, y(i + 0.5) + 4, `L${layer}`, ink, { size: 10, anchor: "end" });
            painter.line(left - 4, y(i + 0.5), painter.width - right, y(i + 0.5), colourOf("hair"), 0.5);
        });
        places.forEach((span, n) => {
            const style = { size: 10, anchor: "middle" };
            painter.line(x(span), y(0), x(span), y(layers.length), colourOf("faint"), 1);
            const low = room < 60 && n % 2 === 1 ? 14 : 0;
            painter.text(x(span), y(0) + 16 + low, String(span[0]), ink, style);
            if (this.text && room > 90)
                painter.text(x(span), y(0) + 30, this.text.snippet(...span, Math.floor(room / 6)), ink, style);
        });
        painter.text(painter.width / 2, painter.height - 6, "tokens on a route, by the first of their block", ink, {
            size: 11,
            anchor: "middle",
        });
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
