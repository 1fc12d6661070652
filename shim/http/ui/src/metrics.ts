// Types and units of metrics, remembered for a moment, and the queries that suit each type.

import { get } from "./api.ts";
import { rateWindow } from "./time.ts";

export type MetricType = "counter" | "gauge" | "histogram" | "set";
export interface Metric {
  name: string;
  types: MetricType[];
  unit: string;
  help: string;
  /** Series of the last day. */
  series: number;
  /** The start of the last day with data, in Unix seconds. */
  last_day: number;
}
export interface Suggestion {
  text: string;
  title: string;
  queries: string[];
  show: "graph" | "heatmap";
}

const MAX_AGE_MS = 30_000;
let read: { at: number; found: Promise<Map<string, Metric>> } | null = null;

/** All metrics by name. */
export function metrics(): Promise<Map<string, Metric>> {
  if (!read || performance.now() - read.at > MAX_AGE_MS) {
    const found = get<Metric[]>("meterhouse/metrics").then(({ data }) => new Map(data.map((one) => [one.name, one])));
    read = { at: performance.now(), found };
    found.catch(() => (read = null));
  }
  return read.found;
}

export const forget = (): void => void (read = null);

/** Queries for a selector, by the type of its metric. */
export function suggestions(selector: string, type: MetricType, stepS: number, rangeText: string): Suggestion[] {
  const over = `${selector}[${rateWindow(stepS)}]`;
  const one = (text: string, title: string, query: string, show: "graph" | "heatmap" = "graph"): Suggestion => ({ text, title, queries: [query], show });
  switch (type) {
    case "counter":
      return [one("rate", "Per second", `sum(rate(${over}))`), one("increase", "Exact number of increments in each window", `sum(increase(${over}))`)];
    case "histogram":
      return [
        one("heatmap", "All observations by their size", `sum(rate(${over}))`, "heatmap"),
        { text: "p50 p90 p99", title: "Quantiles of all observations", queries: [0.5, 0.9, 0.99].map((q) => `histogram_quantile(${q}, sum(rate(${over})))`), show: "graph" },
        one("mean", "Mean of the observations", `histogram_avg(sum(rate(${over})))`),
        one("rate", "Observations per second", `histogram_count(sum(rate(${over})))`),
      ];
    case "set":
      return [
        one(`distinct in ${rangeText}`, "Distinct members of all series", `sum(sum_over_time(${selector}[${rangeText}]))`),
        one("distinct per window", "Distinct members in each short window", `sum(sum_over_time(${over}))`),
      ];
    case "gauge":
      return [one("last", "Latest values", selector), one("max", "Highest value in each window", `max_over_time(${over})`), one("mean", "Mean in each window", `avg_over_time(${over})`)];
  }
}

/** Whether values of the query are in the unit of its metric. */
export const keepsUnit = (query: string): boolean =>
  /histogram_(quantile|avg|stddev)\s*\(|(?:avg|min|max|quantile|last|stddev)_over_time\s*\(/.test(query) || !/[(*/]/.test(query.replace(/\{[^}]*\}/g, ""));
