/** Taking pictures away: downloads, and the same request as a curl command. */

import { byId, element } from "./dom.js";
import { writeRecipe } from "./recipes.js";
import { Service } from "./service.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{path: string, body?: object, file: string}} Asked a GET without a body, a POST of JSON with one */
/** @typedef {(format: string) => Promise<Asked>} Ask */

const NAMES = { png: "PNG", zip: "Zip", gif: "GIF" };
const LONG = 2000; // characters; a longer body does not go into a command's argument

/** Buttons that download what is shown in some formats, and one that shows the curl command for the first of them. */
export class Exports {
  #app;
  #ask;

  /**
   * @param {App} app
   * @param {HTMLElement} container
   * @param {Ask} ask what to ask the service for
   * @param {string[]} formats
   */
  constructor(app, container, ask, formats = ["png", "zip"]) {
    this.#app = app;
    this.#ask = ask;
    for (const format of formats) {
      const title = `Download as ${NAMES[format]}`;
      container.append(this.#button(NAMES[format], format, title, () => this.#download(format)));
    }
    const showCurl = async () =>
      copyDialog("As a curl command", curlCommand(await ask(formats[0]), app.service.needsKey));
    container.append(this.#button("curl", "curl", "Copy as a curl command", showCurl));
  }

  #button(textContent, format, title, action) {
    const button = element("button", { type: "button", textContent, title });
    button.dataset.format = format;
    button.addEventListener("click", () => this.#during(button, action));
    return button;
  }

  async #download(format) {
    const { path, body, file } = await this.#ask(format);
    const blob = (response) => response.blob();
    const { service } = this.#app;
    const answer = body ? await service.post(path, body, undefined, blob) : await service.ask(path, {}, blob);
    const href = URL.createObjectURL(answer.body);
    element("a", { href, download: file }).click();
    setTimeout(URL.revokeObjectURL, 60_000, href);
    this.#app.messages.say(`${file} downloaded.`);
  }

  async #during(button, action) {
    button.setAttribute("aria-busy", "true");
    try {
      await action();
    } catch (error) {
      this.#app.fail(error);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
}

/**
 * Several pictures, as a contact sheet or a zip.
 * @param {App} app
 * @param {() => import("./recipes.js").Recipe[]} recipes
 * @param {string} what for the file's name
 * @returns {Ask}
 */
export const pictures = (app, recipes, what) => async (format) => {
  const { studio, view } = app;
  const body = { ...(await studio.fields(recipes())), truncation: view.truncation, format, model: studio.id };
  return { path: "generate", body, file: `mint-${what}.${format}` };
};

/**
 * The picture that is open; one of a seed has an address of its own.
 * @param {App} app
 * @returns {Ask}
 */
export const openPicture = (app) => async (format) => {
  const { open, truncation } = app.view;
  const file = `mint-${writeRecipe(open).replace(/[^\w.-]+/g, "_").slice(0, 40)}.${format}`;
  if (open.kind !== "seed") return { ...(await pictures(app, () => [open], "")(format)), file };
  const label = open.label === null ? {} : { label: app.studio.asked(open.label) };
  const query = new URLSearchParams({ ...label, truncation, model: app.studio.id });
  return { path: `images/${open.seed}.${format}?${query}`, file };
};

/**
 * A request as a command for a shell.
 * @param {Asked} asked
 * @param {boolean} needsKey then the shell's MINT_API_KEY holds one; the page does not know it
 * @returns {string}
 */
export function curlCommand({ path, body, file }, needsKey = false) {
  const key = needsKey ? ' -H "Authorization: Bearer $MINT_API_KEY"' : "";
  const start = `curl -sS ${quoted(Service.address(path))}${key}`;
  if (!body) return `${start} -o ${file}`;
  const json = JSON.stringify(body);
  const posted = `${start} -H 'Content-Type: application/json' -o ${file}`;
  return json.length > LONG ? `${posted} --data-binary @- <<'JSON'\n${json}\nJSON` : `${posted} -d ${quoted(json)}`;
}

/** Shows a text to copy; where a page may not write to the clipboard, the text is selected. */
export function copyDialog(title, text) {
  byId("copy-title").textContent = title;
  byId("copy-text").value = text;
  byId("copy").textContent = "Copy";
  byId("copy").onclick = async () => {
    byId("copy-text").select();
    const copied = await (navigator.clipboard?.writeText(text).then(() => true, () => false) ?? false);
    byId("copy").textContent = copied || document.execCommand("copy") ? "Copied" : "Selected: copy it with your keys";
  };
  byId("copy-dialog").showModal();
  byId("copy").focus();
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
