// SPDX-License-Identifier: MIT
//
// heads.js — the overview: every head a tile with a picture of its block map, framed in the colour of a measure,
// in the model's order or sorted.

import { byId, headName, make, percent } from "./elements.js";
import { colourOf, massRamp, measureColour, measureScale } from "./colours.js";
import { change, state } from "./state.js";

export const MEASURES = {
    needle: ["needle mass", "mass that the last rows put on the first needle", percent],
    recall: ["recall", "share of the exact attention that the kept blocks hold, from the certified rows", percent],
    sink: ["sink share", "mean mass on the first key block", percent],
    window: ["window share", "mean mass on the rows' own key blocks and the one before", percent],
    far: ["far mass", "mean mass on all other key blocks", percent],
    entropy: [
        "entropy",
        "mean entropy of the masses of a query block, in bits",
        (x) => (Number.isFinite(x) ? `${x.toFixed(2)} bit` : "not known"),
    ],
    kurtosis: [
        "kurtosis",
        "excess kurtosis of how much each key block is read from afar: high for receiver heads",
        (x) => (Number.isFinite(x) ? x.toFixed(1) : "not known"),
    ],
};

const SIZES = [120, 90, 70, 54, 46, 38, 32, 28, 25, 22, 19, 16]; // pixels of a tile
const GAP = 2;
const LABEL = 32; // width of a layer's name

export class HeadGrid {
    // heads: [{layer, head, measure: {name: number}}], maps: U8 [n, cellsQ, cellsK]
    constructor(heads, maps, cellsQ, cellsK) {
        this.heads = heads;
        this.maps = maps;
        this.cellsQ = cellsQ;
        this.cellsK = cellsK;
        this.box = byId("grid");
        this.pixels = heads.map((_, n) => this.drawMap(n));
        this.tiles = heads.map((head, n) => this.makeTile(head, n));
        this.box.addEventListener("keydown", (event) => this.onKey(event));
        this.fillControls();
        new ResizeObserver(() => this.fit()).observe(this.box);
    }

    // The largest tiles with which all heads are in sight, layers side by side where there is room; else the smallest.
    fit() {
        const widest = Math.max(
            ...[...new Set(this.heads.map((head) => head.layer))].map(
                (layer) => this.heads.filter((head) => head.layer === layer).length,
            ),
        );
        const layers = new Set(this.heads.map((head) => head.layer)).size;
        const shown = this.tiles.filter((tile) => !tile.hidden).length;
        const fits = (size) => {
            const width = this.box.clientWidth - 8;
            const columns =
                state().sort === "layer"
                    ? Math.floor(width / (LABEL + widest * (size + GAP) + 8))
                    : Math.floor(width / (size + GAP));
            const rows = Math.ceil((state().sort === "layer" ? layers : shown) / Math.max(1, columns));
            return columns > 0 && rows * (size + GAP) < this.box.clientHeight - 6;
        };
        const size = SIZES.find(fits) ?? SIZES.at(-1);
        this.box.style.setProperty("--tile", `${size}px`);
        this.box.style.setProperty("--column", `${LABEL + widest * (size + GAP)}px`);
    }

    fillControls() {
        for (const [name, [label]] of Object.entries(MEASURES))
            byId("measure").append(make("option", { value: name }, label));
        byId("measure").addEventListener("change", (event) => change({ measure: event.target.value }));
        byId("sort").addEventListener("change", (event) => change({ sort: event.target.value }));
        byId("least").addEventListener("input", (event) => change({ least: event.target.value }));
    }

    drawMap(n) {
        const canvas = make("canvas", { width: this.cellsK, height: this.cellsQ, "aria-hidden": "true" });
        this.paint(canvas, n);
        return canvas;
    }

    paint(canvas, n) {
        const ramp = massRamp();
        const cells = this.cellsQ * this.cellsK;
        const image = new ImageData(this.cellsK, this.cellsQ);
        for (let i = 0; i < cells; i++) {
            const x = this.maps[n * cells + i];
            for (let c = 0; c < 3; c++) image.data[4 * i + c] = ramp[3 * x + c];
            image.data[4 * i + 3] = 255;
        }
        canvas.getContext("2d").putImageData(image, 0, 0);
    }

    makeTile(head, n) {
        return make(
            "button",
            {
                class: "tile",
                role: "gridcell",
                tabindex: -1,
                "data-head": `${head.layer}.${head.head}`,
                onclick: (event) => this.open(head, event.ctrlKey || event.metaKey),
                onfocus: (event) => this.tell(event.target, head),
                onmouseenter: (event) => this.tell(event.target, head),
            },
            this.pixels[n],
        );
    }

    // A click opens; with Ctrl it adds the head to those that answer, or takes it away.
    open(head, add) {
        const name = `${head.layer}.${head.head}`;
        if (!add) return change({ head: name, panel: "map" });
        const chosen = new Set(/^\d/.test(state().with) ? state().with.split(",") : []);
        if (!chosen.delete(name)) chosen.add(name);
        return change({ with: chosen.size ? [...chosen].join(",") : "all" });
    }

    tell(tile, head) {
        const [label, , format] = MEASURES[state().measure];
        byId("tile-facts").textContent = `${headName(head)}: ${label} ${format(head.measure[state().measure])}`;
        tile.title = Object.entries(MEASURES)
            .map(([name, [text, , show]]) => `${text} ${show(head.measure[name])}`)
            .join("\n");
    }

    order() {
        const { measure, sort } = state();
        const list = this.heads.map((_, n) => n);
        const value = (n) => this.heads[n].measure[measure];
        const known = (n) => (Number.isFinite(value(n)) ? 0 : 1);
        if (sort === "most") list.sort((a, b) => known(a) - known(b) || value(b) - value(a) || a - b);
        if (sort === "least") list.sort((a, b) => known(a) - known(b) || value(a) - value(b) || a - b);
        return list;
    }

    // What the tiles' frames are scaled to.
    scale() {
        const values = this.heads
            .map((head) => head.measure[state().measure])
            .filter(Number.isFinite)
            .sort((a, b) => a - b);
        if (values.length === 0) return [0, 1];
        if (["entropy", "kurtosis"].includes(state().measure)) {
            const low = values[Math.floor(0.02 * (values.length - 1))];
            const high = values[Math.ceil(0.98 * (values.length - 1))];
            return [low, high > low ? high : low + 1];
        }
        return [0, Math.max(values.at(-1), 1e-6)];
    }

    update(repaint) {
        const { measure, sort, least, head: open } = state();
        const [low, high] = this.scale();
        const [label, meaning, format] = MEASURES[measure];
        const floor = least === "" ? -Infinity : Number(least);
        for (const [id, value] of [
            ["measure", measure],
            ["sort", sort],
            ["least", least],
        ])
            if (byId(id).value !== value) byId(id).value = value;
        if (repaint) this.pixels.forEach((canvas, n) => this.paint(canvas, n));
        byId("measure-meaning").textContent = meaning;
        byId("scale").style.backgroundImage = measureScale();
        byId("scale-low").textContent = format(low);
        byId("scale-high").textContent = format(high);
        const chosen = new Set(/^\d/.test(state().with) ? state().with.split(",") : []);
        this.heads.forEach((head, n) => {
            const x = head.measure[measure];
            const tile = this.tiles[n];
            tile.style.backgroundColor = measureColour((x - low) / (high - low));
            tile.hidden = !(x >= floor || (floor === -Infinity && !Number.isFinite(x)));
            tile.classList.toggle("open", tile.dataset.head === open);
            tile.classList.toggle("chosen", chosen.has(tile.dataset.head));
            tile.setAttribute("aria-label", `layer ${head.layer} head ${head.head}, ${label} ${format(x)}`);
            tile.setAttribute("aria-selected", String(tile.dataset.head === open));
        });
        const shown = this.tiles.filter((tile) => !tile.hidden).length;
        byId("shown").textContent =
            shown < this.tiles.length ? `${shown} of ${this.tiles.length} heads` : `${shown} heads`;
        this.lay(sort);
    }

    // In rows by layer, or one after the other.
    lay(sort) {
        const order = this.order();
        const key = `${sort} ${order.join()} ${this.tiles.map((tile) => Number(tile.hidden)).join("")}`;
        if (key !== this.laid) {
            this.laid = key;
            const rows = new Map();
            for (const n of order) {
                const row = sort === "layer" ? this.heads[n].layer : 0;
                if (!rows.has(row))
                    rows.set(row, make("div", { class: sort === "layer" ? "row" : "row flow", role: "row" }));
                if (sort === "layer" && !rows.get(row).firstChild)
                    rows.get(row).append(make("span", { class: "layer", role: "rowheader" }, `L${row}`));
                rows.get(row).append(this.tiles[n]);
            }
            this.box.replaceChildren(...[...rows.values()].filter((row) => row.querySelector(".tile:not([hidden])")));
        }
        const open =
            this.tiles.find((tile) => tile.classList.contains("open") && !tile.hidden) ??
            this.box.querySelector(".tile:not([hidden])");
        for (const tile of this.tiles) tile.tabIndex = tile === open ? 0 : -1;
        this.box.classList.toggle("layers", sort === "layer");
        this.fit();
    }

    // The tile above or below: of the next layer, or of the next line where tiles flow.
    vertical(tile, sign) {
        const row = tile.parentElement;
        if (state().sort === "layer") {
            const rows = [...this.box.children];
            const tiles = [...(rows[rows.indexOf(row) + sign]?.querySelectorAll(".tile:not([hidden])") ?? [])];
            const at = [...row.querySelectorAll(".tile:not([hidden])")].indexOf(tile);
            return tiles[Math.min(at, tiles.length - 1)];
        }
        const tiles = [...row.querySelectorAll(".tile:not([hidden])")];
        const perLine = tiles.filter((other) => other.offsetTop === tiles[0].offsetTop).length;
        return tiles[tiles.indexOf(tile) + sign * perLine];
    }

    onKey(event) {
        const tiles = [...this.box.querySelectorAll(".tile:not([hidden])")];
        const here = document.activeElement;
        const at = tiles.indexOf(here);
        if (at < 0) return;
        const target = {
            ArrowRight: () => tiles[at + 1],
            ArrowLeft: () => tiles[at - 1],
            ArrowDown: () => this.vertical(here, 1),
            ArrowUp: () => this.vertical(here, -1),
            Home: () => tiles[0],
            End: () => tiles.at(-1),
        }[event.key]?.();
        if (!target) return;
        event.preventDefault();
        here.tabIndex = -1;
        target.tabIndex = 0;
        target.focus();
    }

    // For saving: what is in sight of the grid, as it is laid out.
    picture() {
        const base = this.box.getBoundingClientRect();
        const tiles = this.tiles.map((tile, n) => [tile, n]).filter(([tile]) => !tile.hidden);
        const height = this.box.scrollHeight + 30;
        const draw = (painter) => {
            const [label] = MEASURES[state().measure];
            painter.text(
                8,
                18,
                `${label}: ${byId("scale-low").textContent} to ${byId("scale-high").textContent}`,
                colourOf("ink"),
                { size: 13 },
            );
            for (const [tile, n] of tiles) {
                const box = tile.getBoundingClientRect();
                const x = box.left - base.left + this.box.scrollLeft;
                const y = box.top - base.top + this.box.scrollTop + 30;
                painter.rect(x, y, box.width, box.height, tile.style.backgroundColor);
                painter.image(x + 3, y + 3, box.width - 6, box.height - 6, this.pixels[n]);
            }
            for (const name of this.box.querySelectorAll(".layer")) {
                const box = name.getBoundingClientRect();
                painter.text(
                    box.right - base.left + this.box.scrollLeft - 4,
                    box.top - base.top + this.box.scrollTop + 30 + box.height / 2 + 4,
                    name.textContent,
                    colourOf("ink"),
                    { size: 11, anchor: "end" },
                );
            }
        };
        return { width: Math.max(200, this.box.scrollWidth), height, draw };
    }
}
