/**
 * Drawing, once a frame at most, and each panel no oftener than it can afford.
 *
 * Panels are marked dirty by events; a frame draws the dirty ones whose time has come. A panel that takes long
 * waits proportionally longer, and one frame draws no more panels than fit into it, so that a flood of events
 * costs freshness of the slowest panel and never the smoothness of the page.
 */

const FRAME_BUDGET_MS = 6;
const SHARE = 14; // a panel may take one part in so many of the time

export class Panel {
  dirty = true;
  due_ms = 0;
  constructor(
    readonly name: string,
    readonly draw: (now_ms: number) => void,
    readonly every_ms: number,
  ) {}
}

export class Frames {
  private readonly panels: Panel[] = [];
  private readonly each: ((now_ms: number) => void)[] = [];
  private next = 0;

  panel(name: string, every_ms: number, draw: (now_ms: number) => void): Panel {
    const panel = new Panel(name, draw, every_ms);
    this.panels.push(panel);
    return panel;
  }

  /** Called in every frame: animation only. */
  animate(draw: (now_ms: number) => void): void {
    this.each.push(draw);
  }

  /** Mark panels dirty by name; all of them without names. */
  mark(...names: string[]): void {
    for (const panel of this.panels) if (!names.length || names.includes(panel.name)) panel.dirty = true;
  }

  /** Draw at the next frame whatever the panel's pace: the user did something. */
  drawSoon(...names: string[]): void {
    for (const panel of this.panels) {
      if (names.includes(panel.name)) {
        panel.dirty = true;
        panel.due_ms = 0;
      }
    }
  }

  start(): void {
    const tick = (now_ms: number) => {
      this.draw(now_ms);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  private draw(now_ms: number): void {
    const begun = performance.now();
    for (const draw of this.each) draw(now_ms);
    for (let k = 0; k < this.panels.length; k++) {
      const panel = this.panels[(this.next + k) % this.panels.length]!;
      if (!panel.dirty || panel.due_ms > now_ms) continue;
      const from = performance.now();
      panel.dirty = false;
      panel.draw(now_ms);
      const took = performance.now() - from;
      panel.due_ms = now_ms + Math.max(panel.every_ms, took * SHARE);
      if (performance.now() - begun > FRAME_BUDGET_MS) {
        this.next = (this.next + k + 1) % this.panels.length;
        return;
      }
    }
  }
}
