// Who has the most series: metrics, labels, pairs, and the org's limits.

import { get } from "./api.ts";
import { button, h, note } from "./dom.ts";
import { bytes, clip, count } from "./format.ts";
import type { Status } from "./status.ts";
import { type Column, table } from "./table.ts";
import { type Go, part, type Shown, tile } from "./view.ts";

interface Entry {
  name: string;
  value: number;
}
interface Tsdb {
  headStats: { numSeries: number; numLabelPairs: number };
  seriesCountByMetricName: Entry[];
  labelValueCountByLabelName: Entry[];
  memoryInBytesByLabelName: Entry[];
  seriesCountByLabelValuePair: Entry[];
  limits?: Record<string, number>;
}
const LIMIT = 50;

export function cardinalityView(go: Go): Shown {
  const shown = part(async (signal) => {
    const [{ data }, state] = await Promise.all([get<Tsdb>("status/tsdb", { limit: LIMIT }, signal), get<Status>("meterhouse/status", {}, signal)]);
    const total = data.headStats.numSeries;
    const explore = (name: string): HTMLElement => button(clip(name, 60), () => go("explore", { metric: name }), { class: "link" });
    const text = (name: string): string => clip(name, 60);
    return [
      h("div", { class: "tiles" }, tile("series of the last day", count(total)), tile("label pairs", count(data.headStats.numLabelPairs)), tile("metrics, at least", count(data.seriesCountByMetricName.length))),
      ...limits(data.limits),
      h("div", { class: "grid" },
        block("Series by metric", "metric", data.seriesCountByMetricName, explore, (n) => `${count(n)}${share(n, total)}`),
        block("Values by label", "label", data.labelValueCountByLabelName, text, count),
        block("Series by label and value", "pair", data.seriesCountByLabelValuePair, text, (n) => `${count(n)}${share(n, total)}`),
        block("Bytes of values by label", "label", data.memoryInBytesByLabelName, text, bytes),
        state.data.orgs && block("Series of today by org and project", "org:project", state.data.orgs.map(({ org, project, series }) => ({ name: `${org}:${project}`, value: series })), text, count)),
    ];
  });
  return { element: h("div", {}, h("h1", {}, "Cardinality"), h("p", {}, `Of your org and project, yesterday and today; the ${LIMIT} largest of each kind.`), shown.element), close: shown.close };
}

const share = (n: number, total: number): string => (total ? ` (${((100 * n) / total).toFixed(n * 50 < total ? 1 : 0)} %)` : "");

function block(title: string, name: string, rows: readonly Entry[], cell: (name: string) => HTMLElement | string, value: (n: number) => string): HTMLElement {
  const cols: Column<Entry>[] = [
    { title: name, key: (row) => row.name, cell: (row) => cell(row.name) },
    { title: "count", key: (row) => row.value, cell: (row) => value(row.value), numeric: true },
  ];
  return h("section", {}, h("h2", {}, title), rows.length ? table(title, cols, rows, 1) : note("info", "Nothing yet."));
}

function limits(found: Record<string, number> | undefined): HTMLElement[] {
  if (!found) return [];
  return [h("h2", {}, "Limits of the org"), table("Limits", [
    { title: "limit", key: ([name]) => name },
    { title: "value", key: ([, value]) => value, cell: ([, value]) => count(value), numeric: true },
  ], Object.entries(found))];
}
