/** What the job has spent of what it may spend: a bar for each limit, and for each node that has a part of its own. */

import { byId, el, keyed, setText, setVar, show, toggle } from "../dom";
import { bytes, joules, percent, span } from "../format";
import type { Store } from "../store";
import type { BudgetView, JobRow } from "../types";

const SHOWN: Record<string, { name: string; text: (value: number | null) => string }> = {
  seconds: { name: "time", text: span },
  bytes: { name: "bytes", text: bytes },
  joules: { name: "energy", text: joules },
};

/** The budget as of now: a running job grows older without events. */
function now(budget: BudgetView, row: JobRow, now_t: number | null): number {
  const counts = budget.resource === "seconds" && row.state === "running" && row.began_t !== null && now_t !== null;
  return counts ? Math.max(budget.spent, now_t! - row.began_t!) : budget.spent;
}

export class BudgetBars {
  private readonly list = byId("budget-bars");

  constructor(private readonly store: Store) {}

  draw(): void {
    const job = this.store.job();
    const row = job === null ? undefined : this.store.tables.jobs[job];
    const budgets = row?.budgets ?? [];
    const now_t = this.store.alive() ? this.store.now_t() : null;
    show(this.list, budgets.length > 0);
    const key = (budget: BudgetView) => `${budget.resource} ${budget.node ?? ""}`;
    keyed(this.list, budgets, key, () => this.make(), (item, budget) => this.update(item, budget, now(budget, row!, now_t)));
  }

  private make(): HTMLElement {
    return el("li", {}, el("span", { class: "who" }), el("span", { class: "spent", role: "img" }, el("i")), el("span", { class: "when" }));
  }

  private update(item: HTMLElement, budget: BudgetView, spent: number): void {
    const [who, bar, left] = Array.from(item.children) as [HTMLElement, HTMLElement, HTMLElement];
    const { name, text } = SHOWN[budget.resource] ?? { name: budget.resource, text: String };
    const part = Math.min(1, spent / budget.limit);
    setText(who, budget.node === null ? name : this.store.name(budget.node));
    setVar(bar.firstElementChild as HTMLElement, "--part", `${(100 * part).toFixed(1)}%`);
    toggle(item, "nearly", part >= 0.9);
    toggle(item, "of-node", budget.node !== null);
    const said = `${text(spent)} of ${text(budget.limit)}`;
    setText(left, said);
    const whose = budget.node === null ? `${name} of all nodes` : `${name} of ${this.store.name(budget.node)}`;
    item.title = `${whose}: ${said} spent, ${text(Math.max(0, budget.limit - spent))} left`;
    bar.setAttribute("aria-label", `${whose}: ${percent(part, 0)} spent`);
  }
}
