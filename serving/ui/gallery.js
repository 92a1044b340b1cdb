/** A list of pictures to walk with the arrow keys: the sheet, neighbours, the plane, a sweep, the picks. */

import { element } from "./dom.js";
import { paintImage } from "./paint.js";
import { writeRecipe } from "./recipes.js";

/** @typedef {import("./recipes.js").Recipe} Recipe */
/** @typedef {{recipe: Recipe, name: string, caption?: string}} Item name: for who cannot see it */

const shownBy = new WeakMap();

/** @returns {Recipe | undefined} the recipe of the picture that has the focus */
export function focusedRecipe() {
  return shownBy.get(document.activeElement)?.recipe;
}

/** Buttons with a canvas each; one of them is in the tab order, arrow keys lead to the others. */
export class Gallery {
  #list;
  #cells = [];

  /**
   * @param {HTMLElement} list a `ul`
   * @param {import("./app.js").App} app
   * @param {(recipe: Recipe) => void} onOpen
   */
  constructor(list, app, onOpen = (recipe) => app.open(recipe)) {
    this.#list = list;
    list.addEventListener("keydown", (event) => this.#onKey(event));
    list.addEventListener("click", (event) => {
      const cell = event.target.closest("button");
      if (!cell) return;
      const { recipe } = shownBy.get(cell);
      if (event.shiftKey || event.ctrlKey || event.metaKey) app.togglePick(recipe);
      else onOpen(recipe);
    });
    list.addEventListener("focusin", (event) => this.#enter(event.target));
  }

  /**
   * Names the pictures, and keeps the buttons, so that the focus stays where it is.
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
      shownBy.set(this.#cells[index], item);
      canvas.setAttribute("aria-label", item.name);
      caption.textContent = item.caption ?? "";
      caption.hidden = !item.caption;
    });
    if (this.#cells.length && !this.#cells.some((cell) => cell.tabIndex === 0)) this.#cells[0].tabIndex = 0;
  }

  /**
   * Paints pictures from position `from` on.
   * @param {import("./npy.js").Tensor} images
   */
  paint(images, from = 0) {
    for (let index = 0; index < images.shape[0] && from + index < this.#cells.length; index++) {
      paintImage(this.#cells[from + index].firstChild, images, index);
      this.#cells[from + index].classList.add("painted");
    }
  }

  /** Hides pictures from position `from` on: they are of something else. */
  blank(from) {
    for (const cell of this.#cells.slice(from)) cell.classList.remove("painted");
  }

  /**
   * Marks the picture that is open and those that are picked.
   * @param {Recipe | null} open
   * @param {Recipe[]} picks
   */
  mark(open, picks) {
    const opened = open && writeRecipe(open);
    const picked = new Set(picks.map(writeRecipe));
    for (const cell of this.#cells) {
      const { recipe, name } = shownBy.get(cell);
      const text = writeRecipe(recipe);
      cell.toggleAttribute("data-picked", picked.has(text));
      cell.firstChild.setAttribute("aria-label", picked.has(text) ? `${name}, picked` : name);
      if (text === opened) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
    }
  }

  /** Puts the focus on the picture of a recipe, or on the first. */
  focus(recipe) {
    const text = recipe && writeRecipe(recipe);
    const cell = this.#cells.find((each) => writeRecipe(shownBy.get(each).recipe) === text) ?? this.#cells[0];
    cell?.focus();
  }

  #enter(cell) {
    if (!this.#cells.includes(cell)) return;
    for (const each of this.#cells) each.tabIndex = each === cell ? 0 : -1;
  }

  #onKey(event) {
    const from = this.#cells.indexOf(document.activeElement);
    if (from < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const top = this.#cells[0].offsetTop;
    const next = this.#cells.findIndex((cell) => cell.offsetTop > top);
    const columns = next < 0 ? this.#cells.length : next;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -from, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const to = Math.min(from + steps[event.key], this.#cells.length - 1);
    if (to >= 0) this.#cells[to].focus();
  }
}
