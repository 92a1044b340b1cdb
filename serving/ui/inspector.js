/** The inspector: a picture, and tabs with ways to explore from it. */

import { byId } from "./dom.js";
import { enoughPicks } from "./morph.js";
import { fourCorners } from "./plane.js";
import { seed } from "./recipes.js";
import { PANELS } from "./state.js";

/** What a panel needs in the view before it can show anything. */
const NEEDS = {
  plane: (view) => ({ corners: fourCorners(view) }),
  morph: (view) => ({ picks: enoughPicks(view) }),
};

/** Opens and closes the inspector and turns its tabs. */
export class Inspector {
  #app;
  #onLeft;
  #open = null;

  /**
   * @param {import("./app.js").App} app
   * @param {(recipe: import("./recipes.js").Recipe) => void} onLeft puts the focus back on the picture that was open
   */
  constructor(app, onLeft) {
    this.#app = app;
    this.#onLeft = onLeft;
    byId("close").addEventListener("click", () => this.close());
    for (const panel of PANELS) byId(`tab-${panel}`).addEventListener("click", () => this.openPanel(panel));
    byId("to-plane").addEventListener("click", () => this.openPanel("plane"));
    byId("to-morph").addEventListener("click", () => this.openPanel("morph"));
    byId("tabs").addEventListener("keydown", (event) => this.#onKey(event));
  }

  /**
   * Turns to a panel, with the first picture of the sheet where none is open.
   * @param {string} panel one of PANELS
   */
  openPanel(panel) {
    const { view } = this.#app;
    const open = view.open ?? seed(view.seeds[0], view.label);
    this.#app.open(open, { ...NEEDS[panel]?.({ ...view, open }), panel });
  }

  /** Closes the inspector; the picture that was open has the focus again. */
  close() {
    if (this.#app.view.panel !== null) this.#app.set({ open: null, panel: null });
  }

  render({ open, panel }) {
    const inspector = byId("inspector");
    const leaving = panel === null && inspector.contains(document.activeElement);
    inspector.hidden = panel === null;
    inspector.dataset.panel = panel ?? "";
    document.body.classList.toggle("inspecting", panel !== null);
    for (const name of PANELS) {
      byId(`panel-${name}`).hidden = name !== panel;
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === panel));
      byId(`tab-${name}`).tabIndex = name === panel ? 0 : -1;
    }
    if (leaving) this.#onLeft(this.#open);
    this.#open = open;
  }

  #onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = PANELS.indexOf(this.#app.view.panel) + steps[event.key];
    const panel = PANELS[(next + PANELS.length) % PANELS.length];
    this.openPanel(panel);
    byId(`tab-${panel}`).focus();
  }
}
