// SPDX-License-Identifier: MIT
//
// routefile.js — what `sparsetrace route --json` printed, checked and brought into the form of routes.js.

// Where an object is not as it should be, this says so.
class RouteFileError extends Error {}

function wrong(where, what) {
    throw new RouteFileError(`the routes' file: ${where} ${what}`);
}

function spanOf(x, nTok, where) {
    const good = Number.isSafeInteger(x?.begin) && Number.isSafeInteger(x?.end) && x.begin >= 0 && x.begin < x.end;
    if (!good || x.end > nTok) wrong(where, `is no span of tokens within the trace's ${nTok}`);
    return [x.begin, x.end];
}

function shareOf(x, where) {
    if (typeof x !== "number" || !(x >= 0)) wrong(where, "is no share");
    return Math.min(x, 1);
}

// What a run without the read found, as `sparsetrace prove --json` says it: "proved" (needed and enough), "needed",
// "enough", "refuted"; "": no such run.
export function proofOf(x) {
    const proof = x?.proof;
    if (proof === null || typeof proof !== "object") return "";
    if (proof.causal === true || (proof.necessary === true && proof.sufficient === true)) return "proved";
    if (proof.necessary === true) return "needed";
    return proof.sufficient === true ? "enough" : "refuted";
}

function hopOf(x, nTok, where) {
    if (!Number.isSafeInteger(x?.layer) || !Number.isSafeInteger(x?.head)) wrong(where, "names no head");
    return {
        layer: x.layer,
        head: x.head,
        source: spanOf(x.key, nTok, `${where}.key`),
        reader: spanOf(x.query, nTok, `${where}.query`),
        mass: shareOf(x.mass, `${where}.mass`),
        proof: proofOf(x),
    };
}

// [{from, to, flow, routes: [{weight, proof, hops}]}], one for each object of the file. Routes without a hop (what
// stays where it is) are left out. A hop without a proof of its own has its route's, and that the object's.
export function readRouteFile(objects, nTok) {
    return objects.map((x, n) => {
        if (!Array.isArray(x?.routes)) wrong(`object ${n}`, "has no list of routes");
        const routes = x.routes.map((route, r) => {
            const where = `routes[${r}]`;
            if (!Array.isArray(route?.hops)) wrong(where, "has no list of hops");
            const proof = proofOf(route) || proofOf(x);
            const hops = route.hops.map((hop, h) => hopOf(hop, nTok, `${where}.hops[${h}]`));
            for (const hop of hops) hop.proof ||= proof;
            return { weight: shareOf(route.weight, `${where}.weight`), proof, hops };
        });
        return {
            from: spanOf(x.from, nTok, "from"),
            to: spanOf(x.to, nTok, "to"),
            flow: shareOf(x.flow, "flow"),
            routes: routes.filter((route) => route.hops.length > 0),
        };
    });
}
