/** Undo and redo on the browser's own history, so that its back button, links and reloads agree with the page. */

const BROWSER_LIMIT = 49; // entries before the current one that every browser keeps

/** History of views, each stored in the fragment of the URL. */
export class UrlHistory {
  /** @param {(fragment: string) => void} onNavigate called with the fragment of the view to show now */
  constructor(onNavigate) {
    this.index = history.state?.index ?? 0;
    this.last = this.index;
    addEventListener("popstate", (event) => {
      if (event.state) this.index = event.state.index;
      else this.#write("replaceState", ++this.index, this.fragment); // the user entered another link
      this.last = Math.max(this.last, this.index);
      onNavigate(this.fragment);
    });
  }

  /** Fragment of the URL, without the #. */
  get fragment() {
    return location.hash.slice(1);
  }

  get canUndo() {
    return this.index > Math.max(0, this.last - BROWSER_LIMIT);
  }

  get canRedo() {
    return this.index < this.last;
  }

  /** Adds an undo step, unless nothing changed. */
  push(fragment) {
    if (fragment === this.fragment) return;
    this.index += 1;
    this.last = this.index;
    this.#write("pushState", this.index, fragment);
  }

  /** Overwrites the current step. */
  replace(fragment) {
    this.#write("replaceState", this.index, fragment);
  }

  undo() {
    if (this.canUndo) history.back();
  }

  redo() {
    if (this.canRedo) history.forward();
  }

  #write(method, index, fragment) {
    history[method]({ index }, "", `#${fragment}`);
  }
}
