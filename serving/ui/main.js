/** Entry point of the explorer page: creates the components and starts the app. */

import { App } from "./app.js";
import { Controls } from "./controls.js";
import { EditPanel } from "./edit-panel.js";
import { Inspector } from "./inspector.js";
import { bindShortcuts } from "./keyboard.js";
import { MorphPanel } from "./morph-panel.js";
import { NearbyPanel } from "./nearby-panel.js";
import { PickTray } from "./pick-tray.js";
import { PicturePanel } from "./picture-panel.js";
import { PlanePanel } from "./plane-panel.js";
import { Preview } from "./preview.js";
import { SampleGrid } from "./sample-grid.js";

const app = new App();
const samples = new SampleGrid(app);
const inspector = new Inspector(app, (spec) => samples.focus(spec));
app.add(inspector, new Controls(app), samples, new Preview(app), new PickTray(app));
app.add(new PicturePanel(app), new NearbyPanel(app), new EditPanel(app), new PlanePanel(app), new MorphPanel(app));
bindShortcuts(app, inspector, samples);
await app.start();
