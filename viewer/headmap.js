// SPDX-License-Identifier: MIT
//
// headmap.js — one head's block map: query blocks downwards, key blocks to the right, from the whole sequence down to
// single blocks. A pixel shows the heaviest entry that falls on it, so that a needle is never averaged away.

import { byId, count, headName, oncePerFrame, sharePercent } from "./elements.js";
import { colourOf, massRamp } from "./colours.js";
import { CanvasPainter } from "./painter.js";
import { change, parseSpans, state } from "./state.js";

const LEFT = 74;
const BOTTOM = 40;
const TOP = 6;
const RIGHT = 10;

function niceStep(span, wanted) {
    const rough = span / wanted;
    const power = 2 ** Math.floor(Math.log2(Math.max(rough, 1)));
    return rough > 1.4 * power ? 2 * power : power;
}

export class HeadMap {
    constructor(geometry, text) {
        this.g = geometry;
        this.text = text;
        this.canvas = byId("map");
        this.draw = oncePerFrame(() => this.drawNow());
        this.listen();
        new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
    }

    show(head, rows) {
        this.head = head;
        this.rows = rows;
        byId("map-title").textContent = `${headName(head)}: what its rows read`;
        this.canvas.setAttribute(
            "aria-label",
            `Block map of layer ${head.layer} head ${head.head}. Arrows move, plus and minus zoom, 0 shows all, Enter selects the rows in the middle.`,
        );
        if (this.pointer) this.tell(...this.pointer); // it may rest here since before the rows arrived
        this.draw();
    }

    // ---- the window: [q0, q1, k0, k1] in tokens -----------------------------------------------------------------

    window() {
        const { nTok } = this.g;
        const found = /^(\d+)-(\d+)-(\d+)-(\d+)$/.exec(state().zoom);
        const w = found ? found.slice(1).map(Number) : [0, nTok, 0, nTok];
        return w[1] > w[0] && w[3] > w[2] && w[1] <= nTok && w[3] <= nTok ? w : [0, nTok, 0, nTok];
    }

    setWindow(q0, q1, k0, k1) {
        const { nTok, bq, bk } = this.g;
        const fit = (a, b, least) => {
            const size = Math.min(nTok, Math.max(Math.min(least, nTok), Math.round(b - a)));
            const begin = Math.min(Math.max(0, Math.round(a)), nTok - size);
            return [begin, begin + size];
        };
        const w = [...fit(q0, q1, 2 * bq), ...fit(k0, k1, 4 * bk)];
        change({ zoom: w.join("-") === `0-${nTok}-0-${nTok}` ? "" : w.join("-") });
    }

    // factor < 1 goes nearer; around a point given as shares of the plot.
    zoomBy(factor, fx = 0.5, fy = 0.5) {
        const [q0, q1, k0, k1] = this.window();
        const q = q0 + fy * (q1 - q0);
        const k = k0 + fx * (k1 - k0);
        this.setWindow(q - (q - q0) * factor, q + (q1 - q) * factor, k - (k - k0) * factor, k + (k1 - k) * factor);
    }

    pan(dx, dy) {
        const [q0, q1, k0, k1] = this.window();
        this.setWindow(q0 + dy * (q1 - q0), q1 + dy * (q1 - q0), k0 + dx * (k1 - k0), k1 + dx * (k1 - k0));
    }

    // ---- input --------------------------------------------------------------------------------------------------

    listen() {
        const c = this.canvas;
        c.addEventListener(
            "wheel",
            (event) => {
                event.preventDefault();
                const [fx, fy] = this.place(event);
                this.zoomBy(2 ** (Math.sign(event.deltaY) * 0.5), fx, fy);
            },
            { passive: false },
        );
        c.addEventListener("pointerdown", (event) => {
            c.setPointerCapture(event.pointerId);
            this.drag = { x: event.clientX, y: event.clientY, w: this.window(), moved: false };
        });
        c.addEventListener("pointermove", (event) => this.onMove(event));
        c.addEventListener("pointerup", (event) => {
            if (this.drag && !this.drag.moved) this.select(...this.place(event), event.shiftKey);
            this.drag = null;
        });
        c.addEventListener("pointercancel", () => {
            this.drag = null;
        });
        c.addEventListener("dblclick", (event) => this.zoomBy(0.25, ...this.place(event)));
        c.addEventListener("keydown", (event) => this.onKey(event));
        byId("zoom-in").addEventListener("click", () => this.zoomBy(0.5));
        byId("zoom-out").addEventListener("click", () => this.zoomBy(2));
        byId("zoom-all").addEventListener("click", () => change({ zoom: "" }));
    }

    // Where an event is, as shares of the plot.
    place(event) {
        const box = this.canvas.getBoundingClientRect();
        return [
            (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT),
            (event.clientY - box.top - TOP) / (box.height - TOP - BOTTOM),
        ];
    }

    onMove(event) {
        const [fx, fy] = this.place(event);
        if (!this.drag) return this.tell(fx, fy);
        const box = this.canvas.getBoundingClientRect();
        const dx = event.clientX - this.drag.x;
        const dy = event.clientY - this.drag.y;
        if (Math.hypot(dx, dy) > 4) this.drag.moved = true;
        if (!this.drag.moved) return undefined;
        const [q0, q1, k0, k1] = this.drag.w;
        const sx = (dx / (box.width - LEFT - RIGHT)) * (k1 - k0);
        const sy = (dy / (box.height - TOP - BOTTOM)) * (q1 - q0);
        return this.setWindow(q0 - sy, q1 - sy, k0 - sx, k1 - sx);
    }

    onKey(event) {
        const act = {
            ArrowLeft: () => this.pan(-0.2, 0),
            ArrowRight: () => this.pan(0.2, 0),
            ArrowUp: () => this.pan(0, -0.2),
            ArrowDown: () => this.pan(0, 0.2),
            "+": () => this.zoomBy(0.5),
            "=": () => this.zoomBy(0.5),
            "-": () => this.zoomBy(2),
            0: () => change({ zoom: "" }),
            Enter: () => this.select(0.5, 0.5, event.shiftKey),
        }[event.key];
        if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        act();
        this.tell(0.5, 0.5);
    }

    blockAt(fx, fy) {
        if (fx < 0 || fx >= 1 || fy < 0 || fy >= 1) return null;
        const [q0, q1, k0, k1] = this.window();
        return { b: Math.floor((q0 + fy * (q1 - q0)) / this.g.bq), c: Math.floor((k0 + fx * (k1 - k0)) / this.g.bk) };
    }

    spanOf(block, size) {
        return [block * size, Math.min(this.g.nTok, (block + 1) * size)];
    }

    select(fx, fy, keys) {
        const at = this.blockAt(fx, fy);
        if (!at) return;
        const [begin, end] = keys ? this.spanOf(at.c, this.g.bk) : this.spanOf(at.b, this.g.bq);
        change({ sel: `${begin}-${end}`, at: String(begin) });
    }

    // The line under the map. Far from the pixels of one block, the heaviest entry nearby is meant.
    tell(fx, fy) {
        this.pointer = [fx, fy];
        const at = this.blockAt(fx, fy);
        const line = byId("map-facts");
        if (!at || !this.rows) {
            line.textContent = "Wheel zooms, drag moves, click selects the rows, Shift and click the keys.";
            return;
        }
        const best = this.nearest(at);
        const rows = this.spanOf(best.b, this.g.bq);
        const keys = this.spanOf(best.c, this.g.bk);
        const snippet = (span) => (this.text ? ` \u201c${this.text.snippet(...span, 48)}\u201d` : "");
        line.textContent = `rows ${rows[0]}\u2013${rows[1] - 1}${snippet(rows)} read ${sharePercent(best.mass)} from keys ${keys[0]}\u2013${keys[1] - 1}${snippet(keys)}`;
    }

    nearest({ b, c }) {
        const [q0, q1, k0, k1] = this.window();
        const { bq, bk, nbq } = this.g;
        const dq = Math.ceil((q1 - q0) / 150 / bq) - 1;
        const dk = Math.ceil((k1 - k0) / 150 / bk) - 1;
        let best = { b, c, mass: 0 };
        for (let row = Math.max(0, b - dq); row <= Math.min(nbq - 1, b + dq); row++)
            for (let at = this.rows.indptr[row]; at < this.rows.indptr[row + 1]; at++)
                if (Math.abs(this.rows.indices[at] - c) <= dk && this.rows.mass[at] > best.mass)
                    best = { b: row, c: this.rows.indices[at], mass: this.rows.mass[at] };
        return best;
    }

    // ---- drawing ------------------------------------------------------------------------------------------------

    drawNow() {
        const box = this.canvas.parentElement.getBoundingClientRect();
        if (box.width < LEFT + 40 || box.height < BOTTOM + 40 || !this.rows) return;
        this.paint(new CanvasPainter(this.canvas, box.width, box.height, devicePixelRatio || 1));
    }

    // The plot's pixels: heaviest entry of each, then colours. What no row may read is left in another shade.
    pixels(width, height) {
        const [q0, q1, k0, k1] = this.window();
        const { bq, bk, nbq } = this.g;
        const heat = new Float32Array(width * height);
        const y = (token) => Math.floor(((token - q0) / (q1 - q0)) * height);
        const x = (token) => Math.floor(((token - k0) / (k1 - k0)) * width);
        for (let b = Math.floor(q0 / bq); b < Math.min(nbq, Math.ceil(q1 / bq)); b++) {
            const top = Math.max(0, y(b * bq));
            const bottom = Math.min(height, Math.max(y((b + 1) * bq), top + 1));
            for (let at = this.rows.indptr[b]; at < this.rows.indptr[b + 1]; at++) {
                const c = this.rows.indices[at];
                const left = Math.max(0, x(c * bk));
                const right = Math.min(width, Math.max(x((c + 1) * bk), x(c * bk) + 1));
                for (let row = top; row < bottom; row++)
                    for (let column = left; column < right; column++)
                        heat[row * width + column] = Math.max(heat[row * width + column], this.rows.mass[at]);
            }
        }
        return this.coloured(heat, width, height);
    }

    coloured(heat, width, height) {
        const [q0, q1, k0, k1] = this.window();
        const ramp = massRamp();
        const out = document.createElement("canvas");
        out.width = width;
        out.height = height;
        const image = new ImageData(width, height);
        const unread = colourOf("void").match(/\d+/g).map(Number);
        for (let i = 0; i < heat.length; i++) {
            const query = q0 + ((Math.floor(i / width) + 1) / height) * (q1 - q0);
            const never =
                heat[i] === 0 && k0 + ((i % width) / width) * (k1 - k0) > Math.ceil(query / this.g.bq) * this.g.bq;
            const level = heat[i] === 0 ? 0 : Math.round(24 + 231 * Math.sqrt(Math.min(1, heat[i])));
            for (let c = 0; c < 3; c++) image.data[4 * i + c] = never ? unread[c] : ramp[3 * level + c];
            image.data[4 * i + 3] = 255;
        }
        out.getContext("2d").putImageData(image, 0, 0);
        return out;
    }

    paint(painter) {
        const width = painter.width - LEFT - RIGHT;
        const height = painter.height - TOP - BOTTOM;
        const scale = painter instanceof CanvasPainter ? devicePixelRatio || 1 : 2;
        painter.rect(0, 0, painter.width, painter.height, colourOf("ground"));
        painter.image(LEFT, TOP, width, height, this.pixels(Math.round(width * scale), Math.round(height * scale)));
        this.paintAxes(painter, width, height);
        this.paintSelection(painter, width, height);
    }

    paintAxes(painter, width, height) {
        const [q0, q1, k0, k1] = this.window();
        const ink = colourOf("ink");
        const faint = colourOf("faint");
        painter.line(LEFT, TOP, LEFT, TOP + height, faint);
        painter.line(LEFT, TOP + height, LEFT + width, TOP + height, faint);
        const stepQ = niceStep(q1 - q0, height / 40);
        for (let q = Math.ceil(q0 / stepQ) * stepQ; q < q1; q += stepQ) {
            const at = TOP + ((q - q0) / (q1 - q0)) * height;
            painter.line(LEFT - 4, at, LEFT, at, faint);
            painter.text(LEFT - 7, at + 4, count(q), ink, { size: 11, anchor: "end" });
        }
        const stepK = niceStep(k1 - k0, width / 70);
        for (let k = Math.ceil(k0 / stepK) * stepK; k < k1; k += stepK) {
            const at = LEFT + ((k - k0) / (k1 - k0)) * width;
            painter.line(at, TOP + height, at, TOP + height + 4, faint);
            painter.text(at, TOP + height + 16, count(k), ink, { size: 11, anchor: "middle" });
        }
        painter.text(LEFT + width / 2, TOP + height + 34, "key (is read), token \u2192", ink, {
            size: 12,
            anchor: "middle",
        });
        painter.text(13, TOP + height / 2, "\u2190 query (reads), token", ink, {
            size: 12,
            anchor: "middle",
            turn: -90,
        });
    }

    // Where the selected tokens stand, as query and as key.
    paintSelection(painter, width, height) {
        const [q0, q1, k0, k1] = this.window();
        for (const [begin, end] of parseSpans(state().sel, this.g.nTok)) {
            const y0 = Math.max(0, ((begin - q0) / (q1 - q0)) * height);
            const y1 = Math.min(height, ((end - q0) / (q1 - q0)) * height);
            const x0 = Math.max(0, ((begin - k0) / (k1 - k0)) * width);
            const x1 = Math.min(width, ((end - k0) / (k1 - k0)) * width);
            if (y1 > 0 && y0 < height) painter.rect(LEFT - 3, TOP + y0, 5, Math.max(3, y1 - y0), colourOf("reader"));
            if (x1 > 0 && x0 < width)
                painter.rect(LEFT + x0, TOP + height - 2, Math.max(3, x1 - x0), 5, colourOf("read"));
        }
    }

    picture() {
        const box = this.canvas.parentElement.getBoundingClientRect();
        const draw = (painter) => {
            this.paint(painter);
            painter.text(painter.width - RIGHT - 8, TOP + 18, headName(this.head), colourOf("ink"), {
                size: 14,
                anchor: "end",
                bold: true,
            });
        };
        return { width: box.width, height: box.height, draw };
    }
}
