// SPDX-License-Identifier: MIT
//
// painter.js — two painters with the same few strokes, one for a canvas and one for SVG, so that every panel draws
// itself once and can be seen, saved as PNG and saved as SVG.

const SVG = "http://www.w3.org/2000/svg";
const FONT = "system-ui, sans-serif";
const MONO = "ui-monospace, 'DejaVu Sans Mono', monospace";

export class CanvasPainter {
    constructor(canvas, width, height, scale) {
        this.width = width;
        this.height = height;
        canvas.width = Math.round(width * scale);
        canvas.height = Math.round(height * scale);
        this.context = canvas.getContext("2d");
        this.context.setTransform(scale, 0, 0, scale, 0, 0);
    }

    rect(x, y, width, height, colour) {
        this.context.fillStyle = colour;
        this.context.fillRect(x, y, width, height);
    }

    line(x0, y0, x1, y1, colour, width = 1, dash = []) {
        this.context.setLineDash(dash);
        this.context.strokeStyle = colour;
        this.context.lineWidth = width;
        this.context.beginPath();
        this.context.moveTo(x0, y0);
        this.context.lineTo(x1, y1);
        this.context.stroke();
    }

    // Half an ellipse below the line from x0 to x1 at height y.
    arc(x0, x1, y, depth, colour, width) {
        const c = this.context;
        c.setLineDash([]);
        c.strokeStyle = colour;
        c.lineWidth = width;
        c.beginPath();
        c.ellipse((x0 + x1) / 2, y, Math.abs(x1 - x0) / 2, depth, 0, 0, Math.PI);
        c.stroke();
    }

    // anchor: start, middle, end; turn: degrees
    text(x, y, text, colour, { size = 12, anchor = "start", turn = 0, mono = false, bold = false } = {}) {
        const c = this.context;
        c.save();
        c.translate(x, y);
        c.rotate((turn * Math.PI) / 180);
        c.font = `${bold ? "600 " : ""}${size}px ${mono ? MONO : FONT}`;
        c.textAlign = anchor === "middle" ? "center" : anchor;
        c.fillStyle = colour;
        c.fillText(text, 0, 0);
        c.restore();
    }

    // pixels: a canvas
    image(x, y, width, height, pixels) {
        this.context.imageSmoothingEnabled = false;
        this.context.drawImage(pixels, x, y, width, height);
    }
}

export class SvgPainter {
    constructor(width, height) {
        this.width = width;
        this.height = height;
        this.root = document.createElementNS(SVG, "svg");
        this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
        this.root.setAttribute("width", width);
        this.root.setAttribute("height", height);
    }

    add(name, attributes) {
        const element = document.createElementNS(SVG, name);
        for (const [key, value] of Object.entries(attributes))
            element.setAttribute(key, typeof value === "number" ? Number(value.toFixed(2)) : value);
        this.root.append(element);
        return element;
    }

    rect(x, y, width, height, colour) {
        if (colour !== "transparent") return this.add("rect", { x, y, width, height, fill: colour });
        return null;
    }

    line(x0, y0, x1, y1, colour, width = 1, dash = []) {
        const more = dash.length > 0 ? { "stroke-dasharray": dash.join(" ") } : {};
        return this.add("line", { x1: x0, y1: y0, x2: x1, y2: y1, stroke: colour, "stroke-width": width, ...more });
    }

    arc(x0, x1, y, depth, colour, width) {
        const [a, b] = [Math.min(x0, x1), Math.max(x0, x1)];
        const d = `M${a.toFixed(1)} ${y.toFixed(1)}A${((b - a) / 2).toFixed(1)} ${depth.toFixed(1)} 0 0 0 ${b.toFixed(1)} ${y.toFixed(1)}`;
        return this.add("path", { d, fill: "none", stroke: colour, "stroke-width": width });
    }

    text(x, y, text, colour, { size = 12, anchor = "start", turn = 0, mono = false, bold = false } = {}) {
        const element = this.add("text", {
            x,
            y,
            fill: colour,
            "font-size": size,
            "text-anchor": anchor,
            "font-family": mono ? MONO : FONT,
        });
        if (bold) element.setAttribute("font-weight", 600);
        if (turn) element.setAttribute("transform", `rotate(${turn} ${x} ${y})`);
        element.setAttribute("xml:space", "preserve");
        element.textContent = text;
        return element;
    }

    image(x, y, width, height, pixels) {
        const element = this.add("image", {
            x,
            y,
            width,
            height,
            href: pixels.toDataURL("image/png"),
            preserveAspectRatio: "none",
        });
        element.setAttribute("image-rendering", "pixelated");
    }
}

function download(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Saves a panel: {width, height, draw(painter)}, on the page's ground.
export function savePicture(name, kind, panel, ground) {
    const { width, height, draw } = panel;
    if (kind === "svg") {
        const painter = new SvgPainter(width, height);
        painter.root.setAttribute("xmlns", SVG);
        painter.rect(0, 0, width, height, ground);
        draw(painter);
        const text = new XMLSerializer()
            .serializeToString(painter.root)
            .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "\ufffd");
        download(`${name}.svg`, new Blob([text], { type: "image/svg+xml" }));
        return;
    }
    const canvas = document.createElement("canvas");
    const painter = new CanvasPainter(canvas, width, height, 2);
    painter.rect(0, 0, width, height, ground);
    draw(painter);
    canvas.toBlob((blob) => download(`${name}.png`, blob), "image/png");
}
