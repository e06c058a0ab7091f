// SPDX-License-Identifier: MIT
//
// state.js — what is open, selected and zoomed: one flat object of strings that lives in the URL's fragment, so
// that a view can be shared, and that tells its listeners what changed.

const FALLBACK = {
    head: "", // "layer.head" that is open
    measure: "needle",
    sort: "layer",
    least: "", // of the overview
    sel: "", // "1600-1616,1640-1641": selected tokens
    with: "all", // heads that answer: all, open, or "7.7,12.1"
    unit: "block", // what a click selects: token, word, sentence, block
    panel: "map", // map, routes or reason
    routes: "", // which routes: "" the first that were given, "1" the second, found
    zoom: "", // "q0-q1-k0-k1" of the map, in tokens
    from: "",
    edge: "0.02", // the routes' reader (token span) and least edge
    find: "", // search
    at: "0", // first token in sight
    theme: "", // "", light, dark
};

const listeners = [];
let now = { ...FALLBACK };

function parse(hash) {
    const state = { ...FALLBACK };
    for (const [key, value] of new URLSearchParams(hash.replace(/^#/, ""))) if (key in FALLBACK) state[key] = value;
    return state;
}

function toHash(state) {
    const out = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) if (value !== FALLBACK[key]) out.set(key, value);
    return `#${out}`;
}

function replace(next) {
    const changed = new Set(Object.keys(next).filter((key) => next[key] !== now[key]));
    now = next;
    if (changed.size > 0) for (const listener of listeners) listener(now, changed);
}

export function state() {
    return now;
}

// Changes some fields. The fragment follows a little later: scrolling changes it often.
let pending = 0;
export function change(fields) {
    replace({ ...now, ...fields });
    clearTimeout(pending);
    pending = setTimeout(() => history.replaceState(null, "", toHash(now)), 120);
}

// listener(state, set of changed fields)
export function onChange(listener) {
    listeners.push(listener);
}

export function startState() {
    now = parse(location.hash);
    addEventListener("hashchange", () => replace(parse(location.hash)));
}

// "3-5,9-12" as [[3, 5], [9, 12]] within n tokens; what is malformed is left out.
export function parseSpans(text, n) {
    const spans = [];
    for (const part of text.split(",")) {
        const found = /^(\d+)-(\d+)$/.exec(part);
        const begin = Number(found?.[1]);
        const end = Math.min(Number(found?.[2]), n);
        if (found && begin < end) spans.push([begin, end]);
    }
    return spans;
}

export function formatSpans(spans) {
    return spans.map(([begin, end]) => `${begin}-${end}`).join(",");
}

// "7.7" as {layer, head}, or null.
export function parseHead(text) {
    const found = /^(\d+)\.(\d+)$/.exec(text);
    return found ? { layer: Number(found[1]), head: Number(found[2]) } : null;
}
