// SPDX-License-Identifier: MIT
//
// sentences.js — what is known of the sentences of a reasoning trace: from the overview (receiver scores, who leans
// on whom, the matrix), from the trace's document "reasoning", and from files of `sparsetrace reason --json`.

export const PHASES = ["understand", "plan", "compute", "doubt", "verify", "conclude"];
export const TAGS = [
    "problem_setup",
    "plan_generation",
    "fact_retrieval",
    "active_computation",
    "uncertainty_management",
    "result_consolidation",
    "self_checking",
    "final_answer_emission",
]; // what the built-in tagger says; another tagger's come after them

const wholePercent = (x) => `${(100 * x).toFixed(0)}\u2009%`;
const twoDigits = (x) => x.toFixed(2);
const inFull = (x) => x.toLocaleString("en");

// name: [words, how it is written, what it means]; docs/method/quality.md has the definitions.
export const QUALITY = {
    score: ["score", twoDigits, "estimated probability that the answer is right; weak evidence"],
    n_sentence: ["sentences", inFull, ""],
    n_doubt: ["doubt", inFull, "sentences that re-think"],
    n_episode: ["stretches of doubt", inFull, "such sentences in a row count once"],
    led_share: [
        "led on",
        wholePercent,
        "of the stretches of doubt brought a number not seen before; low: doubts go in circles",
    ],
    check_share: ["checking", wholePercent, "of the sentences verify something"],
    checked_after: ["checked after the result", wholePercent, "of the sentences after the first result verify it"],
    repeated_share: ["repetition", wholePercent, "of the word triples came earlier; high: says the same again"],
    answer_at: ["answer at", wholePercent, "of the trace; low: answers early, then goes on"],
    support: ["support", wholePercent, "of what the answer stands on computes or checks"],
    support_base: ["support by chance", wholePercent, "what support would be if the answer looked everywhere alike"],
    dead_share: ["dead ends", wholePercent, "of the sentences are never looked back at"],
    jump_share: ["jumps", wholePercent, "of the claims lean on little of what was said before"],
    anchor_share: ["anchors hold", wholePercent, "of the receiver scores; high: a few sentences carry the text"],
    surprise: ["surprise", twoDigits, "nats a token: how unexpected the text is to the model"],
    surprise_anchor: ["surprise at anchors", twoDigits, "nats a token"],
    surprise_answer: ["surprise at the answer", twoDigits, "nats a token"],
};

function anchorsOf(score) {
    return [...score.keys()]
        .filter((i) => Number.isFinite(score[i]))
        .sort((a, b) => score[b] - score[a] || a - b)
        .slice(0, 5);
}

// What the overview has of the trace's groups, or null.
async function readGroups(view) {
    if (!view.has("view.sentence")) return null;
    const [span, score, heads, kurtosis, edge, edgeScore, matrix] = await Promise.all(
        ["sentence", "score", "receiver", "receiver_kurtosis", "edge", "edge_score", "matrix"].map((name) =>
            view.numbers(`view.${name}`),
        ),
    );
    const pairs = (list) => Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i], list[2 * i + 1]]);
    return {
        spans: pairs(span),
        score,
        heads: pairs(heads).map(([layer, head], i) => ({ layer, head, kurtosis: kurtosis[i] })),
        edges: pairs(edge).map(([to, from], i) => ({ to, from, score: edgeScore[i] })),
        matrix: { values: matrix, n: view.tensors.get("view.matrix").shape[0], join: view.document("view").join },
    };
}

// One document of `sparsetrace reason`, with what is not as it should be taken as unknown.
function readDocument(x, where) {
    if (!Array.isArray(x?.sentences))
        throw new Error(`${where} has no list of sentences: it is not of "reason --json"`);
    const number = (y) => (typeof y === "number" ? y : NaN);
    const sentences = x.sentences.map((s) => ({
        tag: typeof s?.tag === "string" ? s.tag : "unknown",
        phase: PHASES.includes(s?.phase) ? s.phase : "",
        p: number(s?.p),
        text: typeof s?.text === "string" ? s.text : "",
        receiver: number(s?.receiver),
        dead: s?.dead === true,
        jump: s?.jump === true,
        surprise: number(s?.surprise),
    }));
    const anchors = (Array.isArray(x.anchors) ? x.anchors : []).map((a) => a?.sentence);
    return {
        name: typeof x.id === "string" ? x.id : where,
        sentences,
        quality: x.quality !== null && typeof x.quality === "object" ? x.quality : {},
        anchors: anchors.filter((i) => Number.isSafeInteger(i) && i >= 0 && i < sentences.length),
    };
}

function joined(groups, document, text) {
    const n = groups?.spans.length ?? document.sentences.length;
    const nothing = { tag: "", phase: "", p: NaN, text: "", receiver: NaN, dead: false, jump: false, surprise: NaN };
    const sentences = Array.from({ length: n }, (_, i) => ({ ...nothing, ...document?.sentences[i] }));
    sentences.forEach((s, i) => {
        if (groups && !Number.isFinite(s.receiver)) s.receiver = groups.score[i];
        if (groups && text) s.text = text.snippet(...groups.spans[i], 400);
    });
    const anchors = document?.anchors.length ? document.anchors : anchorsOf(sentences.map((s) => s.receiver));
    return {
        name: document?.name ?? "this trace",
        sentences,
        quality: document?.quality ?? {},
        anchors,
        spans: groups?.spans ?? null,
        heads: groups?.heads ?? [],
        edges: groups?.edges ?? [],
        matrix: groups?.matrix ?? null,
    };
}

// The readings: the trace's own first, if it has sentences, then those of the files.
// given: documents; one with as many sentences as a trace without a document of its own is taken for its document.
export async function readSentences(view, trace, text, given) {
    const groups = await readGroups(view);
    const own = trace.document("reasoning");
    const documents = given.map((x, i) => readDocument(x, `the reasoning file, object ${i + 1}`));
    let mine = own ? readDocument(own, "the trace's document") : null;
    if (!mine && groups && documents[0]?.sentences.length === groups.spans.length) mine = documents.shift();
    if (mine && groups && mine.sentences.length !== groups.spans.length) mine = null;
    return [...(groups ? [joined(groups, mine, text)] : []), ...documents.map((d) => joined(null, d, null))];
}
