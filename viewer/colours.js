// SPDX-License-Identifier: MIT
//
// colours.js — the colours of both themes. Measures are in cividis, which people with and without colour-blindness
// see alike; "is read" is blue and "reads" is orange (Okabe and Ito's palette), and never by colour alone.

const CIVIDIS = [[0, 34, 78], [8, 51, 112], [53, 69, 108], [79, 87, 108], [102, 105, 112], [125, 124, 120], [148, 142, 119], [174, 163, 113], [200, 184, 102], [229, 207, 82], [254, 232, 56]];
const RAMPS = {
  light: [[255, 255, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]],
  dark: [[17, 22, 31], [24, 58, 97], [36, 110, 175], [107, 178, 230], [240, 249, 255]],
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
  return Number.isFinite(x) ? `rgb(${mix(CIVIDIS, themeName() === "dark" ? x : 1 - x)})` : "rgb(128,128,128)";
}

// 256 colours for masses, as bytes [256 * 3]: none to all.
export function massRamp() {
  const out = new Uint8ClampedArray(768);
  for (let i = 0; i < 256; i++) out.set(mix(RAMPS[themeName()], i / 255), 3 * i);
  return out;
}

// A colour of the style sheet.
export function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// "is read" (blue) as a background behind text, x in 0..1.
export function readColour(x) {
  return x <= 0 ? "transparent" : `rgba(${themeName() === "dark" ? "40,130,220" : "0,114,178"},${(0.08 + 0.47 * x).toFixed(3)})`;
}

// "reads" (orange) as a line under text.
export function readerColour(x) {
  return x <= 0 ? "transparent" : `rgba(${themeName() === "dark" ? "255,150,40" : "213,94,0"},${(0.15 + 0.85 * x).toFixed(3)})`;
}

// Follows the reader's wish: "" is the system's.
export function setTheme(wish) {
  const dark = wish === "" ? matchMedia("(prefers-color-scheme: dark)").matches : wish === "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
