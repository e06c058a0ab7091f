// SPDX-License-Identifier: MIT
//
// reasonview.js — the reasoning panel: the pictures, the measures of quality and the list of sentences, and how they
// follow one another and the selection in the text.

import { byId, headName, make, oncePerFrame } from "./elements.js";
import { colourOf } from "./colours.js";
import { CanvasPainter } from "./painter.js";
import {
    cellAt,
    inkOn,
    paintMatrix,
    paintStrips,
    sentenceAt,
    stripsHeight,
    tagColour,
    tagLetter,
} from "./reasonpaint.js";
import { QUALITY, TAGS } from "./sentences.js";
import { change, parseSpans, state } from "./state.js";

const NOTHING =
    "This trace has no sentences. \u201csparsetrace reason -m MODEL -f TEXT -o TRACE\u201d records a trace with sentences, " +
    "their tags and phases; \u201csparsetrace trace --groups FILE\u201d one with any spans; " +
    "\u201csparsetrace view --reason FILE\u201d shows what \u201creason --json\u201d printed.";

export class ReasonView {
    constructor(geometry, readings) {
        this.g = geometry;
        this.readings = readings;
        this.chosen = null; // {reading, i}
        this.strips = byId("strips");
        this.matrix = byId("matrix");
        this.draw = oncePerFrame(() => this.drawNow());
        if (readings.length === 0) {
            byId("reason-panel").replaceChildren(make("p", { class: "none" }, NOTHING));
            return;
        }
        this.listHeads();
        this.listTags();
        this.listQuality();
        this.listReadings();
        this.listen();
        byId("matrix-box").hidden = !readings[0].matrix;
        new ResizeObserver(() => this.draw()).observe(byId("reason-panel"));
    }

    // ---- lists --------------------------------------------------------------------------------------------------

    listHeads() {
        const names = this.readings[0].heads.map((h) => `${headName(h)} (kurtosis ${h.kurtosis.toFixed(1)})`);
        byId("matrix-heads").textContent =
            names.length > 0 ? `Mean over the ${names.length} receiver heads: the most is ${names[0]}.` : "";
        byId("matrix-heads").title = names.join(", ");
    }

    listTags() {
        const known = new Set(this.readings.flatMap((r) => r.sentences.map((s) => s.tag)).filter(Boolean));
        const order = [...TAGS.filter((t) => known.has(t)), ...[...known].filter((t) => !TAGS.includes(t))];
        byId("tag-key").replaceChildren(
            ...order.map((tag) => make("span", {}, this.chip(tag), tag.replaceAll("_", " "))),
        );
    }

    chip(tag) {
        const chip = make("span", { class: "chip" }, tagLetter(tag));
        chip.style.backgroundColor = tagColour(tag);
        chip.style.color = inkOn(tagColour(tag));
        return chip;
    }

    listQuality() {
        const rows = Object.entries(QUALITY).filter(([key]) =>
            this.readings.some((r) => typeof r.quality[key] === "number"),
        );
        const cell = (reading, key, show) => {
            const x = reading.quality[key];
            return make("td", {}, typeof x === "number" ? show(x) : "\u2013");
        };
        const head =
            this.readings.length > 1
                ? [
                      make(
                          "tr",
                          {},
                          make("th"),
                          ...this.readings.map((r) => make("th", { scope: "col", title: r.name }, r.name)),
                          make("th"),
                      ),
                  ]
                : [];
        byId("quality").replaceChildren(
            ...head,
            ...rows.map(([key, [name, show, meaning]]) =>
                make(
                    "tr",
                    {},
                    make("th", { scope: "row" }, name),
                    ...this.readings.map((r) => cell(r, key, show)),
                    make("td", { class: "meaning" }, meaning),
                ),
            ),
        );
        byId("quality-none").hidden = rows.length > 0;
    }

    // The menu of whose sentences are listed; hidden where there is one.
    listReadings() {
        const menu = byId("reason-of");
        menu.append(...this.readings.map((r, n) => make("option", { value: n }, r.name)));
        menu.parentElement.hidden = this.readings.length < 2;
        menu.addEventListener("change", () => this.listSentences(this.readings[Number(menu.value)]));
        this.listSentences(this.readings[0]);
    }

    listSentences(reading) {
        const anchors = new Set(reading.anchors);
        this.listed = reading;
        byId("sentences").replaceChildren(
            ...reading.sentences.map((s, i) => {
                const notes = [
                    anchors.has(i) ? "\u25b2 anchor" : "",
                    s.dead ? "dead end" : "",
                    s.jump ? "jump" : "",
                ].filter(Boolean);
                return make(
                    "li",
                    {},
                    make(
                        "button",
                        { "data-sentence": i, onclick: () => this.choose(reading, i), title: this.facts(reading, i) },
                        make("span", { class: "where" }, String(i)),
                        this.chip(s.tag),
                        make("bdi", { class: "snippet" }, s.text),
                        make("span", { class: "notes" }, notes.join(", ")),
                    ),
                );
            }),
        );
    }

    // ---- choosing -----------------------------------------------------------------------------------------------

    facts(reading, i) {
        const s = reading.sentences[i];
        return [
            `sentence ${i}`,
            s.tag.replaceAll("_", " ") + (Number.isFinite(s.p) ? ` (${(100 * s.p).toFixed(0)}\u2009%)` : ""),
            s.phase && `phase ${s.phase}`,
            Number.isFinite(s.receiver) && `receiver score ${s.receiver.toPrecision(3)}`,
            Number.isFinite(s.surprise) && `surprise ${s.surprise.toFixed(2)} nats`,
        ]
            .filter(Boolean)
            .join(", ");
    }

    tell(what) {
        byId("reason-facts").textContent = what;
    }

    // Marks the sentence here, and selects its tokens.
    choose(reading, i) {
        this.chosen = { reading, i };
        this.mark();
        const span = reading.spans?.[i];
        if (span) change({ sel: span.join("-"), at: String(span[0]) });
    }

    mark() {
        for (const old of byId("sentences").querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
        if (!this.chosen) return this.draw();
        const { reading, i } = this.chosen;
        if (reading !== this.listed) {
            byId("reason-of").value = String(this.readings.indexOf(reading));
            this.listSentences(reading);
        }
        const button = byId("sentences").querySelector(`[data-sentence="${i}"]`);
        button?.setAttribute("aria-current", "true");
        const list = byId("sentences");
        if (button && list.clientHeight > 0) list.scrollTop = button.offsetTop - list.clientHeight / 2;
        this.tell(`${this.facts(reading, i)}: \u201c${reading.sentences[i].text.slice(0, 160)}\u201d`);
        return this.draw();
    }

    // The selection changed: the sentence that it begins in is marked.
    update() {
        const [own] = this.readings;
        if (!own) return;
        const [span] = parseSpans(state().sel, this.g.nTok);
        const i = span && own.spans ? own.spans.findIndex(([begin, end]) => span[0] >= begin && span[0] < end) : -1;
        if (i >= 0 || own.spans) this.chosen = i >= 0 ? { reading: own, i } : null;
        this.mark();
    }

    listen() {
        const place = (event) => [event.offsetX, event.offsetY];
        const size = (canvas) => [canvas.clientWidth, canvas.clientHeight];
        const at = (event) => sentenceAt(this.readings, ...place(event), this.strips.clientWidth);
        this.strips.addEventListener("pointermove", (event) => {
            const found = at(event);
            if (found)
                this.tell(
                    `${this.facts(found.reading, found.i)}: ${found.reading.sentences[found.i].text.slice(0, 160)}`,
                );
        });
        this.strips.addEventListener("click", (event) => {
            const found = at(event);
            if (found) this.choose(found.reading, found.i);
        });
        this.strips.addEventListener("keydown", (event) => this.onKey(event));
        const cell = (event) => cellAt(this.readings[0], ...place(event), ...size(this.matrix));
        this.matrix.addEventListener("pointermove", (event) => {
            const found = cell(event);
            if (found) this.tell(this.pair(found));
        });
        this.matrix.addEventListener("keydown", (event) => this.onMatrixKey(event));
        this.matrix.addEventListener("click", (event) => {
            const found = cell(event);
            if (found) this.choose(this.readings[0], event.shiftKey ? found.j : found.i);
        });
    }

    pair({ i, j }) {
        const { matrix, sentences } = this.readings[0];
        const value = matrix.values[Math.floor(i / matrix.join) * matrix.n + Math.floor(j / matrix.join)];
        const quote = (k) => `${k} \u201c${sentences[k].text.slice(0, 60)}\u201d`;
        return j > i
            ? `sentence ${i} stands before ${j} and cannot read it`
            : `${quote(i)} reads ${quote(j)}: ${value.toPrecision(3)} a token`;
    }

    onKey(event) {
        const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
        if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        const reading = this.chosen?.reading ?? this.readings[0];
        const i = (this.chosen?.i ?? -step) + step;
        this.choose(reading, Math.min(Math.max(i, 0), reading.sentences.length - 1));
    }

    // Arrows go from cell to cell of the matrix, Enter chooses the reader, Shift and Enter what is read.
    onMatrixKey(event) {
        const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
        const n = this.readings[0].sentences.length;
        const { i, j } = this.cell ?? { i: n - 1, j: 0 };
        if (event.key === "Enter") return this.choose(this.readings[0], event.shiftKey ? j : i);
        if (!step || event.ctrlKey || event.altKey || event.metaKey) return undefined;
        event.preventDefault();
        const within = (k) => Math.min(Math.max(k, 0), n - 1);
        this.cell = { i: within(i + step[0]), j: within(j + step[1]) };
        return this.tell(this.pair(this.cell));
    }

    // ---- pictures -----------------------------------------------------------------------------------------------

    drawNow() {
        if (this.readings.length === 0 || byId("reason-panel").clientHeight === 0) return;
        const height = stripsHeight(this.readings);
        this.strips.style.height = `${height}px`;
        const scale = devicePixelRatio || 1;
        paintStrips(new CanvasPainter(this.strips, this.strips.clientWidth, height, scale), this.readings, this.chosen);
        if (!this.readings[0].matrix || this.matrix.clientWidth < 80) return;
        const painter = new CanvasPainter(this.matrix, this.matrix.clientWidth, this.matrix.clientHeight, scale);
        paintMatrix(painter, this.readings[0], this.chosen?.reading === this.readings[0] ? this.chosen.i : -1);
    }

    // Strips and, below them, the matrix.
    picture() {
        const width = Math.max(this.strips.clientWidth, 500);
        const height = stripsHeight(this.readings);
        return { width, height, draw: (painter) => paintStrips(painter, this.readings, this.chosen) };
    }

    matrixPicture() {
        const chosen = this.chosen?.reading === this.readings[0] ? this.chosen.i : -1;
        const draw = (painter) => {
            painter.rect(0, 0, painter.width, painter.height, colourOf("ground"));
            paintMatrix(painter, this.readings[0], chosen);
        };
        return { width: 560, height: 550, draw };
    }
}
