/** The first metric (solid, left axis) and a second one (dashed, right) of each branch, against time, rounds, bytes or energy. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { byId, el, keyed, setText, setVar, show } from "../dom";
import { bytes, joules, span } from "../format";
import type { Graph, Placed } from "../history/lanes";
import { digits, isShare, metric, pair } from "../metrics";
import type { Store } from "../store";
import { branchColour, clear, onTheme, theme } from "../theme";
import type { CommitRow, MarkRow } from "../types";
import { markLook, onCurve } from "./marks";

const AXES = ["age", "round", "bytes", "joules"] as const;
type Axis = (typeof AXES)[number];
const BRANCHES_MAX = 10; // the newest; a line each
const MARKS_MAX = 40;
const FONT = "11px 'Inter Variable', system-ui, sans-serif";

interface Line {
  branch: number;
  label: string;
  into: boolean; // merged away
  points: Placed[];
}

export class TrainingChart {
  private axis: Axis = "age";
  private plot: uPlot | null = null;
  private lines: Line[] = [];
  private marks: { x: number; mark: MarkRow }[] = [];
  private first: string | null = null; // the metrics that are drawn
  private second: string | null = null;
  private shape = "";
  private readonly box = byId("chart");
  private readonly tip = byId("chart-tip");

  constructor(
    private readonly store: Store,
    private readonly redraw: () => void,
  ) {
    for (const axis of AXES) {
      byId(`by-${axis}`).addEventListener("click", () => this.turn(axis));
    }
    new ResizeObserver(() => this.size()).observe(this.box);
    onTheme(() => {
      this.shape = "";
      this.redraw();
    });
  }

  private turn(axis: Axis): void {
    this.axis = axis;
    for (const other of AXES) {
      byId(`by-${other}`).setAttribute("aria-pressed", String(other === axis));
    }
    this.shape = "";
    this.redraw();
  }

  draw(graph: Graph): void {
    const job = this.store.job();
    const row = job === null ? undefined : this.store.tables.jobs[job];
    [this.first, this.second] = pair(row);
    const known = row !== undefined && row.joules !== null;
    show(byId("by-joules"), known);
    if (!known && this.axis === "joules") this.turn("age");
    this.lines = this.choose(graph);
    this.marks = this.place(graph);
    const data = this.data();
    const shape = `${this.axis} ${this.first} ${this.second} ${this.lines.map((line) => line.branch).join(",")}`;
    if (shape !== this.shape || this.plot === null) this.make(data, shape);
    else this.plot.setData(data);
    this.legend();
    show(byId("chart-empty"), !this.lines.some((line) => line.points.some((placed) => this.measured(placed.commit))));
    this.box.dataset.lines = String(this.lines.length);
    this.box.dataset.marks = this.marks.map(({ mark }) => mark.kind).join(" ");
  }

  private choose(graph: Graph): Line[] {
    const measured = graph.branches.filter((branch) => branch.commits.some((placed) => this.measured(placed.commit)));
    const rest = measured.filter((branch) => branch.number > 0).slice(-(BRANCHES_MAX - 1));
    const main = measured.filter((branch) => branch.number === 0);
    return [...main, ...rest].map((branch) => {
      const last = branch.commits.findLast((placed) => placed.commit.coordinator !== null);
      const points = [...(branch.from === null ? [] : [branch.from]), ...branch.commits, ...(branch.into === null ? [] : [branch.into])];
      const who = this.store.name(last?.commit.coordinator ?? null);
      const into = branch.into !== null;
      return { branch: branch.number, label: into ? `${who}, merged` : who, into, points };
    });
  }

  private x(commit: CommitRow): number {
    if (this.axis === "age") return commit.age_s;
    if (this.axis === "joules") return commit.joules ?? 0;
    return this.axis === "round" ? commit.round : (commit.bytes_total ?? 0);
  }

  /** A place on the axis, for people. */
  private text(x: number): string {
    switch (this.axis) {
      case "age": return span(x);
      case "round": return String(Math.round(x));
      case "bytes": return bytes(x);
      case "joules": return joules(x);
    }
  }

  /** Marks know the job's age only: all else is read off the main line. */
  private place(graph: Graph): { x: number; mark: MarkRow }[] {
    const job = this.store.job();
    const found = Object.values(this.store.tables.marks).filter((mark) => job !== null && onCurve(mark, job));
    const main = graph.placed.filter((placed) => placed.branch === 0).map((placed) => placed.commit);
    found.sort((a, b) => a.t - b.t);
    return found.slice(-MARKS_MAX).map((mark) => ({ x: this.at(mark.age_s!, main), mark }));
  }

  private at(age_s: number, main: readonly CommitRow[]): number {
    if (this.axis === "age") return age_s;
    let before: CommitRow | undefined;
    for (const commit of main) {
      if (commit.age_s > age_s) {
        if (before === undefined) return this.x(commit);
        const part = (age_s - before.age_s) / Math.max(1e-9, commit.age_s - before.age_s);
        return this.x(before) + part * (this.x(commit) - this.x(before));
      }
      before = commit;
    }
    return before === undefined ? 0 : this.x(before);
  }

  private data(): uPlot.AlignedData {
    const tables: uPlot.AlignedData[] = this.lines.map((line) => {
      const at = new Map<number, CommitRow>();
      for (const { commit } of line.points) {
        const here = at.get(this.x(commit));
        if (here === undefined || this.measured(commit)) at.set(this.x(commit), commit);
      }
      const xs = [...at.keys()].sort((a, b) => a - b);
      const rows = xs.map((x) => at.get(x)!);
      return [xs, rows.map((c) => this.drawn(c, this.first)), rows.map((c) => this.drawn(c, this.second))];
    });
    if (!tables.length) return [[0, 1], [null, null], [null, null]];
    return tables.length === 1 ? tables[0]! : uPlot.join(tables);
  }

  private make(data: uPlot.AlignedData, shape: string): void {
    this.plot?.destroy();
    this.shape = shape;
    const lines = this.lines.length ? this.lines : [{ branch: 0, label: "", into: false, points: [] }];
    const series: uPlot.Series[] = [{}];
    for (const line of lines) {
      const colour = branchColour(line.branch);
      const points = { show: false };
      series.push({ scale: "first", stroke: colour, width: 2, spanGaps: true, points });
      series.push({ scale: "second", stroke: clear(colour, 0.85), width: 1.3, dash: [5, 4], spanGaps: true, points });
    }
    this.plot = new uPlot(this.options(series), data, this.box);
  }

  private options(series: uPlot.Series[]): uPlot.Options {
    const colours = theme();
    const axis: uPlot.Axis = {
      stroke: colours.muted, font: FONT, grid: { stroke: colours.soft, width: 1 }, ticks: { show: false }, gap: 4,
    };
    const label = (value: number) => this.text(value).replace(".0 s", " s");
    return {
      width: Math.max(80, this.box.clientWidth),
      height: Math.max(60, this.box.clientHeight),
      padding: [18, 0, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: {
        x: { time: false, range: (_plot, low, high) => (low === high ? [low, low + 1] : [low, high]) },
        first: { range: (_plot, low, high) => range(this.first, low, high) },
        second: { range: (_plot, low, high) => range(this.second, low, high) },
      },
      axes: [
        { ...axis, size: 24, space: 64, values: (_plot, ticks) => ticks.map(label), incrs: this.axis === "round" ? [1, 2, 5, 10, 20, 50, 100, 200, 500] : undefined } as uPlot.Axis,
        { ...axis, scale: "first", size: 42, space: 30, values: (_plot, ticks) => ticks.map((tick) => ticked(this.first, tick)) },
        { ...axis, scale: "second", side: 1, size: 42, space: 30, grid: { show: false }, values: (_plot, ticks) => ticks.map((tick) => ticked(this.second, tick)) },
      ],
      series,
      hooks: { draw: [(plot) => this.drawMarks(plot)], setCursor: [(plot) => this.hover(plot)] },
    };
  }

  private drawMarks(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.textAlign = "center";
    ctx.font = `600 ${11 * ratio}px 'Inter Variable', sans-serif`;
    let last = -1e9;
    for (const { x, mark } of this.marks) {
      const at = plot.valToPos(x, "x", true);
      if (at < bbox.left - 1 || at > bbox.left + bbox.width + 1) continue;
      const { sign, colour } = markLook(mark.kind);
      ctx.strokeStyle = clear(theme()[colour], 0.5);
      ctx.fillStyle = theme()[colour];
      ctx.lineWidth = ratio;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      if (at - last < 9 * ratio) continue; // signs must not lie upon each other
      last = at;
      ctx.fillText(sign, at, bbox.top - 5 * ratio);
    }
    ctx.restore();
  }

  private hover(plot: uPlot): void {
    const { left, idx } = plot.cursor;
    const on = left !== undefined && left >= 0 && idx !== null && idx !== undefined;
    show(this.tip, on);
    if (!on) return;
    const x = plot.posToVal(left, "x");
    const near = this.marks.filter((mark) => Math.abs(plot.valToPos(mark.x, "x") - left) < 6).map(({ mark }) => mark.text);
    const at = this.axis === "round" ? `round ${this.text(x)}` : this.text(x);
    const rows = this.lines.flatMap((line) => {
      const commit = this.nearest(line.points, x);
      const names = [this.first, this.second].filter((name) => name !== null);
      return commit === null ? [] : [`${line.label}: ${names.map((name) => `${name} ${metric(name, commit.figures)}`).join(", ")}`];
    });
    this.tip.replaceChildren(el("b", {}, at), ...[...rows, ...near].slice(0, 9).map((text) => el("div", {}, text)));
    const room = this.box.clientWidth - this.tip.offsetWidth - 6;
    this.tip.style.left = `${Math.max(4, Math.min(room, left + 54))}px`;
  }

  private legend(): void {
    setText(byId("key-first"), this.first ?? "");
    setText(byId("key-second"), this.second ?? "");
    show(byId("key-second"), this.second !== null);
    const several = this.lines.length > 1;
    const merged = this.lines.filter((line) => line.into);
    const named = [...this.lines.filter((line) => !line.into), ...merged.slice(-2)].sort((a, b) => a.branch - b.branch);
    keyed(byId("branches"), several ? named.slice(0, 6) : [], (line) => String(line.branch),
      () => el("li", { class: "key" }),
      (item, line) => {
        setText(item, line.label);
        setVar(item, "--tone", branchColour(line.branch));
      });
  }

  private size(): void {
    const [width, height] = [this.box.clientWidth, this.box.clientHeight];
    if (this.plot !== null && width > 80 && height > 60) this.plot.setSize({ width, height });
  }

  private measured(commit: CommitRow): boolean {
    return this.first !== null && commit.figures[this.first] !== undefined;
  }

  /** A value as it stands on its axis: accuracies in percent. */
  private drawn(commit: CommitRow, name: string | null): number | null {
    const given = name === null ? undefined : commit.figures[name];
    return given === undefined ? null : isShare(name!) ? given * 100 : given;
  }

  private nearest(points: readonly Placed[], x: number): CommitRow | null {
    let best: CommitRow | null = null;
    for (const { commit } of points) {
      if (this.measured(commit) && (best === null || Math.abs(this.x(commit) - x) < Math.abs(this.x(best) - x))) best = commit;
    }
    return best;
  }
}

function ticked(name: string | null, tick: number): string {
  return name !== null && isShare(name) ? `${tick} %` : digits(tick);
}

/** Accuracies in tens of percent; others from zero, or with some room around them where there are negative ones. */
function range(name: string | null, low: number | null, high: number | null): [number, number] {
  if (name !== null && isShare(name)) {
    return [Math.max(0, Math.floor((low ?? 0) / 10) * 10), Math.min(100, Math.ceil(((high ?? 100) + 1) / 10) * 10)];
  }
  const [from, to] = [low ?? 0, high ?? 1];
  if (from >= 0) return [0, to > 0 ? to * 1.05 : 1];
  const room = Math.max(to - from, Math.abs(from) * 0.1) * 0.05;
  return [from - room, to + room];
}
