/** Requests to the node; every failure is one sentence for people. */

import type { CommitDetail, DiffView, Drop, LinkParameters, ToLabel } from "./types";

export class ApiError extends Error {
  constructor(
    readonly code: string,
    sentence: string,
  ) {
    super(sentence);
  }
}

async function answer(response: Response): Promise<Response> {
  if (response.ok) return response;
  const body = (await response.json().catch(() => null)) as { error?: { code: string; sentence: string } } | null;
  throw new ApiError(body?.error?.code ?? "http", body?.error?.sentence ?? `the node answered ${response.status}`);
}

async function call(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch {
    throw new ApiError("unreachable", "the node's page does not answer; nothing was changed");
  }
  return answer(response);
}

async function get<T>(path: string): Promise<T> {
  return (await (await call(path)).json()) as T;
}

function post(path: string, body: unknown): Promise<Response> {
  return call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

export interface Session {
  token_wanted: boolean;
  role: "operator" | "viewer" | null;
}

export const session = (): Promise<Session> => get<Session>("api/session");
export const enter = async (token: string): Promise<void> => void (await post("api/session", { token }));

export interface LinkChange {
  a: string;
  b: string;
  there?: Partial<LinkParameters>;
  back?: Partial<LinkParameters>;
  preset?: string;
  drop?: Drop | null;
}

export const setLink = async (change: LinkChange): Promise<void> => void (await post("api/links", change));

export type Fault =
  | { fault: "cut"; a: string; b: string; both: boolean }
  | { fault: "heal"; a?: string; b?: string }
  | { fault: "partition"; groups: string[][] }
  | { fault: "leave" | "return" | "kill" | "pause" | "resume" | "restart"; node: string };

export const makeFault = async (fault: Fault): Promise<void> => void (await post("api/faults", fault));

export interface NewJob {
  task?: string;
  from?: string;
  rounds?: number;
  target?: number | string; // of the first metric, or NAME=VALUE
  stop_when?: string; // no better for N
  seconds?: number;
  bytes?: number;
  bytes_node?: number;
  joules?: number;
  joules_node?: number;
  steps?: number;
  lr?: number;
}

export const newJob = async (job: NewJob): Promise<string> =>
  ((await (await post("api/jobs", job)).json()) as { job: string }).job;
export const stopJob = async (job: string, reason: string): Promise<void> =>
  void (await post("api/jobs/stop", { job, reason }));

/** A model that was put into use. */
export interface Moved {
  task: string;
  version: string;
  former: string | null;
  said: string; // why, with figures
}

/** Put a commit's model into use on the node whose page this is. */
export const useCommit = async (commit: string, force: boolean): Promise<Moved> =>
  (await (await post("api/use", { commit, force })).json()) as Moved;
export const goBack = async (task: string): Promise<Moved> =>
  (await (await post("api/rollback", { task })).json()) as Moved;

export const toLabel = (task: string, n: number): Promise<ToLabel> =>
  get(`api/label?task=${encodeURIComponent(task)}&n=${n}`);
export const giveLabel = async (task: string, id: number, label: number, held: boolean | null): Promise<void> =>
  void (await post("api/label", { task, id, label, held }));

export const commitDetail = (id: string): Promise<CommitDetail> => get(`api/commits/${encodeURIComponent(id)}`);
export const diff = (a: string, b: string): Promise<DiffView> =>
  get(`api/diff?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`);

/** Fetch a model and hand it to the browser as a download. */
export async function exportModel(job: string, commit: string | null, kind: "safetensors" | "onnx"): Promise<string> {
  const response = await post("api/export", commit === null ? { job, kind } : { job, commit, kind });
  const said = response.headers.get("Content-Disposition") ?? "";
  const name = /filename="?([\w.-]+)"?/.exec(said)?.[1] ?? `model.${kind}`;
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return name;
}
