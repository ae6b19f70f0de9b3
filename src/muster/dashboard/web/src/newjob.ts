/** The form for a new job, perhaps from a commit. */

import { newJob, type NewJob } from "./api";
import { el } from "./dom";
import { isShare, pair } from "./metrics";
import { attempt } from "./say";
import type { Store } from "./store";
import type { CommitRow } from "./types";

export function openNewJob(store: Store, from: CommitRow | null): void {
  const tasks = store.header?.tasks ?? [];
  const task = el("select", { name: "task" }, ...tasks.map((name) => el("option", { value: name }, name)));
  const field = (name: string, label: string, props: Record<string, unknown>) =>
    el("label", {}, label, el("input", { name, type: "number", ...props }));
  const known = from === null ? undefined : store.tables.jobs[from.job];
  const target = pair(known).map((name) => (name === null ? null : isShare(name) ? `${name}=0.95` : `${name}=0.2`));
  const begin = el("button", { type: "submit", class: "good" }, "Start");
  const stop = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = el("form", { method: "dialog" },
    el("h2", {}, from === null ? "A new job" : `A new job from ${from.id.slice(0, 8)}, round ${from.round}`),
    from === null ? el("label", {}, "Task", task) : null,
    field("rounds", "Rounds at most", { value: "10", min: 1, step: 1 }),
    field("target", "until a metric has this value", { type: "text", placeholder: target[0] ?? "0.95, or loss=0.2" }),
    field("stale", "or was no better for so many rounds", { min: 1, step: 1 }),
    el("fieldset", {}, el("legend", {}, "or so much is spent"),
      field("seconds", "seconds", { min: 1, step: "any" }),
      field("mb", "MB, all nodes", { min: 0, step: "any" }),
      field("mb_node", "MB, any node", { min: 0, step: "any" }),
      field("joules", "joules, all nodes", { min: 0, step: "any" }),
      field("joules_node", "joules, any node", { min: 0, step: "any" })),
    field("steps", "Steps a round", { min: 1, step: 1 }),
    field("lr", "Learning rate", { min: 0, step: "any", placeholder: "found by a short test" }),
    el("div", { class: "row-buttons" }, begin, stop));
  const dialog = el("dialog", { "aria-label": "New job" }, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    begin.disabled = true;
    void attempt(newJob(wanted(new FormData(form), from)), "asked for help").then((done) => {
      begin.disabled = false;
      if (done) dialog.close();
    });
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function wanted(data: FormData, from: CommitRow | null): NewJob {
  const number = (name: string) => {
    const text = String(data.get(name) ?? "").trim();
    return text === "" ? undefined : Number(text);
  };
  const target = String(data.get("target") ?? "").trim();
  const stale = number("stale");
  const bytes = (name: string) => {
    const megabytes = number(name);
    return megabytes === undefined ? undefined : Math.round(megabytes * 1e6);
  };
  const job: NewJob = {
    rounds: number("rounds"), seconds: number("seconds"), bytes: bytes("mb"), bytes_node: bytes("mb_node"),
    joules: number("joules"), joules_node: number("joules_node"), target: target === "" ? undefined : target,
    stop_when: stale === undefined ? undefined : `no better for ${stale}`, steps: number("steps"), lr: number("lr"),
  };
  if (from !== null) job.from = from.id;
  else job.task = String(data.get("task"));
  return job;
}
