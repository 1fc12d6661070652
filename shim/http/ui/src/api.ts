// The public HTTP API of the same server, with the credentials of this tab.

import { accessHeaders } from "./access.ts";

export type Labels = Record<string, string>;
export type Bucket = [rule: number, lower: string, upper: string, count: string];
export interface Histogram {
  count: string;
  sum: string;
  buckets?: Bucket[];
}
export interface Series {
  metric: Labels;
  values?: [number, string][];
  histograms?: [number, Histogram][];
  value?: [number, string];
  histogram?: [number, Histogram];
}
export interface Result {
  resultType: "matrix" | "vector" | "scalar" | "string";
  result: Series[] | [number, string];
}
export interface Explain {
  plan: string[];
  optimized: string[];
  statements: { sql: string; rows: number; wall_ms: number }[];
  from_memory: Record<string, unknown>[];
  timings: Record<string, number>;
}
export interface Answer<T> {
  data: T;
  warnings: string[];
  infos: string[];
  explain?: Explain;
  ms: number;
  bytes: number;
}

/** A refusal of the server, in its own words. */
export class ApiError extends Error {
  constructor(message: string, readonly status: number, readonly type: string) {
    super(message);
  }
}

/** Called when the server asks for a credential. */
const onRefused: ((error: ApiError) => void)[] = [];
export function whenRefused(call: (error: ApiError) => void): void {
  onRefused.push(call);
}

export const urlOf = (path: string): string => new URL(path, document.baseURI.split(/[?#]/)[0]).href;

type Parameters = Record<string, string | number | boolean | string[] | undefined>;

export function form(parameters: Parameters): URLSearchParams {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === "" || value === false) continue;
    for (const one of Array.isArray(value) ? value : [value]) pairs.append(name, one === true ? "1" : String(one));
  }
  return pairs;
}

async function read<T>(response: Response, began: number): Promise<Answer<T>> {
  const text = await response.text();
  let body: { status?: string; data?: T; error?: string; errorType?: string } & Partial<Answer<T>> = {};
  try {
    body = JSON.parse(text);
  } catch {
    body = { error: text.slice(0, 300) || response.statusText };
  }
  if (!response.ok || body.status !== "success") {
    const error = new ApiError(body.error || `HTTP ${response.status}`, response.status, body.errorType ?? "");
    if (response.status === 401 || response.status === 403) onRefused.forEach((call) => call(error));
    throw error;
  }
  return {
    data: body.data as T,
    warnings: body.warnings ?? [],
    infos: body.infos ?? [],
    ...(body.explain ? { explain: body.explain } : {}),
    ms: performance.now() - began,
    bytes: text.length,
  };
}

async function ask<T>(path: string, init: RequestInit): Promise<Answer<T>> {
  const began = performance.now();
  let response: Response;
  try {
    response = await fetch(urlOf(`api/v1/${path}`), {
      ...init,
      headers: { ...accessHeaders(), ...init.headers },
      credentials: "same-origin",
    });
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new ApiError("The server does not answer.", 0, "unreachable");
  }
  return read<T>(response, began);
}

export function get<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<Answer<T>> {
  const query = form(parameters).toString();
  return ask<T>(query ? `${path}?${query}` : path, signal ? { signal } : {});
}

export function post<T>(path: string, parameters: Parameters, signal?: AbortSignal): Promise<Answer<T>> {
  return ask<T>(path, { method: "POST", body: form(parameters), ...(signal ? { signal } : {}) });
}

export const isAbort = (error: unknown): boolean => (error as Error | null)?.name === "AbortError";
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
