/** The form for a new job, perhaps from a commit. */

import { newJob, type NewJob } from "./api";
import { el } from "./dom";
import { attempt } from "./say";
import type { Store } from "./store";
import type { CommitRow } from "./types";

export function openNewJob(store: Store, from: CommitRow | null): void {
  const tasks = store.header?.tasks ?? [];
  const task = el("select", { name: "task" }, ...tasks.map((name) => el("option", { value: name }, name)));
  const field = (name: string, label: string, props: Record<string, unknown>) =>
    el("label", {}, label, el("input", { name, type: "number", ...props }));
  const begin = el("button", { type: "submit", class: "good" }, "Start");
  const stop = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = el("form", { method: "dialog" },
    el("h2", {}, from === null ? "A new job" : `A new job from ${from.id.slice(0, 8)}, round ${from.round}`),
    from === null ? el("label", {}, "Task", task) : null,
    field("rounds", "Rounds at most", { value: "10", min: 1, step: 1 }),
    field("target", "until this accuracy, %", { min: 1, max: 100, step: "any" }),
    field("steps", "Steps a round", { min: 1, step: 1 }),
    field("lr", "Learning rate", { min: 0, step: "any" }),
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
  const target = number("target");
  const job: NewJob = {
    rounds: number("rounds"), target: target === undefined ? undefined : target / 100, steps: number("steps"), lr: number("lr"),
  };
  if (from !== null) job.from = from.id;
  else job.task = String(data.get("task"));
  return job;
}
