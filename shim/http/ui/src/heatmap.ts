// Distributions over time: a row is a range of values, the colour is the number of observations.

import type { Series } from "./api.ts";
import { type Bands, bands } from "./bands.ts";
import { css, heat } from "./colours.ts";
import { fill, h } from "./dom.ts";
import { short } from "./format.ts";
import type { Drawn, GraphOptions } from "./graph.ts";
import { formatTime } from "./time.ts";

const HEIGHT = 340;
const [LEFT, BOTTOM, TOP] = [62, 26, 8];
const MAX_ROWS = 72;

export function heatmap(series: readonly Series[], stepS: number, options: GraphOptions): Drawn {
  const data = bands(series, MAX_ROWS);
  const canvas = h("canvas", { role: "img", "aria-label": `Heatmap of ${data.rows.length} ranges of values over ${data.times.length} times` });
  const box = h("div", { class: "tooltip", hidden: true });
  const element = h("div", { class: "plot heatmap" }, canvas, box, scale(data));
  const draw = (): void => paint(canvas, data, stepS, options);
  canvas.addEventListener("pointermove", (event) => point(event, canvas, box, data, stepS, options));
  canvas.addEventListener("pointerleave", () => (box.hidden = true));
  const resize = new ResizeObserver(draw);
  requestAnimationFrame(() => {
    resize.observe(element);
    performance.mark("meterhouse-heatmap");
  });
  return { element, close: () => resize.disconnect() };
}

function scale(data: Bands): HTMLElement {
  const bar = h("span", { class: "scale" });
  bar.style.background = `linear-gradient(to right, ${[0.02, 0.25, 0.5, 0.75, 1].map(heat).join(",")})`;
  return h("p", { class: "scale-line" }, "0", bar, `${short(data.max)} in one cell`);
}

interface Frame {
  width: number;
  height: number;
  x: (t: number) => number;
  row: number;
}

function frame(canvas: HTMLCanvasElement, data: Bands, options: GraphOptions): Frame {
  const width = canvas.clientWidth - LEFT;
  const height = HEIGHT - BOTTOM - TOP;
  const spanS = options.endS - options.startS || 1;
  return { width, height, row: height / Math.max(1, data.rows.length), x: (t) => LEFT + ((t - options.startS) / spanS) * width };
}

function paint(canvas: HTMLCanvasElement, data: Bands, stepS: number, options: GraphOptions): void {
  const ratio = devicePixelRatio || 1;
  canvas.style.height = `${HEIGHT}px`;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(HEIGHT * ratio);
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  ctx.scale(ratio, ratio);
  const { x, row, width, height } = frame(canvas, data, options);
  data.times.forEach((t, i) => {
    const [from, to] = [Math.max(LEFT, x(t - stepS)), x(t)];
    data.counts[i]?.forEach((count, r) => {
      if (count <= 0) return;
      ctx.fillStyle = heat(count / data.max);
      ctx.fillRect(from, TOP + height - (r + 1) * row, Math.max(1, to - from + 0.4), row + 0.4);
    });
  });
  ctx.fillStyle = css("--soft");
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  const every = Math.max(1, Math.ceil(data.rows.length / 8));
  data.rows.forEach(({ upper }, r) => {
    if (r % every === 0) ctx.fillText(options.unit(Number(upper.toPrecision(2))), LEFT - 6, TOP + height - (r + 1) * row + 6);
  });
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  const ticks = Math.max(2, Math.floor(width / 110));
  for (let i = 0; i <= ticks; i++) {
    const t = options.startS + ((options.endS - options.startS) * i) / ticks;
    const text = formatTime(t, options.utc).slice(options.endS - options.startS > 86_400 ? 5 : 11, 16);
    ctx.fillText(text, Math.min(LEFT + width - 20, Math.max(LEFT + 20, x(t))), HEIGHT - BOTTOM + 8);
  }
}

function point(event: PointerEvent, canvas: HTMLCanvasElement, box: HTMLElement, data: Bands, stepS: number, options: GraphOptions): void {
  const { x, row, height } = frame(canvas, data, options);
  const i = data.times.findIndex((t) => event.offsetX >= x(t - stepS) && event.offsetX < x(t));
  const r = Math.floor((TOP + height - event.offsetY) / row);
  const range = data.rows[r];
  const t = data.times[i];
  if (!range || t === undefined) {
    box.hidden = true;
    return;
  }
  const share = (data.counts[i] ?? []).reduce((sum, n) => sum + n, 0);
  const n = data.counts[i]?.[r] ?? 0;
  fill(box, h("strong", {}, formatTime(t, options.utc)), h("div", {}, `${options.unit(range.lower)} to ${options.unit(range.upper)}`), h("div", {}, h("b", {}, short(n)), share ? ` (${((n / share) * 100).toFixed(1)} %)` : ""));
  box.hidden = false;
  const right = event.offsetX > canvas.clientWidth / 2;
  box.style.left = right ? "" : `${event.offsetX + 14}px`;
  box.style.right = right ? `${canvas.clientWidth - event.offsetX + 14}px` : "";
  box.style.top = `${Math.min(event.offsetY + 10, HEIGHT - 70)}px`;
}
