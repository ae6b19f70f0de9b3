/**
 * The event stream: takes events in order, notices gaps and silence, comes back by itself.
 *
 * After a loss it asks for everything since the last event that it took, so that nothing is lost; when numbers
 * have a gap it asks for a new snapshot instead.
 */

import type { Patch, State, Tick } from "./types";
import type { Store } from "./store";
import { session } from "./api";

const SILENT_MS = 5000; // a tick comes every second (TICK_EVERY_S in feed.py)
const RETRY_MS = 700;

export class Stream {
  private source: EventSource | null = null;
  private opened_ms = 0;
  private held = false;

  constructor(
    private readonly store: Store,
    private readonly onRefused: () => void,
  ) {}

  start(): void {
    this.open();
    setInterval(() => this.watch(), 500);
    window.addEventListener("online", () => this.reopen());
  }

  /** For tests: end the stream and do not come back until `resume`. */
  hold(): void {
    this.held = true;
    this.source?.close();
    this.lost();
  }

  resume(): void {
    this.held = false;
    this.open();
  }

  private open(): void {
    this.source?.close();
    const last = this.store.connection.last;
    const address = last === null ? "api/events" : `api/events?since=${encodeURIComponent(last)}`;
    const source = new EventSource(address);
    this.source = source;
    this.opened_ms = performance.now();
    source.addEventListener("snapshot", (event) => this.take(event as MessageEvent<string>, true));
    source.addEventListener("patch", (event) => this.take(event as MessageEvent<string>, false));
    source.addEventListener("tick", (event) => this.tick(event as MessageEvent<string>));
    source.addEventListener("error", () => {
      this.lost();
      if (source.readyState === EventSource.CLOSED && source === this.source) void this.again();
    });
  }

  private reopen(): void {
    if (!this.held) this.open();
  }

  /** The browser gave up: the server refused. Look whether it wants a token, else try again. */
  private async again(): Promise<void> {
    this.source = null;
    await new Promise((done) => setTimeout(done, RETRY_MS));
    if (this.source !== null || this.held) return;
    const said = await session().catch(() => null);
    if (said !== null && said.token_wanted && said.role === null) {
      this.set("refused");
      this.onRefused();
    } else if (this.source === null && !this.held) {
      this.open();
    }
  }

  private watch(): void {
    if (this.held) return;
    const now = performance.now();
    const quiet_ms = now - Math.max(this.store.connection.heard_ms, this.opened_ms);
    if (quiet_ms < SILENT_MS || this.store.connection.state === "refused") return;
    this.lost();
    this.open();
  }

  private take(event: MessageEvent<string>, whole: boolean): void {
    const { connection } = this.store;
    const at = connection.last;
    if (!whole && !follows(at, event.lastEventId)) {
      connection.gaps++;
      connection.last = null;
      this.open();
      return;
    }
    connection.last = event.lastEventId;
    connection.events++;
    this.heard();
    if (whole) {
      connection.snapshots++;
      this.store.snapshot(JSON.parse(event.data) as State);
    } else {
      this.store.patch(JSON.parse(event.data) as Patch);
    }
  }

  private tick(event: MessageEvent<string>): void {
    const { t, fresh_t } = JSON.parse(event.data) as Tick;
    this.store.clock(t);
    if (this.store.header !== null) this.store.header.source.fresh_t = fresh_t;
    this.heard();
  }

  private heard(): void {
    this.store.connection.heard_ms = performance.now();
    this.set("open");
  }

  private lost(): void {
    if (this.store.connection.state === "open") this.set("lost");
  }

  private set(state: "open" | "lost" | "refused"): void {
    const { connection } = this.store;
    if (connection.state === state) return;
    connection.state = state;
    // It was lost when the last message came, not when that was noticed.
    connection.since_ms = state === "lost" && connection.heard_ms ? connection.heard_ms : performance.now();
    this.store.tell("connection");
  }
}

/** Whether `next` is the event right after `last`; both are `<boot>-<number>`. */
export function follows(last: string | null, next: string): boolean {
  if (last === null) return false;
  const [boot, number] = split(last);
  const [boot_next, number_next] = split(next);
  return boot === boot_next && number_next === number + 1;
}

function split(id: string): [string, number] {
  const at = id.lastIndexOf("-");
  return [id.slice(0, at), Number(id.slice(at + 1))];
}
