/** The head of the page: whose view this is, how old, and the job's figures. */

import { stopJob } from "./api";
import { byId, el, keyed, setText, show, toggle } from "./dom";
import { bytes, clock, span } from "./format";
import { metric, pair } from "./metrics";
import { openNewJob } from "./newjob";
import { attempt } from "./say";
import type { Store } from "./store";
import { dark, flipTheme } from "./theme";

export class Head {
  private readonly jobs = byId<HTMLSelectElement>("job");

  constructor(
    private readonly store: Store,
    private readonly redraw: () => void,
  ) {
    byId("theme").addEventListener("click", () => {
      flipTheme();
      this.draw();
    });
    this.jobs.addEventListener("change", () => {
      store.chosen = this.jobs.value;
      this.redraw();
    });
    byId("new-job").addEventListener("click", () => openNewJob(store, null));
    byId("stop-job").addEventListener("click", () => {
      const job = store.job();
      if (job !== null) void attempt(stopJob(job, "stopped on the page"), "the job was asked to stop");
    });
  }

  draw(): void {
    const header = this.store.header;
    const theme = byId("theme");
    setText(theme, dark() ? "☾" : "☀");
    theme.setAttribute("aria-label", dark() ? "change to light" : "change to dark");
    this.stamp();
    if (header === null) return;
    setText(byId("view-name"), this.store.name(header.view));
    setText(byId("title"), header.title);
    show(byId("viewer"), header.role === "viewer");
    document.title = header.view === null ? "Muster" : `Muster: ${this.store.name(header.view)}`;
    this.drawJobs();
    this.figures();
  }

  private drawJobs(): void {
    const rows = Object.values(this.store.tables.jobs).sort((a, b) => (b.began_t ?? 0) - (a.began_t ?? 0));
    keyed(this.jobs, rows, (row) => row.id, (row) => el("option", { value: row.id }),
      (option, row) => setText(option, `${row.task} ${row.id.slice(0, 4)}, ${row.state}`));
    const job = this.store.job();
    if (job !== null && this.jobs.value !== job) this.jobs.value = job;
    show(this.jobs, rows.length > 0);
    const state = job === null ? null : this.store.tables.jobs[job]?.state;
    const may = this.store.may();
    show(byId("stop-job"), may && (state === "running" || state === "waiting"));
    show(byId("new-job"), may && state !== "running" && state !== "waiting");
  }

  private figures(): void {
    const job = this.store.job();
    const row = job === null ? undefined : this.store.tables.jobs[job];
    const nodes = Object.values(this.store.tables.nodes);
    const here = nodes.filter((node) => node.me || node.reachable).length;
    const of = row?.stop.rounds === null || row === undefined ? "" : `/${row.stop.rounds}`;
    setText(byId("fig-round"), row === undefined ? "–" : `${row.round}${of}`);
    pair(row).forEach((name, place) => {
      const slot = ["first", "second"][place]!;
      setText(byId(`fig-${slot}-name`), name ?? "");
      setText(byId(`fig-${slot}`), name === null ? "" : metric(name, row?.figures));
    });
    setText(byId("fig-nodes"), `${here}/${nodes.length}`);
    setText(byId("fig-bytes"), bytes(row?.spent_bytes ?? null));
  }

  /** Live, or since when not. Nothing on the page looks newer than this says. */
  stamp(): void {
    const { connection, header } = this.store;
    const stamp = byId("stamp");
    const alive = this.store.alive();
    const age_s = this.store.age_s();
    const at = header === null ? "" : clock(header.epoch_s + header.source.fresh_t);
    const lost = connection.state === "lost" || connection.state === "refused" || header?.source.state === "lost";
    const text = header === null
      ? "connecting"
      : alive
        ? `live · ${span(age_s)}`
        : lost
          ? `lost ${at}`
          : `silent · ${span(age_s)}`;
    setText(byId("stamp-text"), text);
    stamp.className = `chip stamp ${alive ? "live" : lost ? "lost" : "stale"}`;
    toggle(document.body, "stale-data", header !== null && !alive);
    const banner = byId("banner");
    show(banner, header !== null && !alive && (lost || (age_s ?? 0) > 3));
    if (!banner.hidden) setText(banner, this.sorry(at, age_s));
  }

  private sorry(at: string, age_s: number | null): string {
    const name = this.store.name(this.store.header?.view ?? null);
    const source = this.store.header?.source;
    if (this.store.connection.state !== "open") {
      return `No connection to the page of ${name} since ${at} (${span(age_s)}). What is shown is as it was then; it comes back by itself.`;
    }
    const why = source?.reason ? ` ${source.reason}` : "";
    return `${name} has not answered since ${at} (${span(age_s)}).${why}`;
  }
}
