/** Which model is in use where, and how good it is: a line a node, in place of the contributions. */

import { byId, el, keyed, setText, setVar, show, toggle } from "./dom";
import { count, percent, plural, span } from "./format";
import { live, REASONS } from "./network/inuse";
import type { Store } from "./store";
import type { FieldRow } from "./types";

const HEADS = ["node", "right, live", "in use", "why", "requests", "failed", "labels", "same as", "since", "held out"] as const;
const NUMBERS = new Set<string>(["since", "held out", "labels", "requests", "failed"]);

export class Uses {
  private readonly body = byId("use-rows");
  private chosen: boolean | null = null; // by the reader; null: by what there is to see

  constructor(
    private readonly store: Store,
    private readonly redraw: () => void,
    private readonly onNode: (id: string) => void,
  ) {
    byId("use-heads").append(...HEADS.map((head) => el("th", { scope: "col", class: NUMBERS.has(head) ? "num" : "" }, head)));
    byId("as-given").addEventListener("click", () => this.choose(false));
    byId("as-used").addEventListener("click", () => this.choose(true));
  }

  private choose(used: boolean): void {
    this.chosen = used;
    this.redraw();
  }

  /** Whether it is what the panel shows. */
  draw(): boolean {
    const rows = Object.values(this.store.tables.field);
    rows.sort((a, b) => a.task.localeCompare(b.task) || this.store.name(a.node).localeCompare(this.store.name(b.node)));
    const on = rows.length > 0 && (this.chosen ?? true);
    show(byId("given-or-used"), rows.length > 0);
    byId("as-given").setAttribute("aria-pressed", String(!on));
    byId("as-used").setAttribute("aria-pressed", String(on));
    toggle(byId("contributions"), "used", on);
    setText(byId("h-contributions"), on ? "In use" : "Contributions");
    if (!on) return false;
    const several = new Set(rows.map((row) => row.task)).size > 1;
    keyed(this.body, rows, (row) => `${row.node}/${row.task}`, (row) => this.make(row), (item, row) => this.update(item, row, several));
    this.note(rows);
    return true;
  }

  private note(rows: FieldRow[]): void {
    const failing = rows.filter((row) => row.need === "open").length;
    const wanted = rows.reduce((sum, row) => sum + row.labels_wanted, 0);
    const notes = [plural(new Set(rows.map((row) => row.version)).size, "model")];
    if (failing) notes.push(`fails on ${plural(failing, "node")}`);
    if (wanted) notes.push(`${wanted} labels wanted`);
    setText(byId("contributions-note"), notes.join(" · "));
    byId("contributions-note").title = "by labels that came since the model went into use";
  }

  private make(row: FieldRow): HTMLTableRowElement {
    const node = row.node;
    const name = el("button", { type: "button", class: "bare name", onclick: () => this.onNode(node) });
    const right = el("td", { class: "value" }, el("span", { class: "bar" }, el("i")), el("span", { class: "num" }));
    const cells = HEADS.slice(2).map((head) => el("td", { class: NUMBERS.has(head) ? "num" : "" }));
    return el("tr", {}, el("th", { scope: "row" }, name), right, ...cells);
  }

  private update(item: HTMLTableRowElement, row: FieldRow, several: boolean): void {
    const name = this.store.name(row.node);
    setText(item.cells[0]!.firstElementChild!, several ? `${name}, ${row.task}` : name);
    const [bar, text] = Array.from(item.cells[1]!.children) as [HTMLElement, HTMLElement];
    const share = live(row);
    setVar(bar, "--part", `${Math.round((share ?? 0) * 100)}%`);
    toggle(bar, "low", share !== null && share < 0.6);
    setText(text, share === null ? "–" : percent(share, 0));
    text.title = share === null ? "no label came since" : `of ${plural(row.live_labels, "label")} since it went into use`;
    const server = row.server;
    const texts = [
      row.version ?? "–", row.reason || "–",
      count(server?.requests), server === null ? "–" : count(server.failures + server.refused),
      row.labels_wanted ? `${count(row.labels)} +${row.labels_wanted}` : count(row.labels),
      row.alike.join(", ") || "–",
      row.since_t === null ? "–" : span(this.store.now_t() - row.since_t),
      row.held_labels ? `+${row.wins} −${row.losses} of ${row.held_labels}` : "–",
    ];
    texts.forEach((said, k) => setText(item.cells[k + 2]!, said));
    item.cells[2]!.className = "mono version";
    item.cells[2]!.title = row.version ?? "";
    item.cells[3]!.className = "tone";
    setVar(item.cells[3]!, "--tone", `var(--${REASONS[row.reason]?.tone ?? "grey"})`);
    item.cells[3]!.title = REASONS[row.reason]?.text ?? "";
    toggle(item, "failing", row.need === "open");
    item.title = row.waits;
    toggle(item.cells[5]!, "alarm", server !== null && server.failures + server.refused > 0);
  }
}
