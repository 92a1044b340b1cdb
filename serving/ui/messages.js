/** Status and error messages: a visible bar under the header, and a live region for screen readers. */

import { byId } from "./dom.js";

const INFO_MS = 6000;

const WAITING = {
  busy: "The service is busy.",
  starting: "The service is not ready yet.",
  down: "The service is not responding.",
};

/** Shows one message at a time; while requests wait for the service, that message takes precedence. */
export class Messages {
  #waiting = null;
  #timer = 0;

  constructor() {
    byId("message-close").addEventListener("click", () => this.clear());
  }

  /**
   * Shows why requests are waiting; null once they continue.
   * @param {import("./api-client.js").ServiceStatus | null} status
   */
  serviceStatus(status) {
    if (!status) {
      if (this.#waiting === "down") this.info("The service is back.");
      else this.clear();
      this.#waiting = null;
      return;
    }
    const { kind, seconds, sentence } = status;
    byId("message-countdown").textContent = seconds ? `Trying again in ${seconds} s.` : "Trying again.";
    if (this.#waiting === kind) return;
    this.#waiting = kind;
    const reason = sentence.replace(/;.*/, "."); // after the semicolon: advice to try again, which the page does itself
    const text = `${WAITING[kind]} ${reason}`.trim();
    this.#show(text, kind);
    this.announce(`${text} The page tries again automatically.`);
  }

  /** Shows a message that disappears after a few seconds. */
  info(text) {
    this.#show(text, "info");
    this.announce(text);
    this.#timer = setTimeout(() => this.clear(), INFO_MS);
  }

  /**
   * Shows an error that stays until it is closed.
   * @param {string} text
   * @param {(() => void) | null} retry action of the "Try again" button; null: no button
   */
  error(text, retry = null) {
    this.#show(text, "error");
    this.announce(text);
    byId("message-close").hidden = false;
    byId("message-retry").hidden = !retry;
    byId("message-retry").onclick = () => {
      this.clear();
      retry();
    };
  }

  /** Hides the message, unless requests are still waiting. */
  dismiss() {
    if (!this.#waiting) this.clear();
  }

  /** Announces a text to screen readers only. */
  announce(text) {
    byId("live-region").textContent = text;
  }

  /** Hides any message. */
  clear() {
    clearTimeout(this.#timer);
    byId("message").hidden = true;
    byId("live-region").textContent = "";
  }

  #show(text, kind) {
    clearTimeout(this.#timer);
    byId("message-text").textContent = text;
    byId("message-countdown").hidden = !(kind in WAITING);
    byId("message-retry").hidden = true;
    byId("message-close").hidden = kind in WAITING;
    byId("message").dataset.kind = kind;
    byId("message").hidden = false;
  }
}
