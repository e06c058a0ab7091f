// SPDX-License-Identifier: MIT
//
// elements.js — making elements from text, never from markup; numbers as people read them.

// Children that are strings become text.
export function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
        else if (value === true) element.setAttribute(key, "");
        else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
}

export function byId(id) {
    return document.getElementById(id);
}

export function count(n) {
    return n.toLocaleString("en");
}

export function percent(x, digits = 1) {
    return Number.isFinite(x) ? `${(100 * x).toFixed(digits)}\u2009%` : "not known";
}

// A small share without losing it in rounding.
export function sharePercent(x) {
    return x >= 0.0995 ? percent(x, 1) : x >= 0.001 || x === 0 ? percent(x, 2) : "< 0.1\u2009%";
}

export function byteCount(n) {
    for (const unit of ["B", "kB", "MB", "GB"]) {
        if (n < 1000 || unit === "GB") return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
        n /= 1000;
    }
    return "";
}

export function tokensOf(begin, end) {
    return end - begin === 1 ? `token ${begin}` : `tokens ${begin}\u2013${end - 1}`;
}

export function headName(head) {
    return `L${head.layer}.H${head.head}`;
}

// A function that runs `fn` at most once a frame, with the last arguments.
export function oncePerFrame(fn) {
    let wanted = null;
    return (...args) => {
        if (wanted === null)
            requestAnimationFrame(() => {
                const given = wanted;
                wanted = null;
                fn(...given);
            });
        wanted = args;
    };
}
