// Numbers and label sets for people.

import type { Labels } from "./api.ts";

const PREFIXES: readonly (readonly [number, string])[] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** At most five significant digits, with a prefix from ten thousand on. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
  const size = Math.abs(value);
  if (size >= 1e15 || (size !== 0 && size < 1e-4)) return value.toExponential(2);
  if (size >= 1e4) {
    for (const [factor, prefix] of PREFIXES) {
      if (size >= factor) return `${trim((value / factor).toPrecision(4))}${prefix}`;
    }
  }
  return trim(value.toPrecision(5));
}

const trim = (text: string): string => (text.includes("e") ? String(Number(text)) : text.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""));

/** Seconds with a unit, for durations of distributions whose unit is seconds. */
export function withUnit(value: number | null | undefined, unit: string): string {
  const text = short(value);
  if (!text || !unit) return text;
  if (unit === "bytes" && value !== null && value !== undefined) return bytes(value);
  return `${text} ${unit === "seconds" ? "s" : unit}`;
}

export function bytes(value: number): string {
  for (const [factor, name] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]] as const) {
    if (Math.abs(value) >= factor) return `${trim((value / factor).toPrecision(4))} ${name}`;
  }
  return `${short(value)} B`;
}

export const count = (value: number): string => value.toLocaleString("en-US");

const plainName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** A label value as a string of PromQL. */
export const quoted = (text: string): string => JSON.stringify(text);

/** A metric's name as a selector. */
export const selector = (name: string): string => (plainName.test(name) ? name : `{${quoted(name)}}`);

/** `name{a="b"}`, as Prometheus writes it. */
export function seriesName(labels: Labels, fallback = "{}"): string {
  const { __name__: name = "", ...others } = labels;
  const pairs = Object.entries(others).map(([key, value]) => `${plainName.test(key) ? key : quoted(key)}=${quoted(value)}`);
  const named = plainName.test(name) ? name : "";
  if (name && !named) pairs.unshift(quoted(name));
  return named + (pairs.length ? `{${pairs.join(", ")}}` : "") || fallback;
}

/** A text short enough for one line of a table. */
export const clip = (text: string, max = 160): string => (text.length > max ? `${text.slice(0, max - 1)}…` : text);
