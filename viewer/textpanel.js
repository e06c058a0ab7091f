// SPDX-License-Identifier: MIT
//
// textpanel.js — the prompt. Only the lines in sight are in the page. What the selection reads is behind the tokens in
// blue, who reads it stands under them in orange; the strip at the right shows both over the whole sequence.

import { byId, make, oncePerFrame } from "./elements.js";
import { colourOf, readColour, readerColour } from "./colours.js";
import { breakLines, lineOf, lineParts } from "./lines.js";
import { CanvasPainter } from "./painter.js";
import { change, formatSpans, parseSpans, state } from "./state.js";

const LINE = 24;
const GUTTER = 8; // characters of the token number at the left

export class TextPanel {
    // onHover(token or -1)
    constructor(geometry, text, onHover) {
        this.g = geometry;
        this.text = text;
        this.onHover = onHover;
        this.box = byId("text");
        this.sheet = byId("sheet");
        this.strip = byId("strip");
        this.reads = null; // [nbk] 0..1, as strongly as it is shown
        this.readers = null; // [nbq]
        this.selected = [];
        this.cursor = 0;
        this.render = oncePerFrame(() => this.renderNow());
        this.paint = oncePerFrame(() => this.paintNow());
        this.listen();
        new ResizeObserver(() => this.layOut()).observe(this.box);
    }

    // ---- layout -------------------------------------------------------------------------------------------------

    layOut() {
        const probe = make("span", { class: "probe" }, "0".repeat(100));
        this.sheet.append(probe);
        this.columnWidth = probe.getBoundingClientRect().width / 100;
        probe.remove();
        const columns = Math.floor((this.box.clientWidth - 16) / this.columnWidth) - GUTTER - 2;
        if (columns === this.columns || this.box.clientWidth === 0) return;
        this.columns = columns;
        this.lines = breakLines(this.text, columns);
        this.sheet.style.height = `${this.lines.n * LINE}px`;
        this.scrollTo(Number(state().at) || 0, false);
        this.renderNow();
        this.paint();
    }

    scrollTo(token, middle = true) {
        if (!this.lines) return;
        const line = lineOf(this.lines, Math.min(Math.max(token, 0), this.g.nTok - 1));
        const top = line * LINE - (middle ? this.box.clientHeight / 3 : 0);
        const seen =
            line * LINE >= this.box.scrollTop + LINE &&
            line * LINE < this.box.scrollTop + this.box.clientHeight - 3 * LINE;
        if (!middle || !seen) this.box.scrollTop = top;
    }

    renderNow() {
        if (!this.lines) return;
        const first = Math.max(0, Math.floor(this.box.scrollTop / LINE) - 4);
        const last = Math.min(this.lines.n, first + Math.ceil(this.box.clientHeight / LINE) + 8);
        const rows = [];
        for (let n = first; n < last; n++) {
            const row = make("div", { class: "line" });
            row.style.top = `${n * LINE}px`;
            row.append(make("span", { class: "number", "aria-hidden": "true" }, String(this.lines.token[n])));
            for (const part of lineParts(this.text, this.lines, n))
                row.append(make("bdi", { "data-token": part.token }, part.text));
            rows.push(row);
        }
        this.sheet.replaceChildren(...rows);
        this.colour();
        this.paint();
    }

    // ---- colours ------------------------------------------------------------------------------------------------

    // How strongly blocks are shown: the square root of their share of the heaviest one that is not the sink.
    static strength(share, skip) {
        let top = 0;
        for (let i = 1; i < share.length; i++) if (!skip(i) && share[i] > top) top = share[i];
        if (top === 0) top = Math.max(share[0] ?? 0, 1e-9);
        return Float32Array.from(share, (x) => Math.sqrt(Math.min(1, x / top)));
    }

    show(reads, readers, selected, found) {
        this.reads = reads;
        this.readers = readers;
        this.selected = selected;
        this.found = found ?? this.found ?? [];
        this.colour();
        this.paint();
    }

    colour() {
        const inside = (spans, token) => spans.some(([begin, end]) => token >= begin && token < end);
        for (const element of this.sheet.querySelectorAll("bdi")) {
            const token = Number(element.dataset.token);
            const read = this.reads?.[Math.floor(token / this.g.bk)] ?? 0;
            const reader = this.readers?.[Math.floor(token / this.g.bq)] ?? 0;
            element.style.backgroundColor = readColour(read);
            element.style.borderBottomColor = readerColour(reader);
            element.classList.toggle("selected", inside(this.selected, token));
            element.classList.toggle("found", inside(this.found ?? [], token));
            element.classList.toggle("cursor", token === this.cursor);
        }
    }

    // The strip: left half what is read, right half who reads, the lines in sight framed.
    paintNow() {
        const box = this.strip.getBoundingClientRect();
        if (!this.lines || box.height < 10) return;
        const painter = new CanvasPainter(this.strip, box.width, box.height, devicePixelRatio || 1);
        painter.rect(0, 0, box.width, box.height, colourOf("panel"));
        const height = Math.floor(box.height);
        const heaviest = (values, size, y) => {
            const [from, to] = [(y / height) * this.g.nTok, ((y + 1) / height) * this.g.nTok];
            let most = 0;
            for (
                let i = Math.floor(from / size);
                i < Math.min(values.length, Math.max(Math.ceil(to / size), Math.floor(from / size) + 1));
                i++
            )
                most = Math.max(most, values[i]);
            return most;
        };
        const half = box.width / 2;
        for (let y = 0; y < height; y++) {
            const read = this.reads ? heaviest(this.reads, this.g.bk, y) : 0;
            const reader = this.readers ? heaviest(this.readers, this.g.bq, y) : 0;
            if (read > 0) painter.rect(half - half * read, y, half * read, 1.2, colourOf("read"));
            if (reader > 0) painter.rect(half, y, half * reader, 1.2, colourOf("reader"));
        }
        for (const [begin, end] of this.selected)
            painter.rect(
                0,
                (begin / this.g.nTok) * height,
                box.width,
                Math.max(2, ((end - begin) / this.g.nTok) * height),
                colourOf("chosen"),
            );
        const first = this.lines.token[Math.min(this.lines.n, Math.floor(this.box.scrollTop / LINE))];
        const last =
            this.lines.token[Math.min(this.lines.n, Math.ceil((this.box.scrollTop + this.box.clientHeight) / LINE))];
        const [top, bottom] = [
            (first / this.g.nTok) * height,
            Math.max((first / this.g.nTok) * height + 4, (last / this.g.nTok) * height),
        ];
        for (const y of [top, bottom]) painter.line(0, y, box.width, y, colourOf("ink"), 1.5);
    }

    // ---- input --------------------------------------------------------------------------------------------------

    listen() {
        this.box.addEventListener("scroll", () => {
            this.render();
            if (!this.lines) return;
            this.ownAt = String(this.lines.token[Math.min(this.lines.n - 1, Math.ceil(this.box.scrollTop / LINE))]);
            change({ at: this.ownAt });
        });
        const tokenOf = (event) => Number(event.target.closest?.("bdi")?.dataset.token ?? -1);
        this.sheet.addEventListener("pointerover", (event) => {
            const token = tokenOf(event);
            if (this.from >= 0 && token >= 0 && event.buttons === 1) this.drag(token);
            else if (token >= 0) this.onHover(token);
        });
        this.box.addEventListener("pointerleave", () => this.onHover(-1));
        this.sheet.addEventListener("pointerdown", (event) => this.press(tokenOf(event), event));
        addEventListener("pointerup", () => {
            this.from = -1;
        });
        this.box.addEventListener("keydown", (event) => this.onKey(event));
        const jump = (event) => {
            const box = this.strip.getBoundingClientRect();
            this.scrollTo(Math.floor(((event.clientY - box.top) / box.height) * this.g.nTok));
        };
        this.strip.addEventListener("pointerdown", (event) => {
            this.strip.setPointerCapture(event.pointerId);
            jump(event);
        });
        this.strip.addEventListener("pointermove", (event) => {
            if (event.buttons === 1) jump(event);
        });
    }

    spans() {
        return parseSpans(state().sel, this.g.nTok);
    }

    // Plain: selects the unit. Shift: up to here. Ctrl: this one too.
    press(token, event) {
        if (token < 0 || event.button !== 0) return;
        this.cursor = token;
        this.from = token;
        const unit = this.text.unit(token, state().unit, this.g.bk);
        const spans = this.spans();
        if (event.shiftKey && spans.length > 0) {
            const [begin, end] = spans.pop();
            this.select([...spans, [Math.min(begin, unit[0]), Math.max(end, unit[1])]]);
            event.preventDefault();
        } else if (event.ctrlKey || event.metaKey) this.select([...spans, unit]);
        else this.select([unit]);
    }

    drag(token) {
        const a = this.text.unit(this.from, state().unit, this.g.bk);
        const b = this.text.unit(token, state().unit, this.g.bk);
        this.select([...this.spans().slice(0, -1), [Math.min(a[0], b[0]), Math.max(a[1], b[1])]]);
    }

    select(spans) {
        change({ sel: formatSpans(spans) });
    }

    onKey(event) {
        const page = Math.max(1, Math.floor(this.box.clientHeight / LINE) - 2);
        const vertical = (lines) =>
            this.lines.token[Math.min(this.lines.n - 1, Math.max(0, lineOf(this.lines, this.cursor) + lines))];
        const to = {
            ArrowRight: () => this.cursor + 1,
            ArrowLeft: () => this.cursor - 1,
            ArrowDown: () => vertical(1),
            ArrowUp: () => vertical(-1),
            PageDown: () => vertical(page),
            PageUp: () => vertical(-page),
            Home: () => 0,
            End: () => this.g.nTok - 1,
        }[event.key];
        if (event.key === "Escape") change({ sel: "" });
        if ((event.key === "Enter" || event.key === " ") && this.lines) {
            event.preventDefault();
            this.press(this.cursor, {
                button: 0,
                shiftKey: event.shiftKey,
                ctrlKey: event.ctrlKey,
                preventDefault() {},
            });
            this.from = -1;
        }
        if (!to || !this.lines) return;
        event.preventDefault();
        this.cursor = Math.min(this.g.nTok - 1, Math.max(0, to()));
        this.scrollTo(this.cursor);
        this.render();
        this.onHover(this.cursor);
        if (event.shiftKey) {
            const spans = this.spans();
            const [begin, end] = spans.pop() ?? [this.cursor, this.cursor + 1];
            this.select([...spans, [Math.min(begin, this.cursor), Math.max(end, this.cursor + 1)]]);
        }
    }

    // ---- saving -------------------------------------------------------------------------------------------------

    // The lines in sight.
    picture() {
        const first = Math.floor(this.box.scrollTop / LINE);
        const last = Math.min(this.lines.n, first + Math.ceil(this.box.clientHeight / LINE));
        const style = { size: 13, mono: true };
        const step = this.columnWidth;
        const draw = (painter) => {
            for (let n = first; n < last; n++) {
                const y = (n - first) * LINE + 17;
                painter.text(GUTTER * step - 8, y, String(this.lines.token[n]), colourOf("faint"), {
                    ...style,
                    size: 11,
                    anchor: "end",
                });
                let x = GUTTER * step + 8;
                for (const part of lineParts(this.text, this.lines, n)) {
                    const width = [...part.text].length * step;
                    painter.rect(
                        x,
                        y - 15,
                        width,
                        19,
                        readColour(this.reads?.[Math.floor(part.token / this.g.bk)] ?? 0),
                    );
                    painter.rect(
                        x,
                        y + 4,
                        width,
                        3,
                        readerColour(this.readers?.[Math.floor(part.token / this.g.bq)] ?? 0),
                    );
                    painter.text(x, y, part.text, colourOf("ink"), style);
                    x += width;
                }
            }
        };
        return { width: this.box.clientWidth, height: (last - first) * LINE + 8, draw };
    }
}
