// Lines over time: uPlot, and a legend that can be read and switched by keyboard.

import uPlot from "uplot";

import { colour, css } from "./colours.ts";
import { button, fill, h } from "./dom.ts";
import { short } from "./format.ts";
import { type Columns, stack } from "./series.ts";
import { formatTime } from "./time.ts";

export interface GraphOptions {
  stacked: boolean;
  log: boolean;
  utc: boolean;
  startS: number;
  endS: number;
  unit: (value: number | null | undefined) => string;
  zoom: (startS: number, endS: number) => void;
}
/** A drawn graph; `close` frees it. */
export interface Drawn {
  element: HTMLElement;
  close(): void;
}

const HEIGHT = 340;
const LEGEND_ROWS = 40;

export function graph(data: Columns, options: GraphOptions): Drawn {
  const holder = h("div", { class: "plot", role: "img", "aria-label": `Graph of ${data.lines.length} series; the table shows the numbers` });
  const legend = h("div", { class: "legend" });
  const element = h("div", {}, holder, legend);
  const hidden = new Set<number>();
  let plot: uPlot | null = null;

  const draw = (): void => {
    plot?.destroy();
    const shown = data.lines.map((line, i) => ({ ...line, i })).filter(({ i }) => !hidden.has(i));
    const rows = options.stacked ? stack(shown) : shown.map((line) => line.values);
    // The highest stack is drawn first, so that each lower one covers its part.
    const order = options.stacked ? [...rows.keys()].reverse() : [...rows.keys()];
    const floor = options.log ? (value: number | null) => (value !== null && value > 0 ? value : null) : null;
    const series = order.map((at) => ({
      label: shown[at]?.name ?? "",
      stroke: colour(shown[at]?.i ?? 0),
      width: 1.5,
      ...(options.stacked ? { fill: colour(shown[at]?.i ?? 0) } : {}),
      points: { show: data.times.length < 3 ? true : undefined, size: 5 } as uPlot.Series.Points,
    }));
    const values = order.map((at) => (floor ? (rows[at] ?? []).map(floor) : (rows[at] ?? [])));
    const own = order.map((at) => shown[at]?.values ?? []); // a stacked line is drawn at the sum of all below it
    plot = new uPlot(plotOptions(holder, options, series, own), [data.times, ...values] as uPlot.AlignedData, holder);
  };

  const listLegend = (all: boolean): void => {
    const count = all ? data.lines.length : Math.min(LEGEND_ROWS, data.lines.length);
    const items = data.lines.slice(0, count).map((line, i) => legendItem(line.name, last(line.values), i, options, hidden, () => { draw(); listLegend(all); }, data.lines.length));
    const more = data.lines.length - count;
    fill(legend, ...items, more > 0 && button(`Show ${more} more`, () => listLegend(true), { class: "link" }));
  };

  const resize = new ResizeObserver(() => {
    const width = holder.clientWidth;
    if (plot && width > 0 && Math.abs(plot.width - width) > 1) plot.setSize({ width, height: HEIGHT });
  });
  requestAnimationFrame(() => {
    draw();
    resize.observe(holder);
    performance.mark("meterhouse-graph");
  });
  listLegend(false);
  return {
    element,
    close: () => {
      resize.disconnect();
      plot?.destroy();
    },
  };
}

const last = (values: readonly (number | null)[]): number | null => values.findLast((value) => value !== null) ?? null;

function legendItem(name: string, value: number | null, i: number, options: GraphOptions, hidden: Set<number>, changed: () => void, total: number): HTMLElement {
  const swatch = h("span", { class: "swatch" });
  swatch.style.background = colour(i);
  const item = h(
    "button",
    {
      type: "button",
      "aria-pressed": String(!hidden.has(i)),
      title: "Click: this line alone, or all. Ctrl-click: hide or show it.",
      onclick: (event: MouseEvent) => {
        if (event.ctrlKey || event.metaKey) {
          if (!hidden.delete(i)) hidden.add(i);
        } else {
          const alone = hidden.size === total - 1 && !hidden.has(i);
          hidden.clear();
          if (!alone) for (let other = 0; other < total; other++) if (other !== i) hidden.add(other);
        }
        changed();
      },
    },
    swatch,
    h("span", { class: "name" }, name),
    h("span", { class: "value" }, options.unit(value)),
  );
  return item;
}

function plotOptions(holder: HTMLElement, options: GraphOptions, series: uPlot.Series[], own: readonly (number | null)[][]): uPlot.Options {
  const [text, edge] = [css("--soft"), css("--grid")];
  const axis = { stroke: text, grid: { stroke: edge, width: 1 }, ticks: { stroke: edge, width: 1 }, font: "12px system-ui, sans-serif" };
  return {
    width: Math.max(200, holder.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { focus: { prox: 24 }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    focus: { alpha: options.stacked ? 1 : 0.25 },
    ...(options.utc ? { tzDate: (t: number) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC") } : {}),
    scales: {
      x: { time: true, range: () => [options.startS, options.endS] },
      y: options.log ? { distr: 3 } : { range: (_, min, max) => span(min, max) },
    },
    axes: [
      { ...axis, space: 70, values: clock },
      { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : short(tick))) },
    ],
    series: [{}, ...series],
    plugins: [tooltip(options, own)],
    hooks: {
      setSelect: [
        (u) => {
          if (u.select.width > 5) options.zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** Ticks of time: 24 hours, and the date where it changes. */
const clock: uPlot.Axis.Values = [
  [31_536_000, "{YYYY}", null, null, null, null, null, null, 1],
  [2_419_200, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86_400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
];

/** From zero where that costs at most half of the height; never an empty span. */
function span(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1];
  if (min === max) return min === 0 ? [0, 1] : min > 0 ? [0, max * 1.2] : [min * 1.2, 0];
  const pad = (max - min) * 0.06;
  const low = min >= 0 && min < max / 2 ? 0 : min - pad;
  return [low, max <= 0 && max > min / 2 ? 0 : max + pad];
}

/** The values under the pointer; `own` has one row per series. */
function tooltip(options: GraphOptions, own: readonly (number | null)[][]): uPlot.Plugin {
  const box = h("div", { class: "tooltip", hidden: true });
  let focused: number | null = null;
  return {
    hooks: {
      init: (u) => void u.over.appendChild(box),
      setSeries: (_, i) => (focused = i),
      setCursor: (u) => {
        const at = u.cursor.idx;
        const { left = -1, top = 0 } = u.cursor;
        if (at === null || at === undefined || left < 0) {
          box.hidden = true;
          return;
        }
        const rows = u.series.slice(1).map((one, i) => ({ one, i: i + 1, value: own[i]?.[at] ?? null }));
        const chosen = focused !== null && !options.stacked ? rows.filter(({ i }) => i === focused) : rows.filter(({ value }) => value !== null).slice(0, 8);
        fill(box, h("strong", {}, formatTime(u.data[0][at] ?? 0, options.utc)), ...chosen.map(({ one, value }) => h("div", {}, `${String(one.label)}  `, h("b", {}, options.unit(value)))));
        box.hidden = false;
        const right = left > u.over.clientWidth / 2;
        box.style.left = right ? "" : `${left + 12}px`;
        box.style.right = right ? `${u.over.clientWidth - left + 12}px` : "";
        box.style.top = `${Math.min(top + 12, u.over.clientHeight - 40)}px`;
      },
    },
  };
}
