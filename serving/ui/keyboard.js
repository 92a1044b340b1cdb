/** Keyboard shortcuts, and the help dialog that lists them. */

import { byId, element } from "./dom.js";
import { focusedSpec } from "./gallery.js";

const STORAGE_KEY = "mint-keys";
const TEXT_FIELDS = "input:not([type=range]):not([type=checkbox]), textarea, select";

/**
 * Binds the shortcuts and fills the help dialog.
 * @param {import("./app.js").App} app
 * @param {import("./inspector.js").Inspector} inspector
 * @param {import("./sample-grid.js").SampleGrid} samples
 */
export function bindShortcuts(app, inspector, samples) {
  const shortcuts = shortcutsOf(app, inspector, samples);
  listShortcuts(shortcuts);
  byId("help").addEventListener("click", () => showHelp());
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the URL's fragment holds the view
    samples.focus(app.view.open);
  });
  persistCheckbox(byId("shortcuts-on"));
  const actions = new Map(shortcuts.map(([key, , action]) => [key, action]));
  document.addEventListener("keydown", (event) => onKey(event, actions, inspector));
}

/** @returns {[key: string, description: string, action: () => void][]} */
function shortcutsOf(app, inspector, samples) {
  const click = (id) => () => byId(id).click();
  return [
    ["?", "This help", () => showHelp()],
    ["/", "Enter seeds", () => byId("seeds").select()],
    ["r", "Random seeds", click("random")],
    ["g", "Go to the pictures", () => samples.focus(app.view.open)],
    ["p", "Pick or unpick", () => togglePick(app)],
    ["i", "The picture and its latent", () => inspector.openPanel("picture")],
    ["n", "Nearby pictures", () => inspector.openPanel("nearby")],
    ["e", "Edit the latent", () => inspector.openPanel("edit")],
    ["l", "Plane between four pictures", () => inspector.openPanel("plane")],
    ["m", "Morph through the picks", () => inspector.openPanel("morph")],
    ["k", "Play or pause the morph", click("play")],
    ["d", "Download the current panel's pictures", () => downloadButton(app, ":first-child").click()],
    ["c", "Copy that request as a curl command", () => downloadButton(app, "[data-format=curl]").click()],
    ["z", "Undo", click("undo")],
    ["y", "Redo", click("redo")],
    ["t", "Light or dark theme", click("theme")],
  ];
}

function listShortcuts(shortcuts) {
  const others = [
    ["Arrow keys", "Move between pictures"],
    ["Enter", "Open the picture"],
    ["Esc", "Close the inspector or dialog"],
  ];
  byId("shortcuts").tBodies[0].append(
    ...[...shortcuts, ...others].map(([key, description]) =>
      element("tr", {}, element("th", { scope: "row" }, element("kbd", {}, key)), element("td", {}, description)),
    ),
  );
}

function onKey(event, actions, inspector) {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches(TEXT_FIELDS)) return;
  if (event.key === "Escape") inspector.close();
  const action = byId("shortcuts-on").checked && actions.get(event.key);
  if (!action) return;
  event.preventDefault();
  action();
}

function showHelp() {
  byId("help-dialog").showModal();
}

function togglePick(app) {
  const spec = focusedSpec() ?? app.view.open;
  if (spec) app.togglePick(spec);
}

/** The download button of the current panel, or of the grid while the inspector is closed. */
function downloadButton({ view: { panel } }, selector) {
  const groups = { nearby: "nearby-download", plane: "plane-download", morph: "morph-download" };
  const group = panel ? (groups[panel] ?? "picture-download") : "samples-download";
  return document.querySelector(`#${group} ${selector}`);
}

/** Remembers the switch: single-key shortcuts get in the way of people who use speech input. */
function persistCheckbox(checkbox) {
  try {
    checkbox.checked = localStorage.getItem(STORAGE_KEY) !== "off";
    checkbox.addEventListener("change", () => localStorage.setItem(STORAGE_KEY, checkbox.checked ? "on" : "off"));
  } catch {
    // No storage in this browser: the choice lasts until the page is closed.
  }
}
