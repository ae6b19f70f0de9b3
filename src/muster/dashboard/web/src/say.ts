/** One short line at the foot of the page: what an action did, or why it could not. */

import { byId, setText, show, toggle } from "./dom";

let timer = 0;

export function say(text: string, bad = false): void {
  const line = byId("said");
  setText(line, text);
  toggle(line, "bad", bad);
  show(line, true);
  window.clearTimeout(timer);
  timer = window.setTimeout(() => show(line, false), bad ? 9000 : 3500);
}

/** Do something that may fail; a failure is said, never swallowed. True when it was done. */
export async function attempt(work: Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await work;
    if (done !== undefined) say(done);
    return true;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
    return false;
  }
}
