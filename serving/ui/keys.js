/** Single keys, and the dialog that lists them. */

import { byId, element } from "./dom.js";
import { focusedRecipe } from "./gallery.js";

const STORED = "mint-keys";
const TYPING = "input:not([type=range]):not([type=checkbox]), textarea, select";

/**
 * Lets keys act.
 * @param {import("./app.js").App} app
 * @param {import("./inspector.js").Inspector} inspector
 * @param {import("./sheet.js").Sheet} sheet
 */
export function bindKeys(app, inspector, sheet) {
  const click = (id) => () => byId(id).click();
  /** @type {[key: string, what: string, action: () => void][]} */
  const keys = [
    ["?", "This help", () => showHelp()],
    ["/", "Type seeds", () => byId("seeds").select()],
    ["r", "Random seeds", click("random")],
    ["g", "Go to the pictures", () => sheet.focus(app.view.open)],
    ["p", "Pick the picture, or lay it back", () => pick(app)],
    ["i", "The picture and its latent", () => inspector.openPanel("picture")],
    ["n", "Nearby pictures", () => inspector.openPanel("nearby")],
    ["e", "Edit the latent", () => inspector.openPanel("edit")],
    ["l", "Plane between four pictures", () => inspector.openPanel("plane")],
    ["m", "Morph through the picks", () => inspector.openPanel("morph")],
    ["k", "Play or pause the morph", click("play")],
    ["d", "Download what is open", () => exportButton(app, ":first-child").click()],
    ["c", "Copy it as a curl command", () => exportButton(app, "[data-format=curl]").click()],
    ["z", "Undo", click("undo")],
    ["y", "Redo", click("redo")],
    ["t", "Light or dark", click("theme")],
  ];
  const others = [
    ["Arrow keys", "Walk over pictures"],
    ["Enter", "Open the picture"],
    ["Esc", "Close what is open"],
  ];
  byId("keys").tBodies[0].append(
    ...[...keys, ...others].map(([key, what]) =>
      element("tr", {}, element("th", { scope: "row" }, element("kbd", {}, key)), element("td", {}, what)),
    ),
  );
  byId("help").addEventListener("click", () => showHelp());
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // what stands behind the # is the view
    sheet.focus(app.view.open);
  });
  keepSwitch(byId("keys-on"));
  const actions = new Map(keys.map(([key, , action]) => [key, action]));
  document.addEventListener("keydown", (event) => onKey(event, actions, inspector));
}

function onKey(event, actions, inspector) {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches(TYPING)) return;
  if (event.key === "Escape") inspector.close();
  const action = byId("keys-on").checked && actions.get(event.key);
  if (!action) return;
  event.preventDefault();
  action();
}

function showHelp() {
  byId("help-dialog").showModal();
}

function pick(app) {
  const recipe = focusedRecipe() ?? app.view.open;
  if (recipe) app.togglePick(recipe);
}

/** The button that takes away what the panel in front shows. */
function exportButton({ view: { panel } }, which) {
  const bars = { nearby: "nearby-export", plane: "plane-export", morph: "morph-export" };
  const bar = panel ? (bars[panel] ?? "picture-export") : "sheet-export";
  return document.querySelector(`#${bar} ${which}`);
}

/** Single keys disturb who dictates to the computer: the switch is remembered. */
function keepSwitch(checkbox) {
  try {
    checkbox.checked = localStorage.getItem(STORED) !== "off";
    checkbox.addEventListener("change", () => localStorage.setItem(STORED, checkbox.checked ? "on" : "off"));
  } catch {
    // The browser keeps nothing here; the switch then lasts as long as the page.
  }
}
