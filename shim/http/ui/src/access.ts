// What the server needs to know whose data is asked for. Kept for this tab alone (sessionStorage).

const KEY = "meterhouse.access";

export interface Access {
  token: string;
  org: string;
}

export function access(): Access {
  try {
    const { token = "", org = "" } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}") as Partial<Access>;
    return { token, org };
  } catch {
    return { token: "", org: "" };
  }
}

export function setAccess(given: Access): void {
  if (given.token || given.org) sessionStorage.setItem(KEY, JSON.stringify(given));
  else sessionStorage.removeItem(KEY);
}

export function accessHeaders(): Record<string, string> {
  const { token, org } = access();
  return {
    ...(token ? { Authorization: `Bearer ${token}` } : {}),
    ...(org ? { "X-Scope-OrgID": org } : {}),
  };
}
