/** HTTP client of the service, with retries for what is temporary: a full queue, a restart, a lost network. */

const TIMEOUT_MS = 90_000; // longer than the service's default request timeout
const FIRST_DELAY_S = 1;
const MAX_DELAY_S = 5;
const RETRY_STATUSES = { 429: "busy", 503: "starting" };

/**
 * @typedef {object} ServiceStatus state of the service while requests wait
 * @property {"busy" | "starting" | "down"} kind
 * @property {number} seconds until the next attempt
 * @property {string} sentence the service's error sentence; empty if there was none
 */

/** Error that a retry does not fix: the service's sentence, and the field that it is about. */
export class ApiError extends Error {
  /**
   * @param {string} sentence
   * @param {number} status HTTP status; 0 without a response
   * @param {(string | number)[]} loc
   */
  constructor(sentence, status = 0, loc = []) {
    super(sentence);
    this.status = status;
    this.loc = loc;
  }
}

/** Client of the service that serves this page. */
export class ApiClient {
  /** True if the service requires an API key; the browser adds it to this page's requests. */
  needsKey = false;
  #onStatus;
  #recovery = null; // one promise, shared by all waiting requests
  #healthy = true;

  /** @param {(status: ServiceStatus | null) => void} onStatus called while requests wait; null: they continue */
  constructor(onStatus) {
    this.#onStatus = onStatus;
  }

  /** @returns {string} absolute URL of a path of the service, also behind a proxy with a path prefix */
  static url(path) {
    return new URL(path, document.baseURI).href;
  }

  /**
   * Sends a request; retries while the service is busy, starting or down.
   * @template T
   * @param {string} path
   * @param {RequestInit} init
   * @param {(response: Response) => Promise<T>} read
   * @returns {Promise<{headers: Headers, body: T}>}
   */
  async request(path, init = {}, read = (response) => response.json()) {
    for (;;) {
      await this.#recovery;
      init.signal?.throwIfAborted();
      const timeout = AbortSignal.timeout(TIMEOUT_MS);
      const signal = init.signal ? AbortSignal.any([init.signal, timeout]) : timeout;
      try {
        const response = await fetch(path, { ...init, signal });
        this.needsKey ||= /\bAuthorization\b/i.test(response.headers.get("Vary"));
        if (!response.ok) {
          await this.#handleErrorResponse(response);
          continue;
        }
        const body = await read(response);
        this.#markHealthy();
        return { headers: response.headers, body };
      } catch (error) {
        if (error instanceof ApiError || init.signal?.aborted) throw error;
        if (timeout.aborted) throw new ApiError("The service took too long to respond.");
        if (!(error instanceof TypeError)) throw error;
        this.#wait(() => this.#untilUp());
      }
    }
  }

  /** Sends a POST request with a JSON body. */
  post(path, content, signal, read) {
    const headers = { "Content-Type": "application/json" };
    return this.request(path, { method: "POST", headers, body: JSON.stringify(content), signal }, read);
  }

  /** Starts to wait if the error is temporary; throws an ApiError otherwise. */
  async #handleErrorResponse(response) {
    const fallback = `the service responded with status ${response.status}`;
    const { error = fallback, detail = [] } = await response.json().catch(() => ({}));
    const kind = RETRY_STATUSES[response.status];
    if (!kind) throw new ApiError(asSentence(error), response.status, detail[0]?.loc);
    const seconds = Number(response.headers.get("Retry-After")) || FIRST_DELAY_S;
    this.#wait(() => this.#countDown({ kind, seconds, sentence: asSentence(error) }));
  }

  #wait(recovery) {
    this.#healthy = false;
    this.#recovery ??= recovery().finally(() => {
      this.#recovery = null;
    });
  }

  #markHealthy() {
    if (this.#healthy) return;
    this.#healthy = true;
    this.#onStatus(null);
  }

  async #countDown({ seconds, ...status }) {
    for (let left = seconds; left > 0; left--) {
      this.#onStatus({ ...status, seconds: left });
      await sleep(1);
    }
    this.#onStatus({ ...status, seconds: 0 });
  }

  async #untilUp() {
    for (let attempt = FIRST_DELAY_S; ; attempt++) {
      await this.#countDown({ kind: "down", seconds: Math.min(attempt, MAX_DELAY_S), sentence: "" });
      const status = await fetch("readyz", { cache: "no-store" }).then((response) => response.status, () => 0);
      if (status !== 0 && status !== 503) return;
    }
  }
}

/** @returns {Promise<void>} resolved after `seconds` */
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

function asSentence(text) {
  const capitalized = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capitalized) ? capitalized : `${capitalized}.`;
}
