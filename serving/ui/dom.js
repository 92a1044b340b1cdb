/** Short names for what every module does with the document. */

/** @returns {HTMLElement} the element that the page has under this id */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element.
 * @param {string} tag
 * @param {Record<string, unknown>} properties
 * @param {...(Node | string)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * Fills a select.
 * @param {HTMLSelectElement} select
 * @param {[value: string, text: string, disabled?: boolean][]} options
 * @param {string} chosen value
 */
export function fillSelect(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, textContent, disabled = false]) => element("option", { value, textContent, disabled })),
  );
  select.value = chosen;
}

/**
 * Shows a list's pictures as loading, or as there.
 * @param {HTMLElement} busy
 * @returns {(idle: boolean) => void}
 */
export const busyMark = (busy) => (idle) => busy.setAttribute("aria-busy", String(!idle));
