/** Beside the graph: one commit in full, or two compared, and what can be begun from there. */

import { ApiError, commitDetail, diff, exportModel, useCommit } from "../api";
import { el } from "../dom";
import { bytes, count, figure, joules, percent, plural, span } from "../format";
import { metric, value } from "../metrics";
import { openNewJob } from "../newjob";
import { attempt, say } from "../say";
import type { Store } from "../store";
import type { CommitDetail, CommitRow, CommitView, CountedView, DiffView } from "../types";

export class Detail {
  private turn = 0;

  constructor(
    private readonly store: Store,
    private readonly box: HTMLElement,
    private readonly onClose: () => void,
  ) {}

  async show(picked: readonly string[]): Promise<void> {
    const turn = ++this.turn;
    this.box.hidden = picked.length === 0;
    if (!picked.length) return;
    const [a, b] = picked;
    const row = this.store.tables.commits[a!];
    if (b === undefined) this.fill(this.title(row), [...this.one(row), el("p", { class: "muted small" }, "Pick a second commit to compare.")]);
    else this.fill(`${a!.slice(0, 8)} and ${b.slice(0, 8)}`, [el("p", { class: "muted" }, "comparing …")]);
    try {
      if (b === undefined) {
        const detail = await commitDetail(a!);
        if (turn === this.turn) this.fill(this.title(row), [...this.one(row), ...this.more(detail)]);
      } else {
        const found = await diff(a!, b);
        if (turn === this.turn) this.fill(`${a!.slice(0, 8)} and ${b.slice(0, 8)}`, this.two(found));
      }
    } catch (error) {
      if (turn === this.turn) say(error instanceof Error ? error.message : String(error), true);
    }
  }

  private fill(title: string, parts: HTMLElement[]): void {
    const close = el("button", { class: "bare close", type: "button", "aria-label": "Close", onclick: this.onClose }, "✕");
    this.box.replaceChildren(el("div", { class: "card-head" }, el("h3", { class: "mono" }, title), close), ...parts);
  }

  private title(commit: CommitRow | undefined): string {
    return commit === undefined ? "commit" : `${commit.id.slice(0, 8)} · round ${commit.round}`;
  }

  private one(commit: CommitRow | undefined): HTMLElement[] {
    if (commit === undefined) return [];
    const who = commit.merge ? "merge of two branches" : `coordinated by ${this.store.name(commit.coordinator)}`;
    const facts = list([
      ...Object.entries(commit.figures).map(([name, given]) => [name, value(name, given)] as const),
      ["counts", commit.merge ? "what both sides count" : plural(commit.counted, "update")],
      ...(commit.stand_ins.length ? [["stand-ins for", commit.stand_ins.map((node) => this.store.name(node)).join(", ")] as const] : []),
      ...(this.where(commit).length ? [["in use on", this.where(commit).join(", ")] as const] : []),
      ["job's age", span(commit.age_s)], ["a node downloads", bytes(commit.bytes)],
      ...(commit.model_bytes === null ? [] : [["the whole model", bytes(commit.model_bytes)] as const]),
      ["sent by then", bytes(commit.bytes_total)],
      ...(commit.joules === null ? [] : [["energy by then", joules(commit.joules)] as const]),
      ...(commit.predicted === null ? [] : [["values / true drop", `${figure(commit.predicted)} / ${figure(commit.drop)}`] as const]),
    ]);
    return [el("p", { class: "muted" }, who), this.actions(commit), facts];
  }

  private where(commit: CommitRow): string[] {
    return Object.values(this.store.tables.field).filter((row) => row.commit === commit.id).map((row) => this.store.name(row.node));
  }

  private actions(commit: CommitRow): HTMLElement {
    if (!this.store.may()) return el("div", { hidden: true });
    const start = el("button", { type: "button", "data-do": "new-job", onclick: () => openNewJob(this.store, commit) }, "New job from here");
    const save = (kind: "safetensors" | "onnx") =>
      el("button", { type: "button", "data-do": `export-${kind}`,
        onclick: () => void attempt(exportModel(commit.job, commit.id, kind).then((name) => say(`exported ${name}`))) }, kind);
    const use = el("button", { type: "button", "data-do": "use", onclick: () => void this.use(commit, false) }, "Use here");
    return el("div", { class: "row-buttons" }, start, use, el("span", { class: "muted small" }, "export"), save("safetensors"), save("onnx"));
  }

  /** Put it into use on the node whose page this is; where it is refused, say why, and offer to do it all the same. */
  private async use(commit: CommitRow, force: boolean): Promise<void> {
    try {
      const moved = await useCommit(commit.id, force);
      say(`${moved.version} is in use: ${moved.said}`);
    } catch (error) {
      const sentence = error instanceof Error ? error.message : String(error);
      if (!(error instanceof ApiError) || error.code !== "refused" || force) return say(sentence, true);
      const anyway = el("button", { type: "button", class: "danger", "data-do": "force",
        onclick: () => void this.use(commit, true) }, "Use all the same");
      this.box.querySelector(".refused")?.remove();
      this.box.querySelector(".row-buttons")?.after(el("p", { class: "refused alarm small", role: "alert" }, `${sentence} `, anyway));
    }
  }

  private more(detail: CommitDetail): HTMLElement[] {
    const rows = detail.counted.map((one) => [this.whose(one), String(one.steps), String(one.staleness), percent(one.weight)]);
    const refused = detail.discarded.map((one) => el("li", {}, `${this.store.name(one.node)}: ${one.reason}`));
    return [
      ...(rows.length ? [sheet(["counted", "steps", "late by", "weight"], rows)] : []),
      ...(refused.length ? [el("p", { class: "small" }, "refused"), el("ul", { class: "small" }, ...refused)] : []),
      el("p", { class: "muted small" }, `${count(detail.counted_in_all)} updates counted in all; ${bytes(detail.params_bytes)} of parameters` +
        (detail.delta_bytes === null ? "" : `, difference ${bytes(detail.delta_bytes)} (${detail.delta_codec ?? "plain"})`)),
    ];
  }

  private whose(one: CountedView): string {
    const names = one.stands_for.map((node) => this.store.name(node));
    return this.store.name(one.node) + (names.length ? ` for ${names.join(", ")}` : "");
  }

  private sent(commit: CommitView): string {
    return bytes(this.store.tables.commits[commit.id]?.bytes_total);
  }

  private two(found: DiffView): HTMLElement[] {
    const pair = (a: string, b: string) => [a, b];
    const measured = Object.keys({ ...found.a.figures, ...found.b.figures });
    const figures = sheet(["", "first", "second"], [
      ["round", ...pair(String(found.a.round), String(found.b.round))],
      ...measured.map((name) => [name, metric(name, found.a.figures), metric(name, found.b.figures)]),
      ["sent", ...pair(this.sent(found.a), this.sent(found.b))],
    ]);
    const only = (what: string, updates: CountedView[]) => {
      const by = new Map<string, number>();
      for (const one of updates) by.set(one.node, (by.get(one.node) ?? 0) + 1);
      const names = [...by].map(([node, n]) => `${this.store.name(node)} ${n}`).join(", ");
      return el("p", { class: "small" }, `only ${what} counts: ${names || "nothing"}`);
    };
    const moved = sheet(["layer", "norm", "moved", "largest"],
      found.layers.map((layer) => [layer.name, figure(layer.norm_a, 2), figure(layer.moved), figure(layer.moved_max, 4)]));
    return [figures, only("the first", found.only_a), only("the second", found.only_b), moved];
  }
}

function list(facts: (readonly [string, string])[]): HTMLElement {
  return el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { class: "mono" }, value))));
}

function sheet(heads: string[], rows: string[][]): HTMLElement {
  const head = el("tr", {}, ...heads.map((name, k) => el("th", { scope: "col", class: k ? "num" : "" }, name)));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell, k) => el("td", { class: k ? "num" : "" }, cell))));
  return el("table", { class: "sheet" }, el("thead", {}, head), el("tbody", {}, ...body));
}
