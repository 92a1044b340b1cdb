/** Dialog with a text to copy. */

import { byId } from "./dom.js";

/** Shows the text; where the page may not write to the clipboard, the text is selected instead. */
export function copyDialog(title, text) {
  byId("copy-title").textContent = title;
  byId("copy-text").value = text;
  byId("copy").textContent = "Copy";
  byId("copy").onclick = async () => {
    byId("copy-text").select();
    const copied = await (navigator.clipboard?.writeText(text).then(() => true, () => false) ?? false);
    byId("copy").textContent = copied || document.execCommand("copy") ? "Copied" : "Selected: copy it yourself";
  };
  byId("copy-dialog").showModal();
  byId("copy").focus();
}
