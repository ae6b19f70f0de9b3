/** Several nodes: cut them off from all others, or heal every link. */

import { makeFault } from "../api";
import { el, setText, show } from "../dom";
import { plural } from "../format";
import { attempt } from "../say";
import type { Store } from "../store";

export class GroupCard {
  readonly element = el("section", { class: "card group-card", "aria-label": "Selected nodes" });
  private nodes: readonly string[] = [];
  private readonly title = el("h3");
  private readonly names = el("p", { class: "names" });
  private readonly links = el("p", { class: "muted small" });
  private readonly cut = el("button", { class: "danger wide", type: "button", "data-do": "partition" }, "Partition here");
  private readonly heal = el("button", { class: "good wide", type: "button", "data-do": "heal-all" }, "Heal all links");
  private readonly controls = el("div", { class: "controls" }, this.cut, this.heal);

  constructor(
    private readonly store: Store,
    onClose: () => void,
  ) {
    const close = el("button", { class: "bare close", type: "button", "aria-label": "Close", onclick: onClose }, "✕");
    this.element.append(el("div", { class: "card-head" }, this.title, close), this.names, this.links, this.controls);
    this.cut.addEventListener("click", () => void attempt(makeFault({ fault: "partition", groups: [[...this.nodes]] })));
    this.heal.addEventListener("click", () => void attempt(makeFault({ fault: "heal" })));
  }

  show(nodes: readonly string[]): void {
    this.nodes = nodes;
    this.draw();
  }

  draw(): void {
    const chosen = new Set(this.nodes);
    setText(this.title, `${plural(this.nodes.length, "node")} selected`);
    setText(this.names, this.nodes.map((id) => this.store.name(id)).join(", "));
    const rows = Object.values(this.store.tables.links);
    const across = rows.filter((link) => chosen.has(link.a) !== chosen.has(link.b));
    const up = across.filter((link) => link.up).length;
    setText(this.links, `${plural(across.length, "link")} to the others, ${up} up`);
    show(this.controls, this.store.may() && this.store.header?.emulated === true);
    this.cut.disabled = up === 0;
    this.heal.disabled = rows.every((link) => link.up);
  }
}
