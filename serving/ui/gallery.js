/** List of pictures with arrow-key navigation: the sample grid, neighbours, the plane, a sweep, the picks. */

import { paintImage } from "./canvas.js";
import { element } from "./dom.js";
import { formatSpec } from "./image-spec.js";

/** @typedef {import("./image-spec.js").ImageSpec} ImageSpec */
/** @typedef {{spec: ImageSpec, name: string, caption?: string}} Item name: accessible name of the picture */

const itemOfCell = new WeakMap();

/** @returns {ImageSpec | undefined} the picture that has the focus */
export function focusedSpec() {
  return itemOfCell.get(document.activeElement)?.spec;
}

/** Buttons with a canvas each and a roving tabindex: one is in the tab order, arrow keys reach the others. */
export class Gallery {
  #list;
  #cells = [];

  /**
   * @param {HTMLElement} list a `ul`
   * @param {import("./app.js").App} app
   * @param {(spec: ImageSpec) => void} onOpen
   */
  constructor(list, app, onOpen = (spec) => app.open(spec)) {
    this.#list = list;
    list.addEventListener("keydown", (event) => this.#onKey(event));
    list.addEventListener("click", (event) => {
      const cell = event.target.closest("button");
      if (!cell) return;
      const { spec } = itemOfCell.get(cell);
      if (event.shiftKey || event.ctrlKey || event.metaKey) app.togglePick(spec);
      else onOpen(spec);
    });
    list.addEventListener("focusin", (event) => this.#makeTabStop(event.target));
  }

  /**
   * Sets the items, reusing the buttons so that the focus stays where it is.
   * @param {Item[]} items
   */
  show(items) {
    while (this.#cells.length > items.length) this.#cells.pop().parentNode.remove();
    while (this.#cells.length < items.length) {
      const cell = element("button", { type: "button", className: "cell", tabIndex: -1 });
      const canvas = element("canvas", { width: 1, height: 1 });
      canvas.setAttribute("role", "img");
      cell.append(canvas, element("span", { className: "caption", ariaHidden: "true" }));
      this.#cells.push(cell);
      this.#list.append(element("li", {}, cell));
    }
    items.forEach((item, index) => {
      const [canvas, caption] = this.#cells[index].children;
      itemOfCell.set(this.#cells[index], item);
      canvas.setAttribute("aria-label", item.name);
      caption.textContent = item.caption ?? "";
      caption.hidden = !item.caption;
    });
    if (this.#cells.length && !this.#cells.some((cell) => cell.tabIndex === 0)) this.#cells[0].tabIndex = 0;
  }

  /**
   * Paints pictures, starting at position `start`.
   * @param {import("./npy.js").Tensor} images
   */
  paint(images, start = 0) {
    for (let index = 0; index < images.shape[0] && start + index < this.#cells.length; index++) {
      paintImage(this.#cells[start + index].firstChild, images, index);
      this.#cells[start + index].classList.add("painted");
    }
  }

  /** Fades the pictures from position `start` on, which are out of date. */
  fade(start) {
    for (const cell of this.#cells.slice(start)) cell.classList.remove("painted");
  }

  /**
   * Marks the open picture and the picks.
   * @param {ImageSpec | null} open
   * @param {ImageSpec[]} picks
   */
  mark(open, picks) {
    const openText = open && formatSpec(open);
    const picked = new Set(picks.map(formatSpec));
    for (const cell of this.#cells) {
      const { spec, name } = itemOfCell.get(cell);
      const text = formatSpec(spec);
      cell.toggleAttribute("data-picked", picked.has(text));
      cell.firstChild.setAttribute("aria-label", picked.has(text) ? `${name}, picked` : name);
      if (text === openText) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
    }
  }

  /** Focuses a picture, or the first one if it is not in the list. */
  focus(spec) {
    const text = spec && formatSpec(spec);
    const cell = this.#cells.find((each) => formatSpec(itemOfCell.get(each).spec) === text) ?? this.#cells[0];
    cell?.focus();
  }

  #makeTabStop(cell) {
    if (!this.#cells.includes(cell)) return;
    for (const each of this.#cells) each.tabIndex = each === cell ? 0 : -1;
  }

  #onKey(event) {
    const from = this.#cells.indexOf(document.activeElement);
    if (from < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const top = this.#cells[0].offsetTop;
    const secondRow = this.#cells.findIndex((cell) => cell.offsetTop > top);
    const columns = secondRow < 0 ? this.#cells.length : secondRow;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -from, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const to = Math.min(from + steps[event.key], this.#cells.length - 1);
    if (to >= 0) this.#cells[to].focus();
  }
}
