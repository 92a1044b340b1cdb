/** Inspector: the open picture, and tabs with ways to explore from it. */

import { byId } from "./dom.js";
import { seed } from "./image-spec.js";
import { picksForMorph } from "./morph-panel.js";
import { cornersForPlane } from "./plane-panel.js";
import { PANELS } from "./view.js";

/** View fields that a panel fills in before it can show anything. */
const PREREQUISITES = {
  plane: (view) => ({ corners: cornersForPlane(view) }),
  morph: (view) => ({ picks: picksForMorph(view) }),
};

/** Opens and closes the inspector and switches its tabs. */
export class Inspector {
  #app;
  #onClose;
  #open = null;

  /**
   * @param {import("./app.js").App} app
   * @param {(spec: import("./image-spec.js").ImageSpec) => void} onClose returns the focus to the picture that was open
   */
  constructor(app, onClose) {
    this.#app = app;
    this.#onClose = onClose;
    byId("close").addEventListener("click", () => this.close());
    for (const panel of PANELS) byId(`tab-${panel}`).addEventListener("click", () => this.openPanel(panel));
    byId("open-plane").addEventListener("click", () => this.openPanel("plane"));
    byId("open-morph").addEventListener("click", () => this.openPanel("morph"));
    byId("tabs").addEventListener("keydown", (event) => this.#onKey(event));
  }

  /**
   * Shows a panel, for the first picture of the grid if none is open.
   * @param {string} panel one of PANELS
   */
  openPanel(panel) {
    const { view } = this.#app;
    const open = view.open ?? seed(view.seeds[0], view.label);
    this.#app.open(open, { ...PREREQUISITES[panel]?.({ ...view, open }), panel });
  }

  /** Closes the inspector and returns the focus to the picture that was open. */
  close() {
    if (this.#app.view.panel !== null) this.#app.update({ open: null, panel: null });
  }

  render({ open, panel }) {
    const inspector = byId("inspector");
    const closing = panel === null && inspector.contains(document.activeElement);
    inspector.hidden = panel === null;
    inspector.dataset.panel = panel ?? "";
    document.body.classList.toggle("inspecting", panel !== null);
    for (const name of PANELS) {
      byId(`panel-${name}`).hidden = name !== panel;
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === panel));
      byId(`tab-${name}`).tabIndex = name === panel ? 0 : -1;
    }
    if (closing) this.#onClose(this.#open);
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
