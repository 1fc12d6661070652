// Answers as columns: one list of times, one row of values per series. Pure.

import type { Histogram, Labels, Result, Series } from "./api.ts";
import { seriesName } from "./format.ts";

export interface Line {
  name: string;
  labels: Labels;
  /** One value per time; null where there is none. */
  values: (number | null)[];
}
export interface Columns {
  times: number[];
  lines: Line[];
}

export const number = (text: string): number =>
  text === "+Inf" || text === "Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);

/** All series of a result; a scalar is a series without labels. */
export function seriesOf(result: Result): Series[] {
  if (result.resultType === "scalar" || result.resultType === "string") {
    return [{ metric: {}, value: result.result as [number, string] }];
  }
  return result.result as Series[];
}

export const hasHistograms = (series: readonly Series[]): boolean =>
  series.some((one) => one.histograms !== undefined || one.histogram !== undefined);

/** Put several answers on one axis. Histograms are shown as their counts. */
export function columns(answers: readonly { query: string; series: readonly Series[] }[]): Columns {
  const seen = new Set<number>();
  for (const { series } of answers) {
    for (const one of series) for (const [t] of points(one)) seen.add(t);
  }
  const times = [...seen].sort((a, b) => a - b);
  const at = new Map(times.map((t, i) => [t, i]));
  const lines: Line[] = [];
  for (const { query, series } of answers) {
    for (const one of series) {
      const values: (number | null)[] = new Array(times.length).fill(null);
      for (const [t, value] of points(one)) {
        const i = at.get(t);
        if (i !== undefined) values[i] = Number.isFinite(value) ? value : null;
      }
      lines.push({ name: seriesName(one.metric, query), labels: one.metric, values });
    }
  }
  return { times, lines };
}

function* points(series: Series): Generator<[number, number]> {
  for (const [t, text] of series.values ?? []) yield [t, number(text)];
  for (const [t, histogram] of series.histograms ?? []) yield [t, number(histogram.count)];
  if (series.value) yield [series.value[0], number(series.value[1])];
  if (series.histogram) yield [series.histogram[0], number(series.histogram[1].count)];
}

/** Fill holes with steps, so that a gap is a gap and not a long line. */
export function withGaps({ times, lines }: Columns, stepS: number): Columns {
  if (times.length < 2 || !(stepS > 0)) return { times, lines };
  const first = times[0] as number;
  const last = times[times.length - 1] as number;
  const length = Math.round((last - first) / stepS) + 1;
  if (length === times.length || length > 20_000) return { times, lines };
  const index = times.map((t) => Math.round((t - first) / stepS));
  return {
    times: Array.from({ length }, (_, i) => first + i * stepS),
    lines: lines.map((line) => {
      const values: (number | null)[] = new Array(length).fill(null);
      index.forEach((to, from) => (values[to] = line.values[from] ?? null));
      return { ...line, values };
    }),
  };
}

/** Running sums over the series, for stacked areas. */
export function stack(lines: readonly Line[]): (number | null)[][] {
  const total: number[] = [];
  return lines.map((line) =>
    line.values.map((value, i) => {
      total[i] = (total[i] ?? 0) + (value ?? 0);
      return total[i] ?? null;
    }),
  );
}

/** Count, sum and mean of a histogram, for a table. */
export function summary(histogram: Histogram): { count: number; sum: number; mean: number } {
  const [n, sum] = [number(histogram.count), number(histogram.sum)];
  return { count: n, sum, mean: n ? sum / n : NaN };
}

/** A cell of CSV; spreadsheets must not take a text for a formula. */
export function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Times down, series across. */
export function csv({ times, lines }: Columns): string {
  const rows = [["time", ...lines.map((line) => line.name)].map(csvCell).join(",")];
  times.forEach((t, i) => {
    const cells = lines.map((line) => (line.values[i] === null || line.values[i] === undefined ? "" : String(line.values[i])));
    rows.push([new Date(t * 1000).toISOString(), ...cells].join(","));
  });
  return `${rows.join("\n")}\n`;
}
