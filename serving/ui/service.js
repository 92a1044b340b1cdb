/** Requests to the service, which wait out what passes by itself: a full queue, a restart, a lost network. */

const PATIENCE_MS = 90_000; // longer than the service's own timeout as it comes
const FIRST_LOOK_S = 1;
const LONGEST_PAUSE_S = 5;
const TEMPORARY = { 429: "busy", 503: "starting" };

/**
 * @typedef {object} Condition how the service is while requests wait
 * @property {"busy" | "starting" | "down"} kind
 * @property {number} seconds until the next attempt
 * @property {string} sentence the service's own, if it said one
 */

/** An answer that asking again does not change: the service's sentence, and which field it is about. */
export class ServiceError extends Error {
  /**
   * @param {string} sentence
   * @param {number} status 0 when there was no answer
   * @param {(string | number)[]} loc
   */
  constructor(sentence, status = 0, loc = []) {
    super(sentence);
    this.status = status;
    this.loc = loc;
  }
}

/** The service behind this page. */
export class Service {
  /** Whether requests need a key; the browser adds it to those of this page. */
  needsKey = false;
  #announce;
  #recovery = null; // one for all requests that wait
  #well = true;

  /** @param {(condition: Condition | null) => void} announce told when requests wait, and null when they go on */
  constructor(announce) {
    this.#announce = announce;
  }

  /** @returns {string} the full address of a path of the service, wherever a proxy has put it */
  static address(path) {
    return new URL(path, document.baseURI).href;
  }

  /**
   * Sends a request, again and again while the service is busy, starting or down.
   * @template T
   * @param {string} path
   * @param {RequestInit} init
   * @param {(response: Response) => Promise<T>} read
   * @returns {Promise<{headers: Headers, body: T}>}
   */
  async ask(path, init = {}, read = (response) => response.json()) {
    for (;;) {
      await this.#recovery;
      init.signal?.throwIfAborted();
      const patience = AbortSignal.timeout(PATIENCE_MS);
      const signal = init.signal ? AbortSignal.any([init.signal, patience]) : patience;
      try {
        const response = await fetch(path, { ...init, signal });
        this.needsKey ||= /\bAuthorization\b/i.test(response.headers.get("Vary"));
        if (!response.ok) {
          await this.#refused(response);
          continue;
        }
        const body = await read(response);
        this.#recovered();
        return { headers: response.headers, body };
      } catch (error) {
        if (error instanceof ServiceError || init.signal?.aborted) throw error;
        if (patience.aborted) throw new ServiceError("The service took too long to answer.");
        if (!(error instanceof TypeError)) throw error;
        this.#wait(() => this.#untilUp());
      }
    }
  }

  /** Sends JSON. */
  post(path, content, signal, read) {
    const headers = { "Content-Type": "application/json" };
    return this.ask(path, { method: "POST", headers, body: JSON.stringify(content), signal }, read);
  }

  async #refused(response) {
    const { error = `the service answered ${response.status}`, detail = [] } = await response.json().catch(() => ({}));
    const kind = TEMPORARY[response.status];
    if (!kind) throw new ServiceError(sentence(error), response.status, detail[0]?.loc);
    const seconds = Number(response.headers.get("Retry-After")) || FIRST_LOOK_S;
    this.#wait(() => this.#countDown({ kind, seconds, sentence: sentence(error) }));
  }

  #wait(recovery) {
    this.#well = false;
    this.#recovery ??= recovery().finally(() => {
      this.#recovery = null;
    });
  }

  #recovered() {
    if (this.#well) return;
    this.#well = true;
    this.#announce(null);
  }

  async #countDown({ seconds, ...condition }) {
    for (let left = seconds; left > 0; left--) {
      this.#announce({ ...condition, seconds: left });
      await pause(1);
    }
    this.#announce({ ...condition, seconds: 0 });
  }

  async #untilUp() {
    for (let attempt = FIRST_LOOK_S; ; attempt++) {
      await this.#countDown({ kind: "down", seconds: Math.min(attempt, LONGEST_PAUSE_S), sentence: "" });
      const status = await fetch("readyz", { cache: "no-store" }).then((answer) => answer.status, () => 0);
      if (status !== 0 && status !== 503) return;
    }
  }
}

/** Runs one job at a time, and of those that come meanwhile only the latest. */
export class Latest {
  static STALE_MS = 400; // an answer about the same subject is still worth showing for so long

  #key = null;
  #running = null;
  #next = null;
  #onError;
  #onIdle;

  /**
   * @param {(error: Error) => void} onError
   * @param {(idle: boolean) => void} onIdle told before the first job and after the last
   */
  constructor(onError, onIdle = () => {}) {
    this.#onError = onError;
    this.#onIdle = onIdle;
  }

  /**
   * Runs a job, unless its key is that of the job before: nothing has changed then.
   * @param {object} about
   * @param {string} about.key all that the job depends on
   * @param {string} [about.subject] a running job about another subject is aborted at once
   * @param {boolean} [about.again] run it even so
   * @param {(signal: AbortSignal) => Promise<void>} job
   */
  run({ key, subject = key, again = false }, job) {
    if (key === this.#key && !again) return;
    this.#key = key;
    this.#next = { subject, job };
    if (!this.#running) this.#start();
    else if (this.#running.subject !== subject) this.#running.controller.abort();
    else setTimeout(this.#abortIfStale, Latest.STALE_MS, this.#running);
  }

  /** Aborts what runs and forgets what waits. */
  cancel() {
    if (!this.#running) return;
    this.#key = this.#next = null;
    this.#running.controller.abort();
  }

  #abortIfStale = (started) => {
    if (started === this.#running && this.#next) started.controller.abort();
  };

  async #start() {
    this.#onIdle(false);
    while (this.#next) {
      const { subject, job } = this.#next;
      const controller = new AbortController();
      this.#running = { subject, controller };
      this.#next = null;
      try {
        await job(controller.signal);
      } catch (error) {
        if (!controller.signal.aborted) this.#onError(error);
      }
    }
    this.#running = null;
    this.#onIdle(true);
  }
}

/** @returns {Promise<void>} after so many seconds */
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

function sentence(text) {
  const start = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
