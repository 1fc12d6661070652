// Native histograms as bands for a heatmap. Pure.
//
// A bucket of schema s ends at 2^(i / 2^s). Two neighbours of one schema are one bucket of the next coarser
// schema, so bands merge exactly, and no band is wider or narrower than its neighbours.

import type { Histogram, Series } from "./api.ts";
import { number } from "./series.ts";

export interface Bands {
  times: number[];
  /** Upper and lower ends of each row, ascending. */
  rows: { lower: number; upper: number }[];
  /** counts[time][row] */
  counts: number[][];
  max: number;
}

const MAX_SCHEMA = 5;
const MIN_SCHEMA = -4;
const ZERO = "zero";

/** Merge all series per time, with as many rows as fit. */
export function bands(series: readonly Series[], maxRows: number): Bands {
  const merged = new Map<number, Cells>();
  for (const one of series) {
    for (const [t, histogram] of one.histograms ?? (one.histogram ? [one.histogram] : [])) {
      addBuckets(merged, t, histogram);
    }
  }
  const cells = [...merged].sort(([a], [b]) => a - b).map(([t, buckets]) => ({ t, buckets: [...buckets.values()] }));
  const all = cells.flatMap(({ buckets }) => buckets);
  const schema = coarsest(all, maxRows);
  const axis = rowsOf(all, schema);
  const at = new Map(axis.map(({ key }, i) => [key, i]));
  const counts = cells.map(({ buckets }) => {
    const row: number[] = new Array(axis.length).fill(0);
    for (const { lower, upper, count } of buckets) {
      const i = at.get(keyOf(lower, upper, schema)) ?? 0;
      row[i] = (row[i] ?? 0) + count;
    }
    return row;
  });
  return {
    times: cells.map(({ t }) => t),
    rows: axis.map(({ lower, upper }) => ({ lower, upper })),
    counts,
    max: Math.max(0, ...counts.map((row) => Math.max(0, ...row))),
  };
}

interface Cell {
  lower: number;
  upper: number;
  count: number;
}
type Cells = Map<string, Cell>;

function addBuckets(merged: Map<number, Cells>, t: number, histogram: Histogram): void {
  const cells: Cells = merged.get(t) ?? new Map();
  merged.set(t, cells);
  for (const [, lowerText, upperText, countText] of histogram.buckets ?? []) {
    const key = `${lowerText} ${upperText}`;
    const cell = cells.get(key) ?? { lower: number(lowerText), upper: number(upperText), count: 0 };
    cell.count += number(countText);
    cells.set(key, cell);
  }
}

const crossesZero = (lower: number, upper: number): boolean => lower <= 0 && upper >= 0;

/** The finest schema whose rows fit. */
function coarsest(buckets: readonly Cell[], maxRows: number): number {
  for (let schema = schemaOf(buckets); schema > MIN_SCHEMA; schema--) {
    const [negative, positive] = [span(buckets, schema, true), span(buckets, schema, false)];
    if (size(negative) + size(positive) < maxRows) return schema;
  }
  return MIN_SCHEMA;
}

/** The schema of the widest bucket: finer rows would leave holes below it. */
function schemaOf(buckets: readonly Cell[]): number {
  let widest = 1;
  for (const { lower, upper } of buckets) {
    const ratio = upper < 0 ? lower / upper : upper / lower;
    if (!crossesZero(lower, upper) && Number.isFinite(ratio)) widest = Math.max(widest, ratio);
  }
  const schema = widest > 1 ? Math.floor(-Math.log2(Math.log2(widest)) + 1e-3) : MAX_SCHEMA;
  return Math.max(MIN_SCHEMA + 1, Math.min(MAX_SCHEMA, schema));
}

const size = ([from, to]: [number, number]): number => Math.max(0, to - from + 1);

/** The lowest and highest index on one side of zero; an empty span if there is none. */
function span(buckets: readonly Cell[], schema: number, negative: boolean): [number, number] {
  let [from, to] = [Infinity, -Infinity];
  for (const { lower, upper } of buckets) {
    if (crossesZero(lower, upper) || upper < 0 !== negative) continue;
    const index = indexOf(lower, upper, schema);
    [from, to] = [Math.min(from, index), Math.max(to, index)];
  }
  return [from, to];
}

function indexOf(lower: number, upper: number, schema: number): number {
  const [near, far] = upper < 0 ? [-upper, -lower] : [lower, upper];
  // A bucket without an end is the row after its start.
  return Number.isFinite(far) ? Math.ceil(Math.log2(far) * 2 ** schema - 1e-6) : Math.floor(Math.log2(near) * 2 ** schema + 1e-6) + 1;
}

function keyOf(lower: number, upper: number, schema: number): string {
  if (crossesZero(lower, upper)) return ZERO;
  return `${upper < 0 ? "-" : "+"}${indexOf(lower, upper, schema)}`;
}

/** All rows from the lowest to the highest, also those without an observation. */
function rowsOf(buckets: readonly Cell[], schema: number): { key: string; lower: number; upper: number }[] {
  const edge = (index: number): number => 2 ** (index / 2 ** schema);
  const rows: { key: string; lower: number; upper: number }[] = [];
  const [low, high] = span(buckets, schema, true);
  for (let i = high; i >= low; i--) rows.push({ key: `-${i}`, lower: -edge(i), upper: -edge(i - 1) });
  const zero = buckets.find(({ lower, upper }) => crossesZero(lower, upper));
  if (zero) rows.push({ key: ZERO, lower: zero.lower, upper: zero.upper });
  const [from, to] = span(buckets, schema, false);
  for (let i = from; i <= to; i++) rows.push({ key: `+${i}`, lower: edge(i - 1), upper: edge(i) });
  return rows;
}
