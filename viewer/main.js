// SPDX-License-Identifier: MIT
//
// main.js — opens the data, makes the panels and lets them follow the state.

import { AnswerLists, answer } from "./answers.js";
import { colourOf, setTheme } from "./colours.js";
import { showCertificate } from "./certificate.js";
import { byId, count, make, oncePerFrame } from "./elements.js";
import { HeadGrid } from "./heads.js";
import { HeadMap } from "./headmap.js";
import { savePicture } from "./painter.js";
import { ReasonView } from "./reasonview.js";
import { readRouteFile } from "./routefile.js";
import { RoutesView } from "./routesview.js";
import { EmbeddedSelections, ServedSelections } from "./selection.js";
import { readSentences } from "./sentences.js";
import { embeddedObjects, embeddedSource, overviewSource, servedSource } from "./source.js";
import { change, formatSpans, onChange, parseHead, parseSpans, startState, state } from "./state.js";
import { readText } from "./text.js";
import { TextPanel } from "./textpanel.js";
import { openTrace } from "./trace.js";

// ---- opening --------------------------------------------------------------------------------------------------

// {view, trace, Selections}: the overview, and the trace that it is of.
async function openData() {
    const embedded = embeddedSource();
    if (embedded) {
        const both = await openTrace(embedded);
        if (!both.geometry) throw new Error("the data has no geometry: it is not of a trace");
        return { view: both, trace: both, Kind: EmbeddedSelections };
    }
    const view = await openTrace(await overviewSource());
    return {
        view,
        trace: await openTrace(await servedSource(view.document("view").trace_bytes)),
        Kind: ServedSelections,
    };
}

// The heads with their measures, their positions, and their pictures.
async function readOverview(view, trace) {
    const names = view.document("view").measures;
    const [pairs, values, maps] = await Promise.all(
        ["view.head", "view.measure", "view.map"].map((name) => view.numbers(name)),
    );
    const [, cellsQ, cellsK] = view.tensors.get("view.map").shape;
    const position = new Map(trace.recorded.map((l, i) => [l.layer, i]));
    const seen = new Map();
    const heads = Array.from({ length: pairs.length / 2 }, (_, n) => {
        const i = position.get(pairs[2 * n]);
        const h = seen.get(i) ?? 0;
        seen.set(i, h + 1);
        const measure = Object.fromEntries(names.map((name, m) => [name, values[n * names.length + m]]));
        return { layer: pairs[2 * n], head: pairs[2 * n + 1], i, h, measure };
    });
    return { heads, maps, cellsQ, cellsK };
}

// ---- the page -------------------------------------------------------------------------------------------------

class Page {
    // more: {routes: of readRouteFile, readings: of readSentences}
    constructor(trace, view, overview, selections, text, more) {
        this.trace = trace;
        this.g = trace.geometry;
        this.needles = view.document("view").needles; // key blocks of the trace, the likeliest first
        this.needleAt = -1;
        this.selections = selections;
        this.text = text;
        this.hovered = -1;
        this.grid = new HeadGrid(overview.heads, overview.maps, overview.cellsQ, overview.cellsK);
        this.map = new HeadMap(this.g, text);
        this.lists = new AnswerLists(selections, text);
        this.routes = new RoutesView(selections, text, more.routes);
        this.reason = new ReasonView(this.g, more.readings);
        this.panel = text ? new TextPanel(this.g, text, (token) => this.hover(token)) : null;
        this.answer = oncePerFrame(() => this.answerNow());
        if (!text) byId("text").replaceChildren(make("p", { class: "none" }, "The trace has no text."));
        this.listen();
    }

    listen() {
        byId("needle").disabled = this.needles.length === 0;
        byId("needle").addEventListener("click", () => this.findNeedle());
        byId("unselect").addEventListener("click", () => change({ sel: "" }));
        byId("unit").addEventListener("change", (event) => change({ unit: event.target.value }));
        byId("theme").addEventListener("click", () =>
            change({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" }),
        );
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
            this.follow(state(), new Set(["theme"])),
        );
        for (const tab of document.querySelectorAll("[role=tab]")) {
            tab.addEventListener("click", () => change({ panel: tab.dataset.panel }));
            tab.addEventListener("keydown", (event) => {
                if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
                const panels = [...document.querySelectorAll("[role=tab]")].map((other) => other.dataset.panel);
                const step = event.key === "ArrowLeft" ? panels.length - 1 : 1;
                change({ panel: panels[(panels.indexOf(state().panel) + step) % panels.length] });
                document.querySelector("[role=tab][aria-selected=true]").focus();
            });
        }
        byId("find").addEventListener("input", (event) => change({ find: event.target.value }));
        byId("find").addEventListener("keydown", (event) => {
            if (event.key === "Enter") this.nextFound(event.shiftKey ? -1 : 1);
        });
        byId("find-next").addEventListener("click", () => this.nextFound(1));
        byId("find-before").addEventListener("click", () => this.nextFound(-1));
        for (const button of document.querySelectorAll("[data-save]"))
            button.addEventListener("click", () => this.save(...button.dataset.save.split(" ")));
        onChange((now, changed) => this.follow(now, changed));
    }

    follow(now, changed) {
        const any = (...keys) => keys.some((key) => changed.has(key));
        if (any("theme")) setTheme(now.theme);
        if (any("theme", "measure", "sort", "least", "head", "with")) this.grid.update(changed.has("theme"));
        if (any("head")) this.openHead();
        if (any("zoom", "sel", "theme", "panel")) this.map.draw();
        if (any("panel")) this.showPanel();
        if (any("find")) this.search();
        if (any("sel", "with", "theme") || (any("head") && now.with === "open")) this.answer();
        if (any("sel", "from", "edge", "panel", "theme", "routes") && now.panel === "routes") this.routes.update();
        if (any("sel", "panel", "theme") && now.panel === "reason") this.reason.update();
        if (any("at") && this.panel && now.at !== this.panel.ownAt) this.panel.scrollTo(Number(now.at));
        byId("unit").value = now.unit;
    }

    start() {
        setTheme(state().theme);
        if (!parseHead(state().head)) {
            const best = this.grid.heads.reduce(
                (a, b) => ((b.measure.needle || 0) > (a.measure.needle || 0) ? b : a),
                this.grid.heads[0],
            );
            if (best) change({ head: `${best.layer}.${best.head}` });
        }
        this.follow(state(), new Set(Object.keys(state())));
        if (this.panel) requestAnimationFrame(() => this.panel.scrollTo(Number(state().at), false));
    }

    async openHead() {
        const wanted = parseHead(state().head);
        const head = this.selections.heads.find((a) => a.layer === wanted?.layer && a.head === wanted?.head);
        if (!head) return;
        const rows = await this.selections.head(head);
        if (state().head === `${head.layer}.${head.head}`) this.map.show(head, rows);
        this.lists.showHeads();
    }

    showPanel() {
        byId("page").dataset.panel = state().panel;
        for (const tab of document.querySelectorAll("[role=tab]")) {
            const open = tab.dataset.panel === state().panel;
            tab.setAttribute("aria-selected", String(open));
            tab.tabIndex = open ? 0 : -1;
            byId(tab.getAttribute("aria-controls")).hidden = !open;
        }
    }

    // ---- selecting ----------------------------------------------------------------------------------------------

    hover(token) {
        if (token === this.hovered) return;
        this.hovered = token;
        if (state().sel === "") this.answer();
    }

    // One question at a time: what is asked meanwhile is asked once more at the end.
    async answerNow() {
        this.asked = true;
        if (this.answering) return;
        this.answering = true;
        while (this.asked) {
            this.asked = false;
            await this.answerOnce();
        }
        this.answering = false;
    }

    async answerOnce() {
        const chosen = parseSpans(state().sel, this.g.nTok);
        const hovering = chosen.length === 0;
        const at = this.hovered >= 0 ? this.hovered : (this.g.rowEnd || this.g.nTok) - 1; // nothing: the last token
        const spans = hovering ? [[at, at + 1]] : chosen;
        const answers = await answer(this.selections, spans);
        this.lists.showHeads();
        this.lists.show(
            spans,
            answers,
            !hovering ? "selected" : this.hovered >= 0 ? "under the pointer" : "nothing selected; the last token",
        );
        if (!this.panel) return;
        const end = Math.max(...spans.map((span) => span[1]));
        const begin = Math.min(...spans.map((span) => span[0]));
        const near = (c) => (c + 1) * this.g.bk > begin - this.g.bk && c * this.g.bk < end; // always kept: does not set the scale
        const own = (b) => (b + 1) * this.g.bq > begin && b * this.g.bq < end + this.g.bq;
        this.panel.show(
            TextPanel.strength(answers.reads.share, near),
            TextPanel.strength(answers.readers.share, own),
            hovering ? [] : spans,
        );
    }

    // Selects the first needle, then the next, and opens the head that reads it most.
    async findNeedle() {
        this.needleAt = (this.needleAt + 1) % this.needles.length;
        const size = this.trace.document("view")?.bk_trace ?? this.g.bk; // an excerpt may have larger blocks
        const begin = this.needles[this.needleAt] * size;
        const end = Math.min(this.g.nTok, begin + size);
        const last = (this.g.rowEnd || this.g.nTok) - 1;
        const { by } = await this.selections.reads(last, last + 1, null);
        const best = this.selections.heads[by[Math.floor(begin / this.g.bk)]];
        byId("needle").textContent = `needle ${this.needleAt + 1} of ${this.needles.length}`;
        change({
            sel: formatSpans([[begin, end]]),
            at: String(begin),
            ...(this.needleAt === 0 ? { measure: "needle" } : {}),
            ...(best ? { head: `${best.layer}.${best.head}` } : {}),
        });
    }

    // ---- search -------------------------------------------------------------------------------------------------

    search() {
        const what = state().find;
        if (byId("find").value !== what) byId("find").value = what;
        this.found = what && this.text ? this.text.find(what, 5000) : [];
        this.foundAt = -1;
        byId("found").textContent = what ? (this.found.length ? `${count(this.found.length)} found` : "not found") : "";
        this.panel?.show(this.panel.reads, this.panel.readers, this.panel.selected, this.found);
    }

    nextFound(step) {
        if (!this.found?.length) return;
        const from = Number(state().at);
        const after = this.found.findIndex((span) => span[0] >= from);
        this.foundAt =
            this.foundAt < 0 ? Math.max(0, after) : (this.foundAt + step + this.found.length) % this.found.length;
        const span = this.found[this.foundAt];
        byId("found").textContent = `${this.foundAt + 1} of ${count(this.found.length)}`;
        change({ sel: formatSpans([span]), at: String(span[0]) });
    }

    save(panel, kind) {
        const picture = {
            heads: () => this.grid.picture(),
            map: () => this.map.picture(),
            text: () => this.panel?.picture(),
            routes: () => this.routes.picture(),
            reason: () => this.reason.picture(),
            matrix: () => this.reason.matrixPicture(),
        }[panel]();
        if (picture) savePicture(`sparsetrace-${panel}`, kind, picture, colourOf("ground"));
    }
}

// ---- start ----------------------------------------------------------------------------------------------------

function explain(error) {
    byId("page").hidden = true;
    byId("trouble").hidden = false;
    byId("trouble").className = "explained";
    byId("trouble-what").textContent = "This trace cannot be shown";
    byId("trouble-why").textContent = error.message;
}

async function start() {
    startState();
    setTheme(state().theme);
    const routes = embeddedObjects("routes-json", "the routes' file");
    const reasons = embeddedObjects("reason-json", "the reasoning file");
    const { view, trace, Kind } = await openData();
    const overview = await readOverview(view, trace);
    showCertificate(trace);
    document.title = `${trace.document("recipe")?.model?.name ?? "trace"}, ${count(trace.geometry.nTok)} tokens \u2013 sparsetrace`;
    byId("trouble").hidden = true;
    byId("page").hidden = false;
    const text = await readText(trace);
    const page = new Page(trace, view, overview, new Kind(trace, overview.heads), text, {
        routes: readRouteFile(routes, trace.geometry.nTok),
        readings: await readSentences(view, trace, text, reasons),
    });
    page.start();
    document.documentElement.dataset.ready = "yes";
}

start().catch(explain);
