/** The history panel: the commit graph, what is under the pointer, and the selection of one or two commits. */

import { byId, setText, show } from "../dom";
import type { Frames } from "../frame";
import { bytes, plural } from "../format";
import { all } from "../metrics";
import type { Store } from "../store";
import type { Change } from "../store";
import { HistoryCanvas } from "./canvas";
import { Detail } from "./detail";
import type { Graph, Lanes, Placed } from "./lanes";

export class HistoryPanel {
  private readonly scroller = byId("history-scroll");
  private readonly tip = byId("history-tip");
  private readonly canvas = new HistoryCanvas(this.scroller, byId("history-spacer"));
  private readonly detail: Detail;
  private picked: string[] = [];
  private near: string | null = null;
  private graph: Graph | null = null;
  private job: string | null = null;

  constructor(
    private readonly store: Store,
    private readonly lanes: Lanes,
    private readonly frames: Frames,
  ) {
    this.detail = new Detail(store, byId("history-detail"), () => this.pick([]));
    this.scroller.addEventListener("scroll", () => frames.drawSoon("history-view"), { passive: true });
    this.scroller.addEventListener("pointermove", (event) => this.hover(event));
    this.scroller.addEventListener("pointerleave", () => this.hint(null));
    this.scroller.addEventListener("click", (event) => this.click(event));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => frames.drawSoon("history")).observe(this.scroller);
  }

  /** Lay out again: commits came, or the job is another. */
  draw(): void {
    const job = this.store.job();
    if (job !== this.job) {
      this.job = job;
      if (this.picked.length) this.pick([]);
    }
    this.graph = this.lanes.of(job, this.store.version.commits, this.store.tables.commits);
    this.canvas.lay(this.graph);
    const merges = this.graph.placed.filter((placed) => placed.commit.merge).length;
    const open = this.graph.branches.filter((branch) => branch.into === null).length;
    const notes = [plural(this.graph.placed.length, "commit")];
    if (merges) notes.push(plural(merges, "merge"));
    if (open > 1) notes.push(`${open} branches`);
    setText(byId("history-note"), notes.join(" · "));
    this.scroller.dataset.lanes = String(this.graph.lanes);
    this.scroller.dataset.merges = String(merges);
    show(byId("history-empty"), this.graph.placed.length === 0);
    this.view();
  }

  view(): void {
    const row = this.job === null ? undefined : this.store.tables.jobs[this.job];
    this.canvas.draw({
      picked: this.picked, near: this.near, heads: row?.heads ?? [], used: this.used(), name: (node) => this.store.name(node),
    });
  }

  private used(): ReadonlySet<string> {
    return new Set(Object.values(this.store.tables.field).flatMap((row) => row.commit ?? []));
  }

  /** For tests: where a commit stands on the page. */
  place(id: string): { x: number; y: number } | null {
    const placed = this.graph?.byId.get(id);
    if (placed === undefined) return null;
    this.canvas.reveal(placed);
    const { x, y } = this.canvas.at(placed);
    const box = this.scroller.getBoundingClientRect();
    return { x: box.left + x - this.scroller.scrollLeft, y: box.top + y - this.scroller.scrollTop };
  }

  changed(changes: ReadonlySet<Change>): boolean {
    return changes.has("commits") || changes.has("jobs") || changes.has("field") || changes.has("header");
  }

  private under(event: MouseEvent): Placed | null {
    const box = this.scroller.getBoundingClientRect();
    return this.canvas.find(event.clientX - box.left + this.scroller.scrollLeft, event.clientY - box.top + this.scroller.scrollTop);
  }

  private hover(event: PointerEvent): void {
    this.hint(this.under(event));
  }

  private hint(placed: Placed | null): void {
    const id = placed?.commit.id ?? null;
    if (id === this.near) return;
    this.near = id;
    this.scroller.style.cursor = placed === null ? "" : "pointer";
    show(this.tip, placed !== null);
    if (placed !== null) this.tell(placed);
    this.frames.drawSoon("history-view");
  }

  private tell(placed: Placed): void {
    const { commit } = placed;
    const who = commit.merge ? "merge" : `by ${this.store.name(commit.coordinator)}`;
    const measured = all(commit.figures) || "not measured";
    const size = commit.model_bytes === null ? "" : ` of a model of ${bytes(commit.model_bytes)}`;
    const counted = commit.merge ? "" : ` · ${plural(commit.counted, "update")} counted`;
    setText(this.tip, `${commit.id.slice(0, 8)} · round ${commit.round} ${who}${counted} · ${measured} · ${bytes(commit.bytes)}${size}`);
    const { x, y } = this.canvas.at(placed);
    const box = this.scroller;
    const left = Math.max(4, Math.min(x - box.scrollLeft - this.tip.offsetWidth / 2, box.clientWidth - this.tip.offsetWidth - 4));
    const above = y - box.scrollTop - this.tip.offsetHeight - 18;
    this.tip.style.left = `${box.offsetLeft + left}px`;
    this.tip.style.top = `${box.offsetTop + (above > 0 ? above : y - box.scrollTop + 30)}px`;
  }

  private click(event: MouseEvent): void {
    const placed = this.under(event);
    if (placed !== null) this.choose(placed.commit.id);
  }

  /** One after the other: the first, the second, and then a new first. */
  private choose(id: string): void {
    if (this.picked.includes(id)) this.pick(this.picked.filter((other) => other !== id));
    else this.pick(this.picked.length >= 2 ? [id] : [...this.picked, id]);
  }

  private pick(ids: string[]): void {
    this.picked = ids;
    void this.detail.show(ids);
    this.frames.drawSoon("history");
  }

  private key(event: KeyboardEvent): void {
    const list = this.graph?.placed ?? [];
    if (!list.length) return;
    const at = list.findIndex((placed) => placed.commit.id === this.near);
    const here = list[at < 0 ? list.length - 1 : at]!;
    if (event.key === "Escape") return this.pick([]);
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return this.choose(here.commit.id);
    }
    const next = { ArrowLeft: list[Math.max(0, here.column - 1)], ArrowRight: list[at < 0 ? here.column : here.column + 1],
      Home: list[0], End: list[list.length - 1] }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.canvas.reveal(next);
    this.hint(next);
  }
}
