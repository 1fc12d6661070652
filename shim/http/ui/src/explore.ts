// All metrics: type, unit, series, last seen; of one its labels and their values.

import { get, type Labels } from "./api.ts";
import { button, fill, h, note } from "./dom.ts";
import { clip, count, quoted, selector } from "./format.ts";
import { type Metric, metrics, suggestions } from "./metrics.ts";
import type { State } from "./state.ts";
import { table } from "./table.ts";
import { ago, formatTime } from "./time.ts";
import { type Go, part, type Shown } from "./view.ts";

const MAX_VALUES = 200;
const MAX_SERIES = 200;
const DAY_S = 86_400;

export function exploreView(state: State, go: Go): Shown {
  const filter = h("input", { type: "search", placeholder: "Filter by name, type or unit", "aria-label": "Filter metrics" });
  const list = h("div");
  const detail = h("div");
  let open: Shown | null = null;
  const choose = (name: string): void => {
    state.metric = name;
    open?.close();
    open = name ? metricPart(name, state, go) : null;
    fill(detail, open?.element);
  };
  const all = part(async () => {
    const found = [...(await metrics()).values()];
    const draw = (): void => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = found.filter((one) => words.every((word) => `${one.name} ${one.types.join(" ")} ${one.unit} ${one.help}`.toLowerCase().includes(word)));
      fill(list, rows.length ? metricTable(rows, (name) => go("explore", { metric: name })) : note("info", found.length ? "No metric has that." : "No metric is stored yet."));
    };
    filter.oninput = draw;
    draw();
    return [filter, list];
  });
  choose(state.metric);
  const element = h("div", {}, h("h1", {}, "Explore"), h("div", { class: "grid list" }, all.element, detail));
  return {
    element,
    close: () => {
      all.close();
      open?.close();
    },
  };
}

function metricTable(rows: readonly Metric[], choose: (name: string) => void): HTMLElement {
  return table("Metrics", [
    { title: "metric", key: (one) => one.name, cell: (one) => button(one.name, () => choose(one.name), { class: "link" }) },
    { title: "type", key: (one) => one.types.join(", ") },
    { title: "unit", key: (one) => one.unit },
    { title: "series today", key: (one) => one.series, cell: (one) => count(one.series), numeric: true },
    { title: "last day", key: (one) => one.last_day, cell: (one) => day(one.last_day), numeric: true },
  ], rows);
}

const day = (seconds: number): string => (seconds >= Math.floor(Date.now() / 1000 / DAY_S) * DAY_S ? "today" : new Date(seconds * 1000).toISOString().slice(0, 10));

function metricPart(name: string, state: State, go: Go): Shown {
  return part(async (signal) => {
    const match = { "match[]": selector(name) };
    const [known, seen, labels, series] = await Promise.all([
      metrics(),
      get<{ lastSeen: number | null }>("meterhouse/metrics", { metric: name }, signal),
      get<string[]>("labels", match, signal),
      get<Labels[]>("series", { ...match, limit: MAX_SERIES }, signal),
    ]);
    const metric = known.get(name);
    const at = seen.data.lastSeen;
    const offers = (metric?.types ?? []).flatMap((type) => suggestions(selector(name), type, 20, "1h"));
    return [
      h("h2", {}, name),
      metric && h("p", {}, metric.help),
      h("p", {}, fact("type", metric?.types.join(", ") ?? ""), metric?.unit && fact("unit", metric.unit), fact("series today", count(metric?.series ?? 0)), fact("last data", at === null ? "none" : `${formatTime(at, state.utc)} (${ago(Date.now() / 1000 - at)})`)),
      h("p", { class: "chips" }, ...offers.map(({ text, title, queries, show }) => button(text, () => go("query", { queries, show }), { class: "chip", title }))),
      h("h3", {}, "Labels"),
      ...labels.data.filter((label) => label !== "__name__").map((label) => labelDetails(name, label, go)),
      h("h3", {}, `Series${series.data.length >= MAX_SERIES ? `, the first ${MAX_SERIES}` : ""}`),
      table("Series", labels.data.filter((label) => label !== "__name__").map((label) => ({ title: label, key: (row: Labels) => row[label] ?? "", cell: (row: Labels) => clip(row[label] ?? "") })), series.data),
    ].filter((node): node is HTMLElement => node instanceof Node);
  });
}

const fact = (name: string, value: string): HTMLElement => h("span", { class: "fact" }, `${name} `, h("b", {}, value));

/** A label whose values are asked for when it is opened. */
function labelDetails(metric: string, label: string, go: Go): HTMLElement {
  const values = h("div", { class: "values" });
  const details = h("details", { class: "label" }, h("summary", {}, label), values);
  details.addEventListener("toggle", () => {
    if (!details.open || values.childElementCount) return;
    get<string[]>(`label/${encodeURIComponent(label)}/values`, { "match[]": selector(metric), limit: MAX_VALUES }).then(
      ({ data, warnings }) => fill(values, ...data.map((value) => button(clip(value, 80), () => go("query", { queries: [withLabel(metric, label, value)], show: "graph" }), { class: "link" })), warnings.length > 0 && h("span", {}, `the first ${MAX_VALUES}`)),
      (error: Error) => fill(values, note("error", error.message)),
    );
  });
  return details;
}

function withLabel(metric: string, label: string, value: string): string {
  const pair = `${/^[a-zA-Z_]\w*$/.test(label) ? label : quoted(label)}=${quoted(value)}`;
  const name = selector(metric);
  return name.startsWith("{") ? `{${name.slice(1, -1)}, ${pair}}` : `${name}{${pair}}`;
}
