/** What each node gave, and what it was worth: a sortable table with a bar for the value. */

import { byId, el, keyed, setText, setVar, show, toggle } from "./dom";
import { bytes, count, figure, percent, plural } from "./format";
import type { Store } from "./store";
import type { ContributionRow } from "./types";

interface Column {
  id: string;
  head: string;
  title: string;
  of: (row: ContributionRow) => number | null;
  text: (row: ContributionRow) => string;
}

const number = (id: keyof ContributionRow, head: string, title: string, text = count): Column => ({
  id, head, title,
  of: (row) => row[id] as number | null,
  text: (row) => text(row[id] as number | null),
});

const COLUMNS: readonly Column[] = [
  number("samples", "samples", "samples that the node holds"),
  number("steps", "steps", "local steps in counted updates"),
  number("counted", "counted", "updates that the model counts"),
  number("stood_in", "stand-ins", "updates that others trained on its shared samples in its place"),
  number("late", "late", "of these, counted with an age of one round or more"),
  number("refused", "refused", "updates refused; the reasons are shown at the cell"),
  number("sent_bytes", "sent", "bytes of its updates", bytes),
  number("received_bytes", "received", "bytes of models it took part with", bytes),
];

export class Contributions {
  private readonly body = byId("contribution-rows");
  private sort = "value";
  private down = true;

  constructor(
    private readonly store: Store,
    private readonly redraw: () => void,
    private readonly onNode: (id: string) => void,
  ) {
    const worth = "first-order Shapley value on held-out data: how much of the loss its updates took away";
    const heads = [
      this.head("name", "node", ""), this.head("value", "value", worth),
      ...COLUMNS.map((column) => this.head(column.id, column.head, column.title)),
    ];
    byId("contribution-heads").append(...heads);
  }

  private head(id: string, text: string, title: string): HTMLElement {
    const button = el("button", { type: "button", class: "bare", title, onclick: () => this.turn(id) }, text);
    return el("th", { scope: "col", "data-sort": id, class: id === "name" || id === "value" ? "" : "num" }, button);
  }

  private turn(id: string): void {
    this.down = this.sort === id ? !this.down : id !== "name";
    this.sort = id;
    this.redraw();
  }

  draw(): void {
    const job = this.store.job();
    const rows = Object.values(this.store.tables.contributions).filter((row) => row.job === job);
    rows.sort((a, b) => this.order(a, b));
    const valued = rows.some((row) => row.value !== null);
    const top = Math.max(1e-9, ...rows.map((row) => Math.abs(valued ? (row.value ?? 0) : row.share)));
    for (const head of byId("contribution-heads").children) {
      const on = (head as HTMLElement).dataset.sort === this.sort;
      head.setAttribute("aria-sort", on ? (this.down ? "descending" : "ascending") : "none");
    }
    keyed(this.body, rows, (row) => row.id, (row) => this.make(row), (item, row) => this.update(item, row, valued, top));
    this.note(job, valued);
    show(byId("contributions-empty"), rows.length === 0);
  }

  private note(job: string | null, valued: boolean): void {
    const values = job === null ? null : (this.store.tables.jobs[job]?.values ?? null);
    const note = byId("contributions-note");
    if (!valued || values === null) {
      setText(note, valued ? "bars: loss that each took away" : "bars: share of all examples");
      note.title = valued ? "" : "values come once held-out data was evaluated";
      return;
    }
    setText(note, `values sum to ${figure(values.predicted)}, the loss fell by ${figure(values.drop)}`);
    note.title = `first-order Shapley values of ${values.valued} of ${plural(values.rounds, "round")}, on ${values.examples} held-out samples ` +
      `${values.common ? "that every node has" : "of the coordinator"}; the sum should be near the true drop of the loss`;
  }

  private order(a: ContributionRow, b: ContributionRow): number {
    const sign = this.down ? -1 : 1;
    const names = this.store.name(a.node).localeCompare(this.store.name(b.node));
    if (this.sort === "name") return sign * names;
    const of = this.sort === "value"
      ? (row: ContributionRow) => row.value ?? row.share
      : COLUMNS.find((column) => column.id === this.sort)!.of;
    return sign * ((of(a) ?? -Infinity) - (of(b) ?? -Infinity)) || names;
  }

  private make(row: ContributionRow): HTMLTableRowElement {
    const node = row.node;
    const name = el("button", { type: "button", class: "bare name", onclick: () => this.onNode(node) });
    const cells = COLUMNS.map(() => el("td", { class: "num" }));
    const value = el("td", { class: "value" }, el("span", { class: "bar" }, el("i")), el("span", { class: "num" }));
    return el("tr", {}, el("th", { scope: "row" }, name), value, ...cells);
  }

  private update(item: HTMLTableRowElement, row: ContributionRow, valued: boolean, top: number): void {
    setText(item.cells[0]!.firstElementChild!, this.store.name(row.node));
    COLUMNS.forEach((column, k) => {
      const cell = item.cells[k + 2]!;
      setText(cell, column.text(row));
      if (column.id === "refused") {
        cell.title = Object.entries(row.reasons).map(([why, n]) => `${why}: ${n}`).join("; ");
        toggle(cell, "alarm", row.refused > 0);
      }
    });
    const value = item.cells[1]!;
    const [bar, text] = Array.from(value.children) as [HTMLElement, HTMLElement];
    const size = valued ? (row.value ?? 0) : row.share;
    setVar(bar, "--part", `${Math.round((Math.abs(size) / top) * 100)}%`);
    toggle(bar, "harm", size < 0);
    toggle(bar, "instead", row.stood_in > row.counted); // most of it is not its own work
    setText(text, valued ? figure(row.value, 2) : percent(row.share, 0));
  }
}
