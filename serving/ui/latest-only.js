/** Job queue of length one: a slider that is dragged must not queue a request for every value on its way. */

/** Runs one job at a time; of the jobs submitted meanwhile, only the latest is kept. */
export class LatestOnly {
  static STALE_MS = 400; // a superseded job about the same subject may still finish within this time

  #key = null;
  #running = null;
  #next = null;
  #onError;
  #onIdle;

  /**
   * @param {(error: Error) => void} onError
   * @param {(idle: boolean) => void} onIdle called before the first job and after the last
   */
  constructor(onError, onIdle = () => {}) {
    this.#onError = onError;
    this.#onIdle = onIdle;
  }

  /**
   * Runs a job, unless its key equals that of the previous one.
   * @param {object} options
   * @param {string} options.key everything that the job depends on
   * @param {string} [options.subject] a running job about another subject is aborted at once
   * @param {boolean} [options.force] run it even if the key is the same
   * @param {(signal: AbortSignal) => Promise<void>} job
   */
  run({ key, subject = key, force = false }, job) {
    if (key === this.#key && !force) return;
    this.#key = key;
    this.#next = { subject, job };
    if (!this.#running) this.#start();
    else if (this.#running.subject !== subject) this.#running.controller.abort();
    else setTimeout(this.#abortIfStale, LatestOnly.STALE_MS, this.#running);
  }

  /** Aborts the running job and drops the waiting one. */
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
