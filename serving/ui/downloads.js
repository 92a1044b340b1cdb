/** Download buttons, and the same requests as curl commands. */

import { ApiClient } from "./api-client.js";
import { copyDialog } from "./copy-dialog.js";
import { element } from "./dom.js";
import { formatSpec } from "./image-spec.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{path: string, body?: object, file: string}} DownloadRequest GET without a body, POST of JSON with one */
/** @typedef {(format: string) => Promise<DownloadRequest>} RequestBuilder */

const FORMAT_NAMES = { png: "PNG", zip: "Zip", gif: "GIF" };
const MAX_ARGUMENT = 2000; // characters; a longer body goes into a here-document, not into an argument

/** A button for each format, and one that shows the curl command for the first of them. */
export class DownloadButtons {
  #app;
  #buildRequest;

  /**
   * @param {App} app
   * @param {HTMLElement} container
   * @param {RequestBuilder} buildRequest
   * @param {string[]} formats
   */
  constructor(app, container, buildRequest, formats = ["png", "zip"]) {
    this.#app = app;
    this.#buildRequest = buildRequest;
    for (const format of formats) {
      const title = `Download as ${FORMAT_NAMES[format]}`;
      container.append(this.#button(FORMAT_NAMES[format], format, title, () => this.#download(format)));
    }
    const showCurl = async () =>
      copyDialog("As a curl command", curlCommand(await buildRequest(formats[0]), app.api.needsKey));
    container.append(this.#button("curl", "curl", "Copy as a curl command", showCurl));
  }

  #button(textContent, format, title, action) {
    const button = element("button", { type: "button", textContent, title });
    button.dataset.format = format;
    button.addEventListener("click", () => this.#runBusy(button, action));
    return button;
  }

  async #download(format) {
    const { path, body, file } = await this.#buildRequest(format);
    const blob = (response) => response.blob();
    const { api } = this.#app;
    const response = body ? await api.post(path, body, undefined, blob) : await api.request(path, {}, blob);
    const href = URL.createObjectURL(response.body);
    element("a", { href, download: file }).click();
    setTimeout(URL.revokeObjectURL, 60_000, href);
    this.#app.messages.announce(`${file} downloaded.`);
  }

  async #runBusy(button, action) {
    button.setAttribute("aria-busy", "true");
    try {
      await action();
    } catch (error) {
      this.#app.handleError(error);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
}

/**
 * Builds requests for several pictures, as a contact sheet or a zip.
 * @param {App} app
 * @param {() => import("./image-spec.js").ImageSpec[]} specs
 * @param {string} name part of the file name
 * @returns {RequestBuilder}
 */
export const imagesRequest = (app, specs, name) => async (format) => {
  const { modelClient, view } = app;
  const source = await modelClient.bodyFields(specs());
  const body = { ...source, truncation: view.truncation, format, model: modelClient.id };
  return { path: "generate", body, file: `mint-${name}.${format}` };
};

/**
 * Builds requests for the open picture; a plain seed has its own URL.
 * @param {App} app
 * @returns {RequestBuilder}
 */
export const openImageRequest = (app) => async (format) => {
  const { open, truncation } = app.view;
  const file = `mint-${formatSpec(open).replace(/[^\w.-]+/g, "_").slice(0, 40)}.${format}`;
  if (open.kind !== "seed") return { ...(await imagesRequest(app, () => [open], "")(format)), file };
  const label = open.label === null ? {} : { label: app.modelClient.labelParameter(open.label) };
  const query = new URLSearchParams({ ...label, truncation, model: app.modelClient.id });
  return { path: `images/${open.seed}.${format}?${query}`, file };
};

/**
 * Writes a request as a shell command.
 * @param {DownloadRequest} request
 * @param {boolean} needsKey take the key from the shell's MINT_API_KEY; the page does not know it
 * @returns {string}
 */
export function curlCommand({ path, body, file }, needsKey = false) {
  const key = needsKey ? ' -H "Authorization: Bearer $MINT_API_KEY"' : "";
  const start = `curl -sS ${quoted(ApiClient.url(path))}${key}`;
  if (!body) return `${start} -o ${file}`;
  const json = JSON.stringify(body);
  const post = `${start} -H 'Content-Type: application/json' -o ${file}`;
  return json.length > MAX_ARGUMENT ? `${post} --data-binary @- <<'JSON'\n${json}\nJSON` : `${post} -d ${quoted(json)}`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
