/** The explorer page: puts its parts together and starts it. */

import { App } from "./app.js";
import { Controls } from "./controls.js";
import { Editor } from "./editor.js";
import { Inspector } from "./inspector.js";
import { bindKeys } from "./keys.js";
import { Morph } from "./morph.js";
import { Nearby } from "./nearby.js";
import { Picks } from "./picks.js";
import { PicturePanel, Stage } from "./picture.js";
import { Plane } from "./plane.js";
import { Sheet } from "./sheet.js";

const app = new App();
const sheet = new Sheet(app);
const inspector = new Inspector(app, (recipe) => sheet.focus(recipe));
app.add(inspector, new Controls(app), sheet, new Stage(app), new Picks(app));
app.add(new PicturePanel(app), new Nearby(app), new Editor(app), new Plane(app), new Morph(app));
bindKeys(app, inspector, sheet);
await app.start();
