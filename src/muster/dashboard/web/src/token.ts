/** The token: taken from the address's fragment or asked for, traded for a cookie, and forgotten. */

import { enter, session } from "./api";
import { byId, setText, show } from "./dom";

/** Resolves when the server lets this browser read. */
export async function admitted(): Promise<void> {
  const token = new URLSearchParams(window.location.hash.slice(1)).get("token");
  if (token !== null) {
    history.replaceState(null, "", window.location.pathname);
    await enter(token).catch((error: unknown) => setText(byId("token-wrong"), String((error as Error).message)));
  }
  for (;;) {
    const said = await session().catch(() => null);
    if (said !== null && (!said.token_wanted || said.role !== null)) return;
    if (said === null) await new Promise((done) => setTimeout(done, 1500));
    else await asked();
  }
}

/** Show the form and wait until a token was taken. */
function asked(): Promise<void> {
  const dialog = byId<HTMLDialogElement>("token");
  const input = byId<HTMLInputElement>("token-text");
  show(dialog, true);
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    const form = byId<HTMLFormElement>("token-form");
    form.onsubmit = (event) => {
      event.preventDefault();
      enter(input.value.trim()).then(
        () => {
          input.value = "";
          dialog.close();
          done();
        },
        (error: unknown) => setText(byId("token-wrong"), (error as Error).message),
      );
    };
  });
}
