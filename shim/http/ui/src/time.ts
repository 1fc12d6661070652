// Durations, times and steps. Seconds throughout.

const UNITS: readonly (readonly [string, number])[] = [
  ["y", 31_536_000], ["w", 604_800], ["d", 86_400], ["h", 3_600], ["m", 60], ["s", 1],
];
/** Every bucket of Meterhouse has a length that is a multiple of this. */
export const BUCKET_S = 10;
const MAX_POINTS = 11_000;

/** `1h30m` as seconds; NaN if it is not a duration. */
export function parseDuration(text: string): number {
  const trimmed = text.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  if (!/^(\d+(y|w|d|h|m|s))+$/.test(trimmed)) return NaN;
  let total = 0;
  for (const [, count, unit] of trimmed.matchAll(/(\d+)(y|w|d|h|m|s)/g)) {
    total += Number(count) * (UNITS.find(([name]) => name === unit)?.[1] ?? NaN);
  }
  return total;
}

export function formatDuration(seconds: number): string {
  let rest = Math.round(seconds);
  if (rest <= 0) return "0s";
  if (rest % 86_400 === 0 && rest % 604_800 !== 0) return `${rest / 86_400}d`; // 30d, not 4w2d
  let text = "";
  for (const [name, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${name}`;
    rest -= count * size;
  }
  return text;
}

/** A step that gives some 250 points (or as many as fit `width`), a whole number of buckets. */
export function autoStep(rangeS: number, width: number): number {
  const points = Math.max(60, Math.min(300, Math.floor(width / 3)));
  const raw = rangeS / points;
  const nice = [10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];
  return nice.find((step) => step >= raw) ?? Math.ceil(raw / 86_400) * 86_400;
}

/** The smallest step that the server accepts for a range. */
export const minStep = (rangeS: number): number => Math.ceil(rangeS / MAX_POINTS);

/** A window for rates that is seen at every step and spans several buckets. */
export const rateWindow = (stepS: number): string => formatDuration(Math.max(60, Math.ceil((stepS * 4) / 60) * 60));

const two = (n: number): string => String(n).padStart(2, "0");

/** `2026-11-28 10:00:00`, local or UTC. */
export function formatTime(seconds: number, utc: boolean): string {
  const d = new Date(seconds * 1000);
  return utc
    ? d.toISOString().slice(0, 19).replace("T", " ")
    : `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** Unix seconds of `2026-11-28 10:00`, RFC 3339, Unix seconds, `now` or `now-1h`; NaN otherwise. */
export function parseTime(text: string, utc: boolean, nowS = Date.now() / 1000): number {
  const trimmed = text.trim();
  const relative = /^now(?:\s*-\s*(\w+))?$/.exec(trimmed);
  if (relative) return nowS - (relative[1] ? parseDuration(relative[1]) : 0);
  if (/^\d{9,11}(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  if (!/^\d{4}-\d{2}-\d{2}/.test(trimmed)) return NaN;
  const iso = trimmed.replace(" ", "T") + (trimmed.length <= 10 ? "T00:00" : "");
  const zoned = /(Z|[+-]\d{2}:?\d{2})$/.test(iso);
  return Date.parse(utc && !zoned ? `${iso}Z` : iso) / 1000;
}

/** `3 min ago`. */
export function ago(seconds: number): string {
  if (!Number.isFinite(seconds)) return "never";
  if (seconds < 1.5) return "now";
  for (const [name, size] of [["d", 86_400], ["h", 3_600], ["min", 60]] as const) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${name} ago`;
  }
  return `${Math.round(seconds)} s ago`;
}
