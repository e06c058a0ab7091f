// SPDX-License-Identifier: MIT
//
// certificate.js — the line that is always in sight: how much was pruned, how much of the exact attention the
// picture holds, whether the model still says the same. What is not faithful is said in words and in colour.

import { prunedShare } from "./trace.js";
import { byId, byteCount, count, make, percent } from "./elements.js";

const LITTLE = 0.5; // recall below which most of what the model reads is not in the picture

// {level: good | doubt | bad, title, why}
export function verdict(trace) {
    const result = trace.document("result");
    const certificate = trace.document("certificate");
    const next = result?.next_token;
    if (next?.agree === false)
        return { level: "bad", title: "NOT FAITHFUL", why: "the next token is another one than without pruning" };
    if (!trace.geometry.complete)
        return { level: "bad", title: "INCOMPLETE", why: "saved from an interrupted run, or rows were not run" };
    const little =
        certificate && certificate.recall_mean < LITTLE
            ? "the kept blocks hold less than half of the exact attention"
            : "";
    if (next?.agree !== true)
        return {
            level: "doubt",
            title: "NOT COMPARED",
            why: `whether the next token is kept is not known${little && `; ${little}`}`,
        };
    const reference = next.reference ?? next.dense;
    if (reference?.id !== undefined && reference.id !== next.sparse?.id)
        return {
            level: "doubt",
            title: "WITHIN THE NOISE FLOOR",
            why: "the next token is another one, by less than two exact runs may differ",
        };
    if (little) return { level: "doubt", title: "NEXT TOKEN KEPT", why: little };
    const against = next.against === "stable" ? "the run with twice the budget" : "the dense run";
    return { level: "good", title: "NEXT TOKEN KEPT", why: `the same as in ${against}` };
}

function tokenText(token) {
    return token?.text === undefined ? "" : `${JSON.stringify(token.text)} ${percent(token.p)}`;
}

function nextToken(result) {
    const next = result?.next_token;
    if (!next) return "not known";
    const sparse = tokenText(next.sparse);
    const reference = tokenText(next.reference ?? next.dense);
    const kl = Number.isFinite(result.kl) ? `, KL ${result.kl.toPrecision(3)} nats` : "";
    return reference ? `${reference} \u2192 ${sparse}${kl}` : sparse;
}

function recallText(certificate) {
    if (!certificate) return ["not certified", ""];
    const [low, high] = certificate.recall_ci95;
    const worst = `worst head L${certificate.worst_layer}.H${certificate.worst_head} ${percent(certificate.recall_worst)}`;
    return [`${percent(certificate.recall_mean)} [${(100 * low).toFixed(1)}\u2013${(100 * high).toFixed(1)}]`, worst];
}

// What the excerpt left out, as sentences; none for a whole trace.
export function leftOut(trace) {
    const view = trace.document("view");
    const notes = [];
    if (view?.n_entry === undefined) return notes;
    const g = trace.geometry;
    if (g.bq !== view.bq_trace)
        notes.push(
            `Blocks of ${g.bq} \u00d7 ${g.bk} tokens stand for the trace's ${view.bq_trace} \u00d7 ${view.bk_trace}.`,
        );
    if (view.n_entry < view.n_entry_trace)
        notes.push(
            `${count(view.n_entry)} entries of the trace's ${count(view.n_entry_trace)} are here, with ${percent(view.mass_share_ppm / 1e6, 2)} of their mass; lighter ones than ${percent(g.massFloor, 3)} are left out.`,
        );
    if (view.mass_bits === 8) notes.push("Masses are rounded to 8 bits.");
    if (view.piece_max_bytes > 0) notes.push(`Tokens are cut to ${count(view.piece_max_bytes)} bytes.`);
    if (notes.length > 0)
        notes.push(
            `The trace has ${byteCount(view.trace_bytes)}: \u201csparsetrace view TRACE --serve\u201d shows all of it.`,
        );
    return notes;
}

function fact(name, value, more = "") {
    return make(
        "div",
        { class: "fact" },
        make("dt", {}, name),
        make("dd", {}, value, ...(more ? [make("small", {}, more)] : [])),
    );
}

export function showCertificate(trace) {
    const v = verdict(trace);
    const recipe = trace.document("recipe") ?? {};
    const pruned = prunedShare(trace.geometry);
    const [recall, worst] = recallText(trace.document("certificate"));
    const mark = { good: "\u2713", doubt: "?", bad: "\u2715" }[v.level];
    byId("verdict").className = v.level;
    byId("verdict").replaceChildren(make("b", {}, `${mark} ${v.title}`), make("span", {}, v.why));
    const select = recipe.select ?? {};
    const hash = recipe.model?.sha256 ?? "";
    const g = trace.geometry;
    const { bq_trace: bq = g.bq, bk_trace: bk = g.bk } = trace.document("view") ?? {}; // an excerpt may have larger ones
    byId("facts").replaceChildren(
        fact(
            "pruned",
            pruned ? percent(pruned.share, 2) : "nothing",
            pruned ? `of ${count(pruned.visible)} causal pairs` : "all layers ran exactly",
        ),
        fact("recall, 95 % interval", recall, worst),
        fact("next token", nextToken(trace.document("result"))),
        fact("k", select.k === undefined ? "not known" : `${count(select.k)} blocks`, `of ${bk} keys per ${bq} rows`),
        fact("tokens", count(g.nTok), g.nTokRun > g.nTok ? `of ${count(g.nTokRun)}` : ""),
        fact("model", recipe.model?.name ?? "not known", hash ? `sha256 ${hash.slice(0, 12)}\u2026` : ""),
    );
    const notes = leftOut(trace);
    byId("left-out").hidden = notes.length === 0;
    byId("left-out").replaceChildren(make("b", {}, "Left out of this file: "), notes.join(" "));
}
