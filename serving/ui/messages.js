/** What the page says: a bar under the header for who sees it, a live region for who hears it. */

import { byId } from "./dom.js";

const NOTE_MS = 6000;

const WAITING = {
  busy: "The service is busy.",
  starting: "The service is not ready yet.",
  down: "The service does not answer.",
};

/** One message at a time; while requests wait, that is the one. */
export class Messages {
  #waiting = null;
  #timer = 0;

  constructor() {
    byId("message-close").addEventListener("click", () => this.clear());
  }

  /**
   * How the service is while requests wait; null when they go on.
   * @param {import("./service.js").Condition | null} condition
   */
  service(condition) {
    if (!condition) {
      if (this.#waiting === "down") this.note("The service is back.");
      else this.clear();
      this.#waiting = null;
      return;
    }
    const { kind, seconds, sentence } = condition;
    byId("message-countdown").textContent = seconds ? `Trying again in ${seconds} s.` : "Trying again.";
    if (this.#waiting === kind) return;
    this.#waiting = kind;
    const reason = sentence.replace(/;.*/, "."); // behind the semicolon: to try again, which the page does
    const text = `${WAITING[kind]} ${reason}`.trim();
    this.#show(text, kind);
    this.say(`${text} The page tries again by itself.`);
  }

  /** Something that went well, or is good to know; it goes away by itself. */
  note(text) {
    this.#show(text, "note");
    this.say(text);
    this.#timer = setTimeout(() => this.clear(), NOTE_MS);
  }

  /**
   * Something that will not go away by itself.
   * @param {string} text
   * @param {(() => void) | null} again what to do when asked to try again
   */
  problem(text, again = null) {
    this.#show(text, "problem");
    this.say(text);
    byId("message-close").hidden = false;
    byId("message-again").hidden = !again;
    byId("message-again").onclick = () => {
      this.clear();
      again();
    };
  }

  /** Takes away what is about something that has passed, but not that requests wait. */
  moveOn() {
    if (!this.#waiting) this.clear();
  }

  /** Only for who hears it. */
  say(text) {
    byId("live").textContent = text;
  }

  /** Takes any message away. */
  clear() {
    clearTimeout(this.#timer);
    byId("message").hidden = true;
    byId("live").textContent = "";
  }

  #show(text, kind) {
    clearTimeout(this.#timer);
    byId("message-text").textContent = text;
    byId("message-countdown").hidden = !(kind in WAITING);
    byId("message-again").hidden = true;
    byId("message-close").hidden = kind in WAITING;
    byId("message").dataset.kind = kind;
    byId("message").hidden = false;
  }
}
