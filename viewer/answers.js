// SPDX-License-Identifier: MIT
//
// answers.js — what the selected (or hovered) tokens read and who reads them: sums over spans, and the two lists of
// the heaviest blocks with their text.

import { byId, headName, make, sharePercent, tokensOf } from "./elements.js";
import { heaviest } from "./selection.js";
import { change, formatSpans, parseHead, state } from "./state.js";

const LISTED = 14;

// Spans widened to blocks of `size`, joined where they touch.
export function toBlocks(spans, size, nTok) {
    const wide = spans.map(([begin, end]) => [begin - (begin % size), Math.min(nTok, Math.ceil(end / size) * size)]);
    wide.sort((a, b) => a[0] - b[0]);
    const out = [];
    for (const span of wide) {
        if (out.length > 0 && span[0] <= out.at(-1)[1]) out.at(-1)[1] = Math.max(out.at(-1)[1], span[1]);
        else out.push([...span]);
    }
    return out;
}

// Adds `more` times `weight` to `sum`, and keeps the strongest heads.
function addShares(sum, more, weight) {
    if (!sum)
        return {
            share: more.share.map((x) => x * weight),
            most: more.most.map((x) => x * weight),
            by: more.by.slice(),
        };
    for (let i = 0; i < sum.share.length; i++) {
        sum.share[i] += more.share[i] * weight;
        if (more.most[i] * weight > sum.most[i]) [sum.most[i], sum.by[i]] = [more.most[i] * weight, more.by[i]];
    }
    return sum;
}

// The heads that answer, by the state: null for all.
export function answeringHeads() {
    const { with: who, head } = state();
    const open = parseHead(head);
    if (who === "open" && open) return [open];
    const list = who.split(",").map(parseHead).filter(Boolean);
    return list.length > 0 ? list : null;
}

// {reads, readers}: reads = mean over the spans' query blocks, readers = sum over the spans' key blocks.
export async function answer(selections, spans) {
    const g = selections.geometry;
    const heads = answeringHeads();
    let reads = null;
    let readers = null;
    const rows = toBlocks(spans, g.bq, g.nTok);
    const blocks = rows.map(([begin, end]) => Math.ceil((end - begin) / g.bq));
    const total = blocks.reduce((a, b) => a + b, 0);
    for (const [i, [begin, end]] of rows.entries())
        reads = addShares(reads, await selections.reads(begin, end, heads), blocks[i] / total);
    for (const [begin, end] of toBlocks(spans, g.bk, g.nTok))
        readers = addShares(readers, await selections.readers(begin, end, heads), 1);
    return { reads, readers };
}

export class AnswerLists {
    constructor(selections, text) {
        this.selections = selections;
        this.text = text;
        for (const option of ["all", "open", "chosen"]) byId("with").append(make("option", { value: option }));
        byId("with").addEventListener("change", (event) => change({ with: event.target.value }));
    }

    // Tells in the menu which heads there are to choose from.
    showHeads() {
        const { head, with: who } = state();
        const open = parseHead(head);
        const chosen = /^\d/.test(who) ? who.split(",") : [];
        const [all, one, some] = byId("with").options;
        all.textContent = `all ${this.selections.heads.length} heads`;
        one.textContent = open ? `the open head, ${headName(open)}` : "the open head";
        one.disabled = !open;
        some.textContent =
            chosen.length > 3
                ? `${chosen.length} chosen heads`
                : chosen.map((name) => headName(parseHead(name) ?? {})).join(", ") ||
                  "chosen heads (Ctrl and click tiles)";
        some.value = chosen.length ? who : "chosen";
        some.disabled = chosen.length === 0;
        byId("with").value = who;
    }

    // what: "selected", ...
    show(spans, answers, what) {
        const g = this.selections.geometry;
        byId("selected").textContent = `${what}: ${spans.map((span) => tokensOf(...span)).join(" + ")}`;
        if (this.text) byId("selected").append(make("q", {}, make("bdi", {}, this.text.snippet(...spans[0], 70))));
        byId("unselect").hidden = what !== "selected";
        this.fill(byId("reads"), answers.reads, g.bk);
        this.fill(byId("readers"), answers.readers, g.bq);
    }

    fill(list, shares, size) {
        const { nTok } = this.selections.geometry;
        const blocks = heaviest(shares.share, LISTED);
        const top = shares.share[blocks[0]] ?? 1;
        if (blocks.length === 0) return list.replaceChildren(make("li", { class: "none" }, "nothing that is recorded"));
        return list.replaceChildren(...blocks.map((block) => this.item(shares, block, size, nTok, top)));
    }

    item(shares, block, size, nTok, top) {
        const begin = block * size;
        const end = Math.min(nTok, begin + size);
        const head = this.selections.heads[shares.by[block]];
        const bar = make("span", { class: "bar", "aria-hidden": "true" });
        bar.style.width = `${Math.max(1, 100 * (shares.share[block] / top))}%`;
        const go = make(
            "button",
            {
                class: "go",
                "data-begin": begin,
                title: "Shows these tokens; with Shift selects them",
                onclick: (event) =>
                    change(
                        event.shiftKey
                            ? { at: String(begin), sel: formatSpans([[begin, end]]) }
                            : { at: String(begin) },
                    ),
            },
            make("span", { class: "share" }, sharePercent(shares.share[block])),
            make("span", { class: "where" }, `${begin}\u2013${end - 1}`),
            make("bdi", { class: "snippet" }, this.text ? this.text.snippet(begin, end, 90) : ""),
        );
        const who = head
            ? make(
                  "button",
                  {
                      class: "who",
                      title: "Opens the head that gives most of it",
                      onclick: () => change({ head: `${head.layer}.${head.head}`, panel: "map" }),
                  },
                  `${headName(head)} ${sharePercent(shares.most[block])}`,
              )
            : "";
        return make(
            "li",
            { "data-block": block, "data-share": shares.share[block] },
            make("span", { class: "track" }, bar),
            go,
            who,
        );
    }
}
