/** What the page knows: the last snapshot and everything that changed since. Pure data, no elements. */

import type { FieldRow, Header, LogLine, Patch, State } from "./types";

export const TABLES = ["nodes", "links", "jobs", "rounds", "commits", "contributions", "field", "marks"] as const;
export type TableName = (typeof TABLES)[number];
export type Tables = Pick<State, TableName>;
const LOG_LINES_MAX = 500;

/** What of the page a change concerns: table names, "header", "log", "connection". */
export type Change = TableName | "header" | "log" | "connection";

export interface Connection {
  state: "connecting" | "open" | "lost" | "refused";
  since_ms: number; // performance.now() at which it became so
  heard_ms: number; // of the last message
  events: number; // patches and snapshots taken so far
  gaps: number; // healed by a new snapshot
  snapshots: number;
  last: string | null; // id of the last event
}

export class Store {
  header: Header | null = null;
  tables: Tables = { nodes: {}, links: {}, jobs: {}, rounds: {}, commits: {}, contributions: {}, field: {}, marks: {} };
  log: LogLine[] = [];
  connection: Connection = {
    state: "connecting", since_ms: performance.now(), heard_ms: 0, events: 0, gaps: 0, snapshots: 0, last: null,
  };
  /** The job that the page shows: the reader's choice, or what the node says. */
  chosen: string | null = null;
  /** How often each table's set of rows was changed, so that views can skip work. */
  version: Record<TableName, number> = {
    nodes: 0, links: 0, jobs: 0, rounds: 0, commits: 0, contributions: 0, field: 0, marks: 0,
  };
  private t = 0;
  private t_ms = 0;
  private readonly listeners: ((changes: ReadonlySet<Change>) => void)[] = [];

  onChange(listener: (changes: ReadonlySet<Change>) => void): void {
    this.listeners.push(listener);
  }

  tell(...changes: Change[]): void {
    const set = new Set(changes);
    for (const listener of this.listeners) listener(set);
  }

  /** The feed clock now; it goes on while the connection is lost, so that ages grow. */
  now_t(): number {
    return this.t + (performance.now() - this.t_ms) / 1000;
  }

  /** Seconds since the newest data came from the node, or null before the first snapshot. */
  age_s(): number | null {
    return this.header === null ? null : Math.max(0, this.now_t() - this.header.source.fresh_t);
  }

  /** Whether what is shown can be called the present. */
  alive(): boolean {
    return this.connection.state === "open" && this.header?.source.state === "live" && (this.age_s() ?? 99) < 8;
  }

  job(): string | null {
    if (this.chosen !== null && this.chosen in this.tables.jobs) return this.chosen;
    const wanted = this.header?.job ?? null;
    return wanted !== null && wanted in this.tables.jobs ? wanted : (Object.keys(this.tables.jobs)[0] ?? null);
  }

  name(node: string | null): string {
    return node === null ? "–" : (this.tables.nodes[node]?.name ?? node);
  }

  /** The models in use on a node, by task. */
  usesOf(node: string): FieldRow[] {
    return Object.values(this.tables.field).filter((row) => row.node === node);
  }

  may(): boolean {
    return this.header?.role === "operator";
  }

  clock(t: number): void {
    this.t = t;
    this.t_ms = performance.now();
  }

  snapshot(snapshot: State): void {
    this.clock(snapshot.t);
    this.header = snapshot.header;
    for (const table of TABLES) {
      (this.tables as unknown as Record<string, unknown>)[table] = snapshot[table];
      this.version[table]++;
    }
    this.log = snapshot.log.slice(-LOG_LINES_MAX);
    this.tell("header", "log", ...TABLES);
  }

  patch(patch: Patch): void {
    this.clock(patch.t);
    const changes: Change[] = [];
    for (const table of TABLES) {
      const rows = patch[table];
      if (rows === undefined) continue;
      this.merge(this.tables[table] as Record<string, object>, rows);
      this.version[table]++;
      changes.push(table);
    }
    if (patch.header !== undefined && this.header !== null) {
      Object.assign(this.header, patch.header);
      changes.push("header");
    }
    if (this.header !== null) this.header.source.fresh_t = patch.fresh_t;
    if (patch.log !== undefined) {
      this.log.push(...patch.log);
      if (this.log.length > LOG_LINES_MAX) this.log.splice(0, this.log.length - LOG_LINES_MAX);
      changes.push("log");
    }
    this.tell(...changes);
  }

  private merge(table: Record<string, object>, rows: Record<string, object | null>): void {
    for (const [id, row] of Object.entries(rows)) {
      if (row === null) delete table[id];
      else if (Object.hasOwn(table, id)) Object.assign(table[id]!, row);
      else table[id] = row;
    }
  }
}
