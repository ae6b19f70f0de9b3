/** Wires the page: the stream fills the store, changes mark panels, frames draw them. */

import "./styles/base.css";
import "./styles/layout.css";
import "./styles/network.css";
import "./styles/panels.css";
import { Contributions } from "./contributions";
import { byId, toggle } from "./dom";
import { Events } from "./events";
import { Frames } from "./frame";
import { Head } from "./header";
import { Lanes } from "./history/lanes";
import { HistoryPanel } from "./history/panel";
import { NetworkPanel } from "./network/panel";
import { Store, type Change } from "./store";
import { Stream } from "./stream";
import { onTheme, startTheme } from "./theme";
import { admitted } from "./token";
import { BudgetBars } from "./training/budgets";
import { TrainingChart } from "./training/chart";
import { RoundBars } from "./training/rounds";
import { Uses } from "./uses";

startTheme();
const store = new Store();
const frames = new Frames();
const lanes = new Lanes();
const all = () => frames.mark();
const network = new NetworkPanel(store, frames);
const chart = new TrainingChart(store, () => frames.drawSoon("chart"));
const rounds = new RoundBars(store);
const budgets = new BudgetBars(store);
const history = new HistoryPanel(store, lanes, frames);
const contributions = new Contributions(store, () => frames.drawSoon("contributions"), (id) => network.map.pick([id]));
const uses = new Uses(store, () => frames.drawSoon("contributions"), (id) => network.map.pick([id]));
const events = new Events(store, () => frames.drawSoon("events"));
const head = new Head(store, () => frames.drawSoon("head", "chart", "rounds", "budgets", "history", "contributions"));

frames.panel("map", 120, () => network.drawMap());
frames.panel("card", 200, () => network.drawCard());
frames.panel("rounds", 200, () => rounds.draw());
frames.panel("budgets", 250, () => budgets.draw());
frames.panel("chart", 400, () => chart.draw(lanes.of(store.job(), store.version.commits, store.tables.commits)));
frames.panel("history", 250, () => history.draw());
frames.panel("history-view", 0, () => history.view());
frames.panel("contributions", 500, () => {
  if (!uses.draw()) contributions.draw();
});
frames.panel("events", 250, () => events.draw());
frames.panel("head", 200, () => head.draw());
frames.panel("stamp", 200, () => head.stamp());

const CONCERNS: Record<Change, string[]> = {
  nodes: ["map", "card", "head"],
  links: ["map", "card"],
  jobs: ["head", "rounds", "budgets", "history", "contributions", "chart"],
  rounds: ["rounds"],
  commits: ["chart", "history", "head"],
  contributions: ["contributions"],
  field: ["contributions", "card", "history"],
  marks: ["chart"],
  log: ["events"],
  header: ["head", "card", "events"],
  connection: ["stamp", "head", "rounds", "map"],
};
store.onChange((changes) => {
  for (const change of changes) frames.mark(...CONCERNS[change]);
});
setInterval(() => frames.mark("stamp", "card", "rounds", "budgets"), 250); // what grows older without events
setInterval(() => frames.mark("map"), 2000);
onTheme(all);
window.addEventListener("resize", all);

for (const button of document.querySelectorAll<HTMLButtonElement>("button.expand")) {
  button.addEventListener("click", () => {
    const panel = button.closest<HTMLElement>(".panel")!;
    const on = !panel.classList.contains("expanded");
    toggle(panel, "expanded", on);
    button.setAttribute("aria-pressed", String(on));
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const panel of document.querySelectorAll(".panel.expanded")) toggle(panel, "expanded", false);
});

const stream = new Stream(store, () => void admitted().then(() => stream.resume()));
frames.start();
void admitted().then(() => stream.start());
new ResizeObserver(([entry]) => {
  document.documentElement.style.setProperty("--top", `${Math.ceil(entry!.borderBoxSize[0]!.blockSize)}px`);
}).observe(byId("top"));

/** For tests and the curious: what the page knows. */
declare global {
  interface Window {
    muster: unknown;
  }
}
window.muster = { store, cy: network.map.cy, map: network.map, history, stream };
