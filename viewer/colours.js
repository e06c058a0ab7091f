// SPDX-License-Identifier: MIT
//
// colours.js — the colours of both themes. Shades of one hue rise steadily in lightness, so that people with
// and without colour-blindness see the same order; "is read" is blue and "reads" is orange (Okabe and Ito's palette), and never by colour alone.

const MEASURE = {
    light: [
        [233, 230, 238],
        [215, 181, 216],
        [223, 101, 176],
        [200, 20, 105],
        [103, 0, 50],
    ],
    dark: [
        [38, 44, 58],
        [92, 34, 84],
        [170, 44, 122],
        [232, 112, 180],
        [255, 218, 240],
    ],
};
const MASS = {
    light: [
        [255, 255, 255],
        [198, 219, 239],
        [107, 174, 214],
        [33, 113, 181],
        [8, 48, 107],
    ],
    dark: [
        [17, 22, 31],
        [24, 58, 97],
        [36, 110, 175],
        [107, 178, 230],
        [240, 249, 255],
    ],
};

function mix(stops, x) {
    const at = Math.min(Math.max(x, 0), 1) * (stops.length - 1);
    const i = Math.min(Math.floor(at), stops.length - 2);
    return stops[i].map((a, c) => Math.round(a + (stops[i + 1][c] - a) * (at - i)));
}

export function themeName() {
    return document.documentElement.dataset.theme;
}

// Much stands out from the ground: bright in the dark, dark in the light.
export function measureColour(x) {
    return Number.isFinite(x) ? `rgb(${mix(MEASURE[themeName()], x)})` : "transparent";
}

// The measures' colours from none to all, as a style.
export function measureScale() {
    return `linear-gradient(90deg, ${MEASURE[themeName()].map((c) => `rgb(${c})`).join(", ")})`;
}

// 256 colours for masses, as bytes [256 * 3]: none to all.
export function massRamp() {
    const out = new Uint8ClampedArray(768);
    for (let i = 0; i < 256; i++) out.set(mix(MASS[themeName()], i / 255), 3 * i);
    return out;
}

// A colour of the style sheet.
export function colourOf(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// "is read" (blue) as a background behind text, x in 0..1.
export function readColour(x) {
    return x <= 0
        ? "transparent"
        : `rgba(${themeName() === "dark" ? "40,130,220" : "0,114,178"},${(0.08 + 0.47 * x).toFixed(3)})`;
}

// "reads" (orange) as a line under text.
export function readerColour(x) {
    return x <= 0
        ? "transparent"
        : `rgba(${themeName() === "dark" ? "255,150,40" : "213,94,0"},${(0.15 + 0.85 * x).toFixed(3)})`;
}

// Follows the reader's wish: "" is the system's.
export function setTheme(wish) {
    const dark = wish === "" ? matchMedia("(prefers-color-scheme: dark)").matches : wish === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
}
