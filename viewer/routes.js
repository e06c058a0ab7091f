// SPDX-License-Identifier: MIT
//
// routes.js — how what stands in one span may have come to another: paths through layers, each hop one head's mass
// from a key block to the rows that read it, the residual stream between hops for free. A path's weight is the
// product of its hops' masses. Our reading, for want of the values' sizes: mass is a hint, not a proof.

const BRANCHES = 4; // paths kept for each block
const LEAST = 1e-5; // weight below which a path is forgotten

// A path: {weight, layer, head, mass, at: key block, from: path or null}. `at` is where it has arrived.
function insert(list, path) {
    let i = list.length;
    while (i > 0 && list[i - 1].weight < path.weight) i--;
    if (i >= BRANCHES) return;
    list.splice(i, 0, path);
    if (list.length > BRANCHES) list.pop();
}

// The hops that one layer adds to the paths, given its rows.
function addLayer(paths, g, last, layer, heads, rows, leastMass) {
    const added = new Map();
    const perQuery = Math.max(1, Math.round(g.bq / g.bk));
    for (let h = 0; h < heads.length; h++)
        for (let b = g.blkBegin; b <= Math.min(last, g.nbq - 1); b++) {
            const row = h * g.nbq + b;
            for (let e = rows.indptr[row]; e < rows.indptr[row + 1]; e++) {
                const known = paths.get(rows.indices[e]);
                if (!known || rows.mass[e] < leastMass) continue;
                const first = Math.floor((b * g.bq) / g.bk);
                for (let c = Math.max(first, rows.indices[e] + 1); c < Math.min(g.nbk, first + perQuery); c++)
                    for (const from of known) {
                        const weight = from.weight * rows.mass[e];
                        if (weight < LEAST) break;
                        if (!added.has(c)) added.set(c, []);
                        insert(added.get(c), { weight, layer, head: heads[h], mass: rows.mass[e], at: c, from });
                    }
            }
        }
    for (const [c, list] of added) {
        if (!paths.has(c)) paths.set(c, []);
        for (const path of list) insert(paths.get(c), path);
    }
}

function hopsOf(path, g) {
    const hops = [];
    const span = (c) => [c * g.bk, Math.min(g.nTok, (c + 1) * g.bk)];
    for (let p = path; p.from; p = p.from)
        hops.unshift({
            layer: p.layer,
            head: p.head,
            mass: p.mass,
            source: span(p.from.at),
            reader: span(p.at),
            proof: "",
        });
    return hops;
}

// The best `most` routes from the source span to the reader span (tokens), heaviest first:
// [{weight, proof: "", hops: [{layer, head, mass, source, reader, proof: ""}]}], source and reader as spans. tell(share done) is called now and then.
export async function findRoutes(selections, source, reader, leastMass, most, tell) {
    const g = selections.geometry;
    const paths = new Map();
    for (let c = Math.floor(source[0] / g.bk); c < Math.ceil(source[1] / g.bk); c++)
        paths.set(c, [{ weight: 1, at: c, from: null }]);
    const last = Math.floor((reader[1] - 1) / g.bq);
    for (let i = 0; i < selections.trace.recorded.length; i++) {
        const heads = selections.heads.filter((a) => a.i === i).map((a) => a.head);
        addLayer(paths, g, last, selections.trace.recorded[i].layer, heads, await selections.layer(i), leastMass);
        tell((i + 1) / selections.trace.recorded.length);
        if (i % 4 === 3)
            await new Promise((done) => {
                setTimeout(done);
            });
    }
    const routes = [];
    for (let c = Math.floor(reader[0] / g.bk); c < Math.ceil(reader[1] / g.bk); c++)
        for (const path of paths.get(c) ?? [])
            if (path.from) routes.push({ weight: path.weight, proof: "", hops: hopsOf(path, g) });
    return routes.sort((a, b) => b.weight - a.weight).slice(0, most);
}
