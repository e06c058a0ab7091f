// SPDX-License-Identifier: MIT
//
// reasonpaint.js — the two pictures of the reasoning panel: the strips (phases, tags, receiver scores with anchors,
// arcs of who leans on whom, for each reading) and the matrix of who reads whom.

import { colourOf, massRamp } from "./colours.js";
import { PHASES, TAGS } from "./sentences.js";

// Okabe and Ito's colours; every tag has a letter too.
const TAG_COLOURS = ["#999999", "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#b8a600"];
const TAG_LETTERS = ["S", "P", "F", "C", "U", "R", "K", "A"];
const PHASE_COLOURS = ["#999999", "#0072b2", "#009e73", "#d55e00", "#e69f00", "#b8a600"];
const STRIP_LEFT = 62;
const STRIP_RIGHT = 8;
const ROWS = { phase: 20, tag: 16, peaks: 64, axis: 16, arcs: 56, gap: 8 };
const MATRIX = { left: 44, bottom: 34, top: 4, right: 6 };
const ARCS = 160; // drawn at most, the strongest

export function tagColour(tag) {
    return TAG_COLOURS[TAGS.indexOf(tag)] ?? "#6a7684";
}

export function inkOn(colour) {
    return colour === "#0072b2" ? "#ffffff" : "#000000";
}

export function tagLetter(tag) {
    return TAG_LETTERS[TAGS.indexOf(tag)] ?? (tag ? "?" : "");
}

// Which of a reading's rows there is something for.
function rowsOf(reading) {
    return {
        phase: reading.sentences.some((s) => s.phase),
        tag: reading.sentences.some((s) => s.tag),
        peaks: reading.sentences.some((s) => Number.isFinite(s.receiver)),
        arcs: reading.edges.length > 0,
    };
}

// Pixels that the strips of all readings take.
export function stripsHeight(readings) {
    const sum = (rows) =>
        ROWS.axis +
        ROWS.gap +
        ["phase", "tag", "peaks", "arcs"].reduce((a, name) => a + (rows[name] ? ROWS[name] : 0), 0) +
        (readings.length > 1 ? 16 : 0);
    return readings.reduce((a, reading) => a + sum(rowsOf(reading)), 0);
}

// The reading and sentence at a place, or null.
export function sentenceAt(readings, x, y, width) {
    let top = 0;
    for (const reading of readings) {
        const height = stripsHeight([reading]) + (readings.length > 1 ? 16 : 0);
        const i = Math.floor(((x - STRIP_LEFT) / (width - STRIP_LEFT - STRIP_RIGHT)) * reading.sentences.length);
        if (y >= top && y < top + height && i >= 0 && i < reading.sentences.length) return { reading, i };
        top += height;
    }
    return null;
}

// ---- strips ---------------------------------------------------------------------------------------------------

// Runs of sentences that have the same value of a field: [begin, end, value].
function runs(sentences, field) {
    const out = [];
    sentences.forEach((s, i) => {
        if (out.length > 0 && out.at(-1)[2] === s[field]) out.at(-1)[1] = i + 1;
        else out.push([i, i + 1, s[field]]);
    });
    return out;
}

function paintRuns(painter, reading, field, y, height, x, look) {
    for (const [begin, end, value] of runs(reading.sentences, field)) {
        if (!value) continue;
        const width = x(end) - x(begin);
        const [colour, long, short] = look(value);
        painter.rect(x(begin), y, Math.max(width - (width > 3 ? 0.6 : 0), 0.6), height - 3, colour);
        const word = width > long.length * 6.4 + 4 ? long : width > 9 ? short : "";
        if (word)
            painter.text(x(begin) + width / 2, y + height - 7, word, inkOn(colour), { size: 10, anchor: "middle" });
    }
}

// Scaled to the highest anchor: the last sentences, which few could look back at, may stand out above and are cut.
function paintPeaks(painter, reading, y, x) {
    const score = (i) => reading.sentences[i].receiver;
    const finite = reading.sentences.map((s) => s.receiver).filter(Number.isFinite);
    const most = Math.max(...(reading.anchors.length > 0 ? reading.anchors.map(score) : finite), 1e-12);
    const base = y + ROWS.peaks - 4;
    const room = ROWS.peaks - 28;
    painter.line(STRIP_LEFT, base, painter.width - STRIP_RIGHT, base, colourOf("hair"), 1);
    reading.sentences.forEach((s, i) => {
        if (!Number.isFinite(s.receiver)) return;
        const height = Math.min(s.receiver / most, 1) * room;
        const colour = colourOf(reading.anchors.includes(i) ? "reader" : "faint");
        painter.rect(x(i), base - height, Math.max(x(i + 1) - x(i) - 0.5, 0.8), height, colour);
    });
    const ends = [-Infinity, -Infinity]; // of the two rows of labels
    for (const i of [...reading.anchors].sort((a, b) => a - b)) {
        const label = `\u25b2${i}`;
        const middle = (x(i) + x(i + 1)) / 2;
        const row = ends.findIndex((end) => middle - 14 > end);
        if (row < 0) continue;
        ends[row] = middle + 14;
        painter.text(middle, base - room - 3 - 10 * row, label, colourOf("ink"), { size: 10, anchor: "middle" });
    }
}

function paintArcs(painter, reading, y, x, chosen) {
    const middle = (i) => (x(i) + x(i + 1)) / 2;
    const mine = (e) => e.to === chosen || e.from === chosen;
    const list = [...reading.edges].sort((a, b) => b.score - a.score);
    const shown = [
        ...list
            .slice(0, ARCS)
            .filter((e) => !mine(e))
            .reverse(),
        ...list.filter(mine),
    ];
    const farthest = Math.max(1, ...shown.map((e) => e.to - e.from));
    for (const e of shown) {
        const depth = Math.max(3, ((e.to - e.from) / farthest) ** 0.5 * (ROWS.arcs - 6));
        const colour = mine(e) ? colourOf("focus") : colourOf("read");
        painter.arc(middle(e.from), middle(e.to), y, depth, colour, mine(e) ? 2 : 0.3 + 1.2 * e.score ** 2);
    }
}

function paintAxis(painter, reading, y, x) {
    const n = reading.sentences.length;
    const rough = n / ((painter.width - STRIP_LEFT - STRIP_RIGHT) / 46);
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((s) => s >= rough) ?? 10000;
    for (let i = 0; i < n; i += step)
        painter.text((x(i) + x(i + 1)) / 2, y + 11, String(i), colourOf("faint"), { size: 10, anchor: "middle" });
}

// chosen: {reading, i} or null
export function paintStrips(painter, readings, chosen) {
    const ink = colourOf("ink");
    painter.rect(0, 0, painter.width, painter.height, colourOf("ground"));
    let y = 0;
    for (const reading of readings) {
        const has = rowsOf(reading);
        const x = (i) => STRIP_LEFT + (i / reading.sentences.length) * (painter.width - STRIP_LEFT - STRIP_RIGHT);
        const name = (text, height) =>
            painter.text(STRIP_LEFT - 6, y + height - 7, text, ink, { size: 11, anchor: "end" });
        const top = y;
        if (readings.length > 1) {
            painter.text(STRIP_LEFT, y + 12, reading.name.slice(0, 100), ink, { size: 11, bold: true });
            y += 16;
        }
        if (has.phase) {
            name("phase", ROWS.phase);
            paintRuns(painter, reading, "phase", y, ROWS.phase, x, (v) => [
                PHASE_COLOURS[PHASES.indexOf(v)],
                v,
                "UPCDVE"[PHASES.indexOf(v)],
            ]);
            y += ROWS.phase;
        }
        if (has.tag) {
            name("tag", ROWS.tag);
            paintRuns(painter, reading, "tag", y, ROWS.tag, x, (v) => [tagColour(v), tagLetter(v), tagLetter(v)]);
            y += ROWS.tag;
        }
        if (has.peaks) {
            name("read later", ROWS.peaks);
            paintPeaks(painter, reading, y, x);
            y += ROWS.peaks;
        }
        paintAxis(painter, reading, y, x);
        name("sentence", ROWS.axis + 3);
        y += ROWS.axis;
        if (has.arcs) {
            name("leans on", ROWS.arcs / 2);
            paintArcs(painter, reading, y, x, chosen?.reading === reading ? chosen.i : -1);
            y += ROWS.arcs;
        }
        if (chosen?.reading === reading) {
            const height = y - top;
            painter.rect(x(chosen.i), top, Math.max(2, x(chosen.i + 1) - x(chosen.i)), height, colourOf("chosen"));
        }
        y += ROWS.gap;
    }
}

// ---- the matrix -----------------------------------------------------------------------------------------------

// The value that is drawn strongest: the 98th percentile of what is read from 4 sentences on, where receivers show.
function matrixTop({ values, n, join }) {
    const far = [];
    for (let i = 0; i < n; i++)
        for (let j = 0; j <= i - Math.max(1, 4 / join); j++) if (values[i * n + j] > 0) far.push(values[i * n + j]);
    far.sort((a, b) => a - b);
    return far[Math.floor(0.98 * (far.length - 1))] ?? Math.max(...values, 1e-12);
}

function matrixPixels(matrix) {
    const ramp = massRamp();
    const top = (matrix.top ??= matrixTop(matrix));
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = matrix.n;
    const image = new ImageData(matrix.n, matrix.n);
    const unread = colourOf("void").match(/\d+/g).map(Number);
    for (let i = 0; i < matrix.n; i++)
        for (let j = 0; j < matrix.n; j++) {
            const at = i * matrix.n + j;
            const level = Math.round(255 * Math.sqrt(Math.min(1, matrix.values[at] / top)));
            for (let c = 0; c < 3; c++) image.data[4 * at + c] = j > i ? unread[c] : ramp[3 * level + c];
            image.data[4 * at + 3] = 255;
        }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
}

function matrixSide(width, height) {
    return Math.max(10, Math.min(width - MATRIX.left - MATRIX.right, height - MATRIX.top - MATRIX.bottom));
}

// {i: reads, j: is read} in sentences, or null.
export function cellAt(reading, x, y, width, height) {
    const side = matrixSide(width, height);
    const n = reading.sentences.length;
    const scale = reading.matrix.n * reading.matrix.join;
    const i = Math.floor(((y - MATRIX.top) / side) * scale);
    const j = Math.floor(((x - MATRIX.left) / side) * scale);
    return i >= 0 && j >= 0 && i < n && j < n ? { i, j } : null;
}

export function paintMatrix(painter, reading, chosen) {
    const ink = colourOf("ink");
    const side = matrixSide(painter.width, painter.height);
    const { left, top } = MATRIX;
    const scale = side / (reading.matrix.n * reading.matrix.join);
    painter.rect(0, 0, painter.width, painter.height, colourOf("ground"));
    painter.image(left, top, side, side, matrixPixels(reading.matrix));
    const n = reading.sentences.length;
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((s) => s * scale >= 30) ?? 5000;
    for (let i = 0; i < n; i += step) {
        painter.text(left - 4, top + (i + 0.5) * scale + 4, String(i), ink, { size: 10, anchor: "end" });
        painter.text(left + (i + 0.5) * scale, top + side + 13, String(i), ink, { size: 10, anchor: "middle" });
    }
    painter.text(left + side / 2, top + side + 28, "sentence that is read \u2192", ink, { size: 11, anchor: "middle" });
    painter.text(11, top + side / 2, "\u2190 sentence that reads", ink, { size: 11, anchor: "middle", turn: -90 });
    if (chosen >= 0) {
        const width = Math.max(2, scale);
        painter.rect(left, top + chosen * scale, chosen * scale + width, width, colourOf("chosen"));
        painter.rect(left + chosen * scale, top + chosen * scale, width, side - chosen * scale, colourOf("chosen"));
    }
}
